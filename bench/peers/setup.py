"""Sets up what the peers need: `python -m bench.peers.setup`; a first run does it, too."""

from __future__ import annotations

import time

from bench.peers.parts import FAKTORY, PARTS, ensure
from bench.peers.results import NotMeasured


def main() -> None:
    """Sets up everything, and says what cannot be."""
    for part in PARTS:
        began = time.monotonic()
        try:
            ensure(part)
        except NotMeasured as error:
            print(f"{part}: {error}")
        else:
            print(f"{part}: ready, {time.monotonic() - began:.1f} s")
    print(f"faktory: not installed: {FAKTORY}")


if __name__ == "__main__":
    main()
