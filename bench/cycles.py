"""P1: full verified cycles a second, from the first enqueue to the last acknowledged report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench import cycling, limit
from bench.cycling import Variant
from bench.servers import takes_processes
from bench.tables import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.session import Session

NAME: Final = "cycles"
TASKS: Final = 80_000


def main_rate(session: Session) -> float:
    """What other benches compare themselves with; measured now if it was not yet."""
    if NAME not in session.figures:
        variant = Variant(tasks=session.count(TASKS, 2_000))
        session.figures[NAME] = cycling.measured(session, variant).rate
    return session.figures[NAME]


def _variants(session: Session) -> list[tuple[str, Variant]]:
    tasks = session.count(TASKS, 2_000)
    found = [
        ("native, batch 500", Variant(tasks)),
        ("native, batch 100", Variant(tasks, batch=100)),
        ("native, batch 20", Variant(max(2_000, tasks // 2), batch=20)),
        ("grpcio, batch 500", Variant(tasks, engine="grpcio")),
    ]
    if takes_processes():
        found.append(("native, batch 500, 2 processes", Variant(tasks, processes=2)))
    return found


def run(session: Session) -> Iterator[Table]:
    """Measures each variant."""
    table = Table(
        f"cycles (P1): one producer, one server, one store, one worker; median of {session.runs}",
        (
            *("variant", "tasks", "cycles/s", "enqueues/s", "lost", "dup", "of the limit"),
            *("CPU us/task: producer", "server", "store", "worker"),
        ),
    )
    limited = limit.rate(session)
    for name, variant in _variants(session):
        session.say(f"cycles: {name}")
        found = cycling.measured(session, variant)
        session.figures.setdefault(NAME, found.rate)
        table.add(
            *(name, variant.tasks, found.rate, found.enqueue_rate, found.lost, found.duplicates),
            f"{found.rate / limited:.0%}",
            *found.cpu,
        )
        table.faults += [f"{name}: {fault}" for fault in found.faults]
    if not takes_processes():
        table.notes.append("codeq dev has no option --processes: not measured")
    first = Variant(1)
    table.notes.append(
        f"producer: {first.calls} calls at a time; SDK worker: concurrency {first.concurrency},"
        f" prefetch {first.prefetch}; payload of 100 B"
        " with its hash, checked by the handler; the clock runs from the first enqueue to the"
        " last acknowledged report; the limit is the same scripts without gRPC, batch 500"
    )
    yield table
