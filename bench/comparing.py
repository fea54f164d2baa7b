"""P1: other queues on the same machine in the same run; `bench.peers` measures them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench import cycles, peers
from bench.tables import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.session import Session

_SCALE: Final = 1.0
"""Of the tasks that bench.peers takes by itself: they are many, and some are slow."""


def run(session: Session) -> Iterator[Table]:
    """Every peer, once."""
    rate = cycles.main_rate(session)
    table = Table(
        "peers (P1): full cycles of other queues in the same run; one run each",
        ("peer", "version", "tasks", "batch", "cycles/s", "codeQ is", "lost", "dup", "notes"),
    )
    table.add(
        *("codeQ", "this one", session.count(cycles.TASKS, 2_000), "500"),
        *(rate, "1.0 x", 0, 0, f"median of {session.runs}; see cycles"),
    )
    for name in peers.ALL:
        session.say(f"peers: {name}")
        for found in peers.run([name], scale=_SCALE * session.scale):
            if isinstance(found, str):
                table.notes.append(found)
                continue
            each = found.cycles_per_second
            # Single adds are no cycles: no ratio.
            ratio = f"{rate / each:.1f} x" if each and "-adds-" not in found.name else None
            table.add(
                *(found.name, found.version, found.tasks, found.batch, each, ratio),
                *(found.lost, found.duplicates, found.notes),
            )
            if found.lost:
                table.faults.append(f"{found.name}: {found.lost} lost")
    yield table
