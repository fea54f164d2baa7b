"""Drives one queue under a virtual clock, in few words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypedDict

from codeq_grpc.core.queues import QueueSettings
from codeq_grpc.core.records import Filter, NewTask
from codeq_grpc.core.retry import NO_WISHES
from codeq_grpc.core.task import Ending
from codeq_grpc.store.outbox import Outbox
from codeq_grpc.store.queues import QueueStore
from codeq_grpc.store.reads import Reads
from codeq_grpc.store.rows import lease_of, pack_claimant, pack_new
from codeq_grpc.store.tasks import Claimant, Report, TaskStore
from codeq_grpc.store.upkeep import Errors, Upkeep
from tests.support.snapshot import Meta, Snapshot, take_snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from codeq_grpc.core.records import Idempotency
    from codeq_grpc.core.retry import RetryPolicy, RetryWishes
    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.outbox import Entry, Resolution
    from codeq_grpc.store.reads import Counts, Stored
    from codeq_grpc.store.tasks import Added, Cancelled, Claimed, Verdict
    from codeq_grpc.store.upkeep import Promoted, Reaped
    from tests.support.admin import Admin
    from tests.support.clock import ClockedConnection, VirtualClock

LEASE_MS: Final = 30_000
"""The default lease of tests."""
RETENTION_MS: Final = 86_400_000
"""The server's retention in tests."""
ENOUGH: Final = 1 << 22
"""Bytes that cut no call short."""
ERRORS: Final = Errors(b"lease expired", b"attempt timed out", b"task expired", b"purged")
CANCEL_ERROR: Final = b"cancelled"

Packed = tuple[bytes, bytes, bytes]
"""A task as `enqueue` takes it."""


class Lease(NamedTuple):
    """What a worker holds."""

    name: bytes
    fence: int


class More(TypedDict, total=False):
    """What few tasks of tests have; see `NewTask`."""

    lease_ms: int
    when: int
    expire_ms: int
    timeout_ms: int
    idempotency: Idempotency
    concurrency_key: str
    depends_on: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]


def task(
    spec: bytes = b"spec",
    payload: bytes = b"",
    *,
    priority: int | None = 5,
    max_attempts: int | None = 3,
    retry: RetryWishes = NO_WISHES,
    **more: Unpack[More],
) -> Packed:
    """A new task, ordinary in all that is not named."""
    wishes = replace(retry, max_attempts=max_attempts)
    return pack_new(NewTask("RENDER", spec, payload, priority=priority, retry=wishes, **more))


def leases_of(claimed: Claimed) -> list[Lease]:
    """What a claim gave."""
    return [Lease(name, lease_of(raw)[0]) for name, raw, _, _ in claimed.tasks]


@dataclass(frozen=True, slots=True)
class QueueDriver:
    """One queue of a store, its clock, and a look behind the curtain."""

    store: TaskStore
    upkeep: Upkeep
    reads: Reads
    settings: QueueStore
    outbox: Outbox
    queue: Queue
    clock: VirtualClock
    admin: Admin

    @classmethod
    def over(
        cls, connection: ClockedConnection, queue: Queue, admin: Admin, retry: RetryPolicy
    ) -> QueueDriver:
        """A driver of one queue."""
        tasks = TaskStore(connection, retry=retry, lease_ms=LEASE_MS)
        rest = Upkeep(connection), Reads(connection), QueueStore(connection), Outbox(connection)
        return cls(tasks, *rest, queue, connection.clock, admin)

    async def add(self, *new: Packed, atomic: bool = False, schema: bytes = b"") -> Added:
        """The whole reply to an enqueue."""
        return await self.store.enqueue(self.queue, new, atomic=atomic, schema=schema)

    async def enqueue(self, *new: Packed) -> list[bytes]:
        """Names of tasks, all of which were simply added."""
        added = await self.add(*new)
        assert added.specials == {}
        return added.names

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
        receipt: tuple[str, int] = ("", 0),
    ) -> Claimed:
        """The reply to one claim."""
        claimant = Claimant(pack_claimant(owner, worker), want, lease_ms)
        return await self.share([claimant], max_bytes=max_bytes, wake=wake, receipt=receipt)

    async def share(
        self, claimants: Sequence[Claimant], *, max_bytes: int = ENOUGH, **more: Any
    ) -> Claimed:
        """The reply to a claim for several."""
        return await self.store.claim(self.queue, claimants, max_bytes=max_bytes, **more)

    async def recall(self, server: str, claim: int, number: int) -> list[Lease]:
        """Leases of a claim that are still held."""
        recalled = await self.store.recall(self.queue, server, claim, number)
        return [Lease(*lease) for lease in recalled]

    async def claim_names(self, want: int = 500) -> list[bytes]:
        """Names of the tasks that one claim gave."""
        return [lease.name for lease in leases_of(await self.claim(want))]

    async def take(
        self, want: int = 1, *, owner: str = "", worker: str = "w", lease_ms: int = 0
    ) -> list[Lease]:
        """Leases of exactly as many tasks as wanted."""
        claimed = await self.claim(want, owner=owner, worker=worker, lease_ms=lease_ms)
        leases = leases_of(claimed)
        assert len(leases) == want
        return leases

    async def take_one(self, *, owner: str = "", worker: str = "w", lease_ms: int = 0) -> Lease:
        """One lease."""
        (lease,) = await self.take(owner=owner, worker=worker, lease_ms=lease_ms)
        return lease

    async def report(self, *reports: Report) -> Sequence[Verdict]:
        """What became of them."""
        verdicts, _ = await self.store.report(self.queue, reports)
        return verdicts

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
        beats = [(*lease, extend_ms, b"", b"") for lease in leases]
        return [word for word, _ in await self.store.heartbeat(self.queue, beats)]

    async def tell(
        self, lease: Lease, progress: bytes = b"", checkpoint: bytes = b""
    ) -> tuple[bytes, bytes]:
        """A heartbeat that tells something: the word, and why to cancel."""
        beats = [(*lease, 0, progress, checkpoint)]
        (answer,) = await self.store.heartbeat(self.queue, beats)
        return answer

    async def cancel(self, *names: bytes, error: bytes = CANCEL_ERROR) -> list[Cancelled]:
        """What became of each."""
        cancelled, _ = await self.store.cancel(self.queue, names, error)
        return cancelled

    async def redrive(self, *names: bytes, delay_ms: int = 0) -> list[tuple[bytes, int]]:
        """Word and state of each."""
        return await self.store.redrive(self.queue, [(name, delay_ms) for name in names])

    async def promote(self, limit: int = 500) -> Promoted:
        """One step of the promoter."""
        return await self.upkeep.promote(self.queue, limit)

    async def reap_step(self, limit: int = 500) -> Reaped:
        """One step of the reaper."""
        return await self.upkeep.reap(self.queue, limit, ERRORS)

    async def reap(self, limit: int = 500) -> list[bytes]:
        """Names of the tasks whose leases ended."""
        return [lease.name for lease in (await self.reap_step(limit)).expired]

    async def sweep_step(self, limit: int = 500) -> tuple[int, bool]:
        """Outbox entries, and whether there is more."""
        return await self.upkeep.sweep(self.queue, limit, ERRORS)

    async def sweep(self, limit: int = 500) -> int:
        """Till there is nothing more; how many steps that took."""
        steps = 1
        while (await self.sweep_step(limit))[1]:
            steps += 1
            assert steps < 1_000
        return steps

    async def prune(
        self,
        *,
        before_ms: int = 0,
        age_ms: int = 0,
        limit: int = 500,
        indexes: str = "tdca",
    ) -> tuple[int, int, bool]:
        """The time used, how many went, whether there may be more."""
        return await self.upkeep.prune(
            self.queue,
            before_ms=before_ms,
            age_ms=age_ms,
            default_ms=RETENTION_MS,
            limit=limit,
            indexes=indexes,
        )

    async def purge(self) -> int:
        """How many tasks that cancelled."""
        return await self.settings.purge(self.queue)

    async def configure(self, **changes: Any) -> None:
        """Gives the queue these `QueueSettings` and no others."""
        version, _, _ = await self.settings.settings(self.queue)
        settings = QueueSettings(**changes)
        assert await self.settings.configure(self.queue, version, settings, b"message")

    async def stats(self) -> Counts:
        """Numbers of the queue."""
        return await self.reads.stats(self.queue)

    async def read(
        self, *names: bytes, full: bool = True, max_bytes: int = ENOUGH
    ) -> list[Stored | None]:
        """Tasks as readers see them."""
        return await self.reads.read(self.queue, names, full=full, max_bytes=max_bytes)

    async def read_one(self, name: bytes, *, full: bool = True) -> Stored:
        """One task that is there."""
        (stored,) = await self.read(name, full=full)
        assert stored is not None
        return stored

    async def scan(
        self,
        state: int,
        cursor: bytes = b"",
        *,
        most: int = 500,
        budget: int = 500,
        **wanted: Any,
    ) -> tuple[list[bytes], bytes]:
        """One page of tasks that match a `Filter` of these, and where to go on."""
        found = Filter("RENDER", **wanted)
        page = await self.reads.scan(self.queue, state, found, cursor, most=most, budget=budget)
        return page.names, page.cursor

    async def scan_all(
        self, state: int, *, most: int = 500, budget: int = 500, **wanted: Any
    ) -> list[bytes]:
        """Every page."""
        names, cursor = await self.scan(state, most=most, budget=budget, **wanted)
        while cursor:
            page, cursor = await self.scan(state, cursor, most=most, budget=budget, **wanted)
            names += page
        return names

    async def owed(self, limit: int = 500, *, for_ms: int = 5_000, most: int = 100) -> list[Entry]:
        """Takes what is due out of the outbox for a while."""
        return await self.outbox.take(self.queue, limit, for_ms=for_ms, most=most)

    async def settle(self, *entries: Entry) -> None:
        """These were delivered."""
        await self.outbox.settle(self.queue, entries)

    async def follow(self, follower: str, *names: bytes) -> list[int]:
        """State of each."""
        return await self.outbox.follow(self.queue, [(follower, name) for name in names])

    async def resolve(self, *resolutions: Resolution) -> int:
        """How many entries the outbox got."""
        return await self.outbox.resolve(self.queue, resolutions)

    def id(self, name: bytes) -> str:
        """As other queues know the task."""
        return self.queue.task_id(name)

    def snapshot(self) -> Snapshot:
        """Everything kept of the queue."""
        return take_snapshot(self.admin, self.queue)

    def meta(self, name: bytes) -> Meta:
        """The row of one task."""
        return self.snapshot().metas[name]

    def key(self, suffix: str) -> bytes:
        """One key of the queue."""
        return self.queue.keys[suffix]
