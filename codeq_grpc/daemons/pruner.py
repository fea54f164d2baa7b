"""Deletes tasks that ended longer ago than the retention."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq_grpc.daemons.rounds import Rounds

if TYPE_CHECKING:
    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.registry import Registry
    from codeq_grpc.store.upkeep import Upkeep

_LONGEST = 60.0
"""Seconds between looks at a queue."""


class Pruner:
    """Ended -> gone, by the retention of the queue or, if it has none, of the server."""

    def __init__(self, registry: Registry, upkeep: Upkeep, *, retention_ms: int) -> None:
        self._rounds = Rounds("pruner", registry, longest=min(_LONGEST, retention_ms / 1000))
        self._upkeep = upkeep
        self._retention_ms = retention_ms

    async def run(self) -> None:
        """For ever."""
        await self._rounds.run(self._look)

    async def tick(self) -> None:
        """One round."""
        await self._rounds.tick(self._look)

    async def _look(self, queue: Queue) -> float | None:
        _, more = await self._upkeep.prune_old(queue, self._retention_ms)
        return 0.0 if more else None
