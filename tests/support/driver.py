"""Drives one queue under a virtual clock, in few words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from codeq_grpc.core.task import Ending
from codeq_grpc.store.rows import pack_claimant
from codeq_grpc.store.tasks import Claimed, Counts, Report, TaskStore, Verdict, new_task
from tests.support.snapshot import Meta, Snapshot, take_snapshot

if TYPE_CHECKING:
    from codeq_grpc.store.keys import Queue
    from tests.support.admin import Admin
    from tests.support.clock import VirtualClock

LEASE_MS = 30_000
"""The default lease of tests."""
ENOUGH = 1 << 22
"""Bytes that cut no claim short."""


class Lease(NamedTuple):
    """What a worker holds."""

    name: bytes
    fence: int


def task(
    spec: bytes = b"spec",
    *,
    priority: int = 5,
    max_attempts: int = 3,
    lease_ms: int = 0,
    when: int = 0,
    policy: bytes = b"",
) -> tuple[bytes, bytes]:
    """A new task, ordinary in all that is not named."""
    return new_task(
        spec,
        priority=priority,
        max_attempts=max_attempts,
        lease_ms=lease_ms,
        when=when,
        policy=policy,
    )


def leases_of(claimed: Claimed) -> list[Lease]:
    """What a claim gave."""
    return [Lease(name, row.fence) for name, row, _ in claimed.tasks]


@dataclass(frozen=True, slots=True)
class QueueDriver:
    """One queue of a store, its clock, and a look behind the curtain."""

    store: TaskStore
    queue: Queue
    clock: VirtualClock
    admin: Admin

    async def enqueue(self, *new: tuple[bytes, bytes]) -> list[bytes]:
        """Names of the tasks added."""
        names, _ = await self.store.enqueue(self.queue, new)
        return names

    async def enqueue_one(
        self, *, priority: int = 5, max_attempts: int = 3, when: int = 0
    ) -> bytes:
        """Name of one task added."""
        new = task(priority=priority, max_attempts=max_attempts, when=when)
        (name,) = await self.enqueue(new)
        return name

    async def claim(
        self,
        want: int = 1,
        *,
        owner: str = "",
        worker: str = "w",
        lease_ms: int = 0,
        max_bytes: int = ENOUGH,
        wake: str = "",
    ) -> Claimed:
        """The reply to one claim."""
        return await self.store.claim(
            self.queue,
            pack_claimant(owner, worker),
            want=want,
            max_bytes=max_bytes,
            lease_ms=lease_ms,
            wake=wake,
        )

    async def take(self, want: int = 1, *, owner: str = "", lease_ms: int = 0) -> list[Lease]:
        """Leases of exactly as many tasks as wanted."""
        leases = leases_of(await self.claim(want, owner=owner, lease_ms=lease_ms))
        assert len(leases) == want
        return leases

    async def take_one(self, *, owner: str = "", lease_ms: int = 0) -> Lease:
        """One lease."""
        (lease,) = await self.take(owner=owner, lease_ms=lease_ms)
        return lease

    async def report(self, *reports: Report) -> list[Verdict]:
        """What became of them."""
        return await self.store.report(self.queue, reports)

    async def _end(
        self, lease: Lease, ending: Ending, text: bytes, delay_ms: int | None
    ) -> Verdict:
        report = Report(lease.name, lease.fence, ending, text, delay_ms)
        (verdict,) = await self.report(report)
        return verdict

    async def complete(self, lease: Lease, result: bytes = b"") -> Verdict:
        """One lease ended well."""
        return await self._end(lease, Ending.COMPLETE, result, None)

    async def fail(
        self, lease: Lease, error: bytes = b"", *, delay_ms: int | None = None
    ) -> Verdict:
        """One lease ended badly."""
        return await self._end(lease, Ending.FAIL, error, delay_ms)

    async def abandon(self, lease: Lease, *, delay_ms: int | None = None) -> Verdict:
        """One lease given back."""
        return await self._end(lease, Ending.ABANDON, b"", delay_ms)

    async def heartbeat(self, *leases: Lease, extend_ms: int = 0) -> list[bytes]:
        """A word of each lease."""
        return await self.store.heartbeat(self.queue, [(*lease, extend_ms) for lease in leases])

    async def reap(self, limit: int = 500) -> list[bytes]:
        """Names of the tasks whose leases ended."""
        _, _, expired = await self.store.reap(self.queue, limit, b"expired")
        return [lease.name for lease in expired]

    async def prune(
        self, *, before_ms: int = 0, age_ms: int = 0, limit: int = 500, indexes: str = "td"
    ) -> tuple[int, int, bool]:
        """The time used, how many went, whether there may be more."""
        return await self.store.prune(
            self.queue, before_ms=before_ms, age_ms=age_ms, limit=limit, indexes=indexes
        )

    async def stats(self) -> Counts:
        """Numbers of the queue."""
        return await self.store.stats(self.queue)

    def snapshot(self) -> Snapshot:
        """Everything kept of the queue."""
        return take_snapshot(self.admin, self.queue)

    def meta(self, name: bytes) -> Meta:
        """The row of one task."""
        return self.snapshot().metas[name]

    def key(self, suffix: str) -> bytes:
        """One key of the queue."""
        return self.queue.keys[suffix]
