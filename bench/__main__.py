"""`python -m bench`: measures codeQ; see README.md."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.machine import machine, versions
from bench.numbered import FAULTS
from bench.session import NotMeasured, Session
from bench.tables import Table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

BENCHES: Final = {
    "limit": "limit",
    "cycles": "cycles",
    "peers": "comparing",
    "unary": "unary",
    "latency": "latency",
    "idle": "idle",
    "backlog": "backlog",
    "memory": "memory",
    "growth": "growth",
    "redrive": "redrive",
    "durability": "durability",
    "fairness": "fairness",
    "schedules": "schedules",
}
"""Name -> module, in the order in which they build on each other."""


def _ended(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)  # so that what was started is ended


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "names", nargs="*", default=["cycles"], help=f"all, or of {', '.join(BENCHES)}"
    )
    parser.add_argument("--runs", type=int, default=5, help="a figure is the median of so many")
    parser.add_argument("--scale", type=float, default=1.0, help="times the usual number of tasks")
    parser.add_argument("--minutes", type=float, default=1.0, help="of steady load, in memory")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write a Markdown page, too")
    parser.add_argument("--fault", choices=FAULTS, default="", help="do that wrong, on purpose")
    options = parser.parse_args()
    unknown = set(options.names) - {*BENCHES, "all"}
    if unknown:
        parser.error(f"there is no bench {min(unknown)!r}: all, or of {', '.join(BENCHES)}")
    if options.runs < 1 or options.scale <= 0:
        parser.error("--runs and --scale must be more than nothing")
    return options


_MARK: Final = "<!-- from here on written by `python -m bench` -->"


def _measured(name: str, session: Session) -> Iterator[Table]:
    module = importlib.import_module(f"bench.{BENCHES[name]}")
    try:
        yield from module.run(session)
    except NotMeasured as error:
        yield Table(name, ("not measured",), [(str(error),)], faults=[f"{name}: {error}"])


def _write(path: Path, tables: list[Table], facts: list[str]) -> None:
    """What stands above the mark is written by hand, and stays."""
    head = path.read_text().partition(_MARK)[0] if path.exists() else "# Results\n\n"
    lines = [_MARK, "", *(f"- {fact}" for fact in facts), "", *(table.page() for table in tables)]
    path.write_text(head + "\n".join(lines))


def main() -> None:
    """Runs the benches asked for."""
    options = _options()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ended)
    session = Session(
        runs=options.runs, scale=options.scale, minutes=options.minutes, fault=options.fault
    )
    names = list(BENCHES) if "all" in options.names else list(dict.fromkeys(options.names))
    facts = [f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", machine(), versions()]
    facts.append(f"runs {options.runs}, scale {options.scale:g}, command {' '.join(sys.argv[1:])}")
    print("\n".join(facts), flush=True)
    tables = []
    for name in names:
        session.say(name)
        for table in _measured(name, session):
            tables.append(table)
            print(f"\n{table.text()}", flush=True)
    print(f"\nstore: {session.store}", flush=True)
    facts.append(f"store: {session.store}")
    session.say("done")
    if options.write:
        _write(options.write, tables, facts)
    if any(table.faults for table in tables):
        raise SystemExit("the figures do not count: see FAILED")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
