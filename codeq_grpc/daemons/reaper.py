"""Ends attempts whose lease ran out (the next attempt, or a dead letter), and expired tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq_grpc.daemons.rounds import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from codeq_grpc.broker.wakeups import Waiters
    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.upkeep import Errors, Upkeep
    from codeq_grpc.store.wakeups import LeaseKey


class Reaper:
    """IN_PROGRESS -> PENDING, FAILED or CANCELLED, and whatever has not ended -> EXPIRED; at most
    `limit` tasks a step. `owed` is told of queues whose outbox got entries.
    """

    def __init__(
        self,
        upkeep: Upkeep,
        waiters: Waiters,
        owed: Callable[[Queue], None],
        *,
        limit: int,
        errors: Errors,
    ) -> None:
        self._upkeep = upkeep
        self._waiters = waiters
        self._owed = owed
        self._limit = limit
        self._errors = errors

    async def look(self, queue: Queue) -> float | None:
        """One step; seconds till the next."""
        reaped = await self._upkeep.reap(queue, self._limit, self._errors)
        owned: dict[str, list[LeaseKey]] = {}
        for name, fence, owner in reaped.expired:
            if owner:
                owned.setdefault(owner, []).append((queue.number, name, fence))
        self._waiters.tell_over(owned, lost=True)
        if reaped.owed:
            self._owed(queue)
        return 0.0 if reaped.more else until(reaped.next_ms, reaped.now_ms)
