"""Makes scheduled tasks claimable when they are due."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq_grpc.core import limits
from codeq_grpc.daemons.rounds import Rounds, until

if TYPE_CHECKING:
    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.registry import Registry
    from codeq_grpc.store.tasks import TaskStore

_LONGEST = 2.0
"""Seconds between looks at a queue in which nothing is due. Claims promote too, and who waits
knows the next due time, so no task waits for this."""


class Promoter:
    """SCHEDULED -> PENDING."""

    def __init__(self, registry: Registry, store: TaskStore) -> None:
        self._rounds = Rounds("promoter", registry, longest=_LONGEST)
        self._store = store

    async def run(self) -> None:
        """For ever."""
        await self._rounds.run(self._look)

    async def tick(self) -> None:
        """One round."""
        await self._rounds.tick(self._look)

    async def _look(self, queue: Queue) -> float | None:
        count = limits.SCRIPT_BATCH
        now = next_due = 0
        while count == limits.SCRIPT_BATCH:
            now, next_due, count = await self._store.promote(queue, limits.SCRIPT_BATCH)
        return until(next_due, now)
