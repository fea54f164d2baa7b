"""Deletes tasks that ended longer ago than the retention."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq_grpc.core import limits
from codeq_grpc.daemons.rounds import Rounds

if TYPE_CHECKING:
    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.registry import Registry
    from codeq_grpc.store.tasks import TaskStore

_LONGEST = 60.0
"""Seconds between looks at a queue."""


class Pruner:
    """COMPLETED or FAILED -> gone."""

    def __init__(self, registry: Registry, store: TaskStore, *, retention_ms: int) -> None:
        self._rounds = Rounds("pruner", registry, longest=min(_LONGEST, retention_ms / 1000))
        self._store = store
        self._retention_ms = retention_ms

    async def run(self) -> None:
        """For ever."""
        await self._rounds.run(self._look)

    async def tick(self) -> None:
        """One round."""
        await self._rounds.tick(self._look)

    async def _look(self, queue: Queue) -> float | None:
        more = True
        while more:
            _, _, more = await self._store.prune(
                queue,
                before_ms=0,
                age_ms=self._retention_ms,
                limit=limits.SCRIPT_BATCH,
                indexes="td",
            )
        return None
