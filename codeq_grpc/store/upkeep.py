"""What is done to queues when time passes: one script call each, bounded, and resumable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from codeq_grpc.core import limits
from codeq_grpc.core.errors import CodeQError
from codeq_grpc.store import scripts
from codeq_grpc.store.calls import Calls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codeq_grpc.store.keys import Queue


class Promoted(NamedTuple):
    """When something is due next, 0 for never: a scheduled task, an entry of the outbox; and
    whether there is something to sweep.
    """

    now_ms: int
    next_ms: int
    promoted: int
    next_owed_ms: int
    sweep: bool


class Expired(NamedTuple):
    """A lease that the reaper ended."""

    name: bytes
    fence: int
    owner: str


class Reaped(NamedTuple):
    """What a step of the reaper did; `next_ms` 0 if nothing expires later."""

    now_ms: int
    next_ms: int
    owed: int
    more: bool
    expired: list[Expired]


class Errors(NamedTuple):
    """Serialised errors that tasks keep when time ends something of theirs."""

    lease_expired: bytes
    attempt_timeout: bytes
    task_expired: bytes
    purged: bytes


class Upkeep(Calls):
    """Upkeep of queues."""

    async def peek(self, queues: Sequence[Queue]) -> list[tuple[int, int]]:
        """The store's time, and when each queue must be looked at next, 0 for never; at once if
        something is wrong with it.
        """
        script, replies = scripts.PEEK, list[Any]()
        for at in range(0, len(queues), limits.SCRIPT_BATCH):
            part = queues[at : at + limits.SCRIPT_BATCH]
            calls = [([queue.keys[s] for s in script.suffixes], ()) for queue in part]
            replies += await self._connection.run_each(script, calls)
        return [(1, 1) if isinstance(told, CodeQError) else (told[1], told[2]) for told in replies]

    async def promote(self, queue: Queue, limit: int) -> Promoted:
        """Makes due tasks claimable, and takes a sample of the totals."""
        _, now, next_ms, count, next_owed, sweep = await self._run(scripts.PROMOTE, queue, (limit,))
        return Promoted(now, next_ms, count, next_owed, sweep == 1)

    async def reap(self, queue: Queue, limit: int, errors: Errors) -> Reaped:
        """Ends leases and tasks whose time is over."""
        _, now, next_ms, owed, more, *rest = await self._run(
            scripts.REAP, queue, (limit, *errors[:3])
        )
        it = iter(rest)
        expired = [Expired(n, f, o.decode()) for n, f, o in zip(it, it, it, strict=True)]
        return Reaped(now, next_ms, owed, more == 1, expired)

    async def prune(
        self,
        queue: Queue,
        *,
        before_ms: int,
        age_ms: int,
        default_ms: int,
        limit: int,
        indexes: str,
    ) -> tuple[int, int, bool]:
        """Deletes ended tasks from indexes `t`, `d`, `c`, `a`, those older than `age_ms` (-1: the
        queue's retention, or the default); the time used, how many went, whether there may be
        more.
        """
        _, _, before, count, more = await self._run(
            scripts.PRUNE, queue, (before_ms, age_ms, default_ms, limit, indexes)
        )
        return before, count, more == 1

    async def prune_old(self, queue: Queue, default_ms: int) -> tuple[int, bool]:
        """Deletes some ended tasks that are older than the queue's retention, or the default; how
        many went, whether there may be more.
        """
        _, count, more = await self.prune(
            queue,
            before_ms=0,
            age_ms=-1,
            default_ms=default_ms,
            limit=limits.SCRIPT_BATCH,
            indexes="tdca",
        )
        return count, more

    async def sweep(self, queue: Queue, limit: int, errors: Errors) -> tuple[int, bool]:
        """Does a piece of what a purge left to do; outbox entries, whether there is more."""
        _, _, owed, more = await self._run(scripts.SWEEP, queue, (limit, errors.purged))
        return owed, more == 1
