"""Measures other queues on this machine, each with its own store; see `run`.

For each peer there is one producer process, and workers that are known to be ready. Then the clock
starts, the producer enqueues, workers check and note each payload at the same time, and the clock
ends when the last task has been seen and the peer's store shows nothing left to acknowledge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.peers.catalog import PEERS
from bench.peers.measurement import measure
from bench.peers.parts import FAKTORY
from bench.peers.results import NotMeasured, Result

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["ALL", "Result", "run"]

ALL: Final = (*PEERS, "faktory")


def _one(name: str, scale: float) -> Iterator[Result | str]:
    if name == "faktory":
        yield f"faktory: not installed: {FAKTORY}"
        return
    if name not in PEERS:
        yield f"{name}: not a peer; there are {', '.join(ALL)}"
        return
    try:
        yield from measure(PEERS[name], scale)
    except NotMeasured as error:
        yield f"{name}: {error}"


def run(names: Sequence[str] = ALL, *, scale: float = 1.0) -> Iterator[Result | str]:
    """Measures peers one after the other; a string says why one was not measured.

    What a peer needs is set up on first use. BullMQ gives a second result, for single adds.
    """
    for name in names:
        yield from _one(name, scale)
