"""One target under atheris. It ends its process, hence one of its own: see `__main__`."""

from __future__ import annotations

import importlib
import sys
from typing import Any


def main() -> None:
    """Arguments: the target, then those of libFuzzer."""
    atheris: Any = importlib.import_module("atheris")  # an extra, for Linux only
    with atheris.instrument_imports(include=["codeq_grpc"]):
        targets = importlib.import_module("tests.fuzz.targets").TARGETS
    atheris.Setup([sys.argv[0], *sys.argv[2:]], targets[sys.argv[1]])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
