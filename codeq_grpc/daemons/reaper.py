"""Ends attempts whose lease expired: the next attempt, or a dead letter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq_grpc.daemons.rounds import Rounds, until

if TYPE_CHECKING:
    from codeq_grpc.broker.wakeups import Waiters
    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.registry import Registry
    from codeq_grpc.store.tasks import TaskStore
    from codeq_grpc.store.wakeups import LeaseKey

_LONGEST = 1.8
"""Seconds between looks at a queue. A lease lasts at least 1 s, so one that began just after a
look is found at most 0.8 s after it expired: promised is 1 s."""


class Reaper:
    """IN_PROGRESS -> PENDING or FAILED, at most `limit` tasks a step."""

    def __init__(
        self,
        registry: Registry,
        store: TaskStore,
        waiters: Waiters,
        *,
        limit: int,
        error: bytes,
    ) -> None:
        self._rounds = Rounds("reaper", registry, longest=_LONGEST)
        self._store = store
        self._waiters = waiters
        self._limit = limit
        self._error = error

    async def run(self) -> None:
        """For ever."""
        await self._rounds.run(self._look)

    async def tick(self) -> None:
        """One round."""
        await self._rounds.tick(self._look)

    async def _look(self, queue: Queue) -> float | None:
        while True:
            now, next_expiry, expired = await self._store.reap(queue, self._limit, self._error)
            owned: dict[str, list[LeaseKey]] = {}
            for name, fence, owner in expired:
                if owner:
                    owned.setdefault(owner, []).append((queue.number, name, fence))
            self._waiters.tell_over(owned, lost=True)
            if not next_expiry or next_expiry > now:
                return until(next_expiry, now)
