"""`python -m bench.peers`: measures the peers and prints a table."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
from typing import TYPE_CHECKING

from bench.peers import ALL, Result, run

if TYPE_CHECKING:
    from types import FrameType


def _row(result: Result) -> str:
    figures = (
        f"{result.tasks:7} {result.cycles_per_second:9.0f} {result.lost:5} {result.duplicates:4}"
    )
    return f"{result.name:16} {result.version:27} {figures}  {result.batch:31} {result.notes}"


def _ended(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)  # so that what was started is ended


def main() -> None:
    """Runs the peers asked for."""
    parser = argparse.ArgumentParser(prog="bench.peers", description=__doc__)
    parser.add_argument("--only", default=",".join(ALL), help=f"of {','.join(ALL)}")
    parser.add_argument("--scale", type=float, default=1.0, help="times the usual number of tasks")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, _ended)
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, tasks of 100 bytes")
    columns = f"{'tasks':>7} {'cycles/s':>9} {'lost':>5} {'dup':>4}  {'batch':31} notes"
    print(f"{'peer':16} {'version':27} {columns}")
    whole = True
    for result in run(args.only.split(","), scale=args.scale):
        if isinstance(result, Result):
            print(_row(result), flush=True)
            whole = whole and not result.lost
        else:
            print(result, flush=True)
    if not whole:
        raise SystemExit("tasks were lost")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
