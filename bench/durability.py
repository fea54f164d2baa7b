"""What each level of durability costs: Enqueue from h2load at D1, D2 and D3, in turns."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from bench.session import median
from bench.tables import Table
from bench.unary import CALLS, CONNECTIONS, STREAMS, served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.session import Session
    from bench.unary import Calls

LEVELS: Final = ("D1", "D2", "D3")


def run(session: Session) -> Iterator[Table]:
    """All levels in one run: the disc of the next run may be another."""
    table = Table(
        f"durability: Enqueue from h2load, {CONNECTIONS} connections x {STREAMS} streams, one"
        f" server process and its store a level; median of {session.runs}, in turns",
        ("level", "calls", "calls/s", "x D1", "not 200", "lost", "dup", "CPU us/call: store"),
    )
    calls = session.count(CALLS // 2, 1_000)
    runs: dict[str, list[Calls]] = {level: [] for level in LEVELS}
    with contextlib.ExitStack() as servers:
        measure = {
            level: servers.enter_context(served(session, "native", level)) for level in LEVELS
        }
        for number in range(-1, session.runs):
            for level in LEVELS:
                session.say(f"durability: {level}")
                done = measure[level](number, calls)
                if number >= 0:
                    runs[level].append(done)
    for level, all_of in runs.items():
        rate = median(one.rate for one in all_of)
        faults = [sum(one[i] for one in map(_faults, all_of)) for i in range(3)]
        ratio = rate / median(one.rate for one in runs["D1"])
        table.add(level, calls, rate, ratio, *faults, median(one.store for one in all_of))
        if any(faults):
            table.faults.append(f"{level}: calls not answered with 200, missing, extra: {faults}")
    table.notes.append("D1 syncs the file every second, D2 at every change, D3 asks it whether")
    yield table


def _faults(one: Calls) -> tuple[int, int, int]:
    return one.failed, one.lost, one.extra
