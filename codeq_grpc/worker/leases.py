"""The leases that a worker holds, and what their time is.

A lease ends `length` seconds after it was granted or last extended. The worker counts from the
moment it received the task, or sent the heartbeat, on its own monotonic clock: no two clocks
are compared. When that time is over the lease is over, whatever the server has to say later.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from codeq_grpc.core import clock
from codeq_grpc.worker.context import TaskContext
from codeq_grpc.worker.progress import merged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from google.protobuf.duration_pb2 import Duration

    from codeq.v1.task_pb2 import ClaimedTask, LeaseRef, Progress

DEFAULT_LENGTH: Final = 300.0
_GATHER: Final = 0.05
"""Seconds that progress waits for that of other leases, to share a heartbeat ..."""
_TELL_EVERY: Final = 1.0
"""... and those between two heartbeats that one lease has for its progress."""
_NEVER: Final = float("inf")


Key = tuple[str, int]
"""Names one claim of one task: its id and fence."""


def key_of(ref: LeaseRef) -> Key:
    """The key of a lease."""
    return ref.task_id, ref.fence


class Grant:
    """Where leases come from: one stream, with its credit and how much of it is in use."""

    __slots__ = ("credit", "held", "open", "received_at")

    def __init__(self, credit: int) -> None:
        self.credit = credit
        self.held = 0
        self.open = True
        self.received_at = clock.monotonic()


class Lease:
    """One held lease. Times are on the monotonic clock, in seconds.

    Nothing that it refers to refers back to it: it is gone once it is forgotten, without the
    garbage collector, which would cost as much as a third of everything else.
    """

    __slots__ = (
        "beat_at",
        "begun",
        "context",
        "deadline",
        "grant",
        "held",
        "key",
        "length",
        "news",
        "ref",
        "reporting",
        "runner",
        "started_at",
        "tell_at",
        "telling",
        "told_at",
    )

    def __init__(
        self,
        task: ClaimedTask,
        grant: Grant,
        length: float,
        tell: Callable[[LeaseRef, Progress], object],
        now: float,
    ) -> None:
        self.ref = task.lease
        self.key = key_of(self.ref)
        self.context = TaskContext(task, tell)
        self.grant = grant
        self.length = length
        self.held = True
        self.reporting = False
        self.begun = False
        self.runner: asyncio.Task[object] | None = None
        self.started_at = now
        self.news: Progress | None = None
        self.tell_at = now
        self.told_at = now - _TELL_EVERY
        self.telling: asyncio.Event | None = None
        self.deadline = now + length
        self.beat_at = now + length / 3

    @property
    def due_at(self) -> float:
        """When to look at it next."""
        if self.reporting:
            return self.beat_at
        sooner = self.deadline if self.news is None else min(self.deadline, self.tell_at)
        return min(self.beat_at, sooner)

    def comes_along(self, now: float) -> bool:
        """Whether it shares a heartbeat that others need now, so that fewer calls are made."""
        if self.news is not None and self.told_at + _TELL_EVERY <= now:
            return True
        return self.beat_at - self.length / 12 <= now

    def add_news(self, progress: Progress) -> None:
        """Keeps progress until a heartbeat carries it."""
        if self.news is None:
            self.tell_at = max(self.told_at + _TELL_EVERY, clock.monotonic() + _GATHER)
        self.news = merged(self.news, progress)

    def take_news(self, through: asyncio.Event) -> Progress | None:
        """The progress for a heartbeat that is sent now; `through` is set when it was."""
        news, self.news = self.news, None
        if news is not None:
            self.told_at = clock.monotonic()
            self.telling = through
        return news

    def extend(self, now: float) -> None:
        """The lease was granted or extended at `now`."""
        self.deadline = now + self.length
        self.beat_at = now + self.length / 3


class Leases:
    """All leases held. `length` is what the worker asks for, None leaves it to the tasks."""

    def __init__(self, length: float | None) -> None:
        self._length = length
        self._held: dict[Key, Lease] = {}
        self._alarm = _NEVER
        self._loop = asyncio.get_running_loop()
        self._sooner = asyncio.Event()
        self.freed = asyncio.Event()
        """Set when a slot came free that no open stream will fill."""

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Lease]:
        return iter(list(self._held.values()))

    def add(self, tasks: Iterable[ClaimedTask], grant: Grant) -> list[Lease]:
        """Notes tasks that were just received."""
        now, tell = clock.monotonic(), self._tell_soon
        grant.received_at = now
        leases = []
        for task in tasks:
            length = _seconds(task.lease_duration) or self._length or _own_length(task)
            lease = Lease(task, grant, length, tell, now)
            self._held[lease.key] = lease
            leases.append(lease)
            if lease.beat_at < self._alarm:
                self._hurry(lease)
        grant.held += len(leases)
        return leases

    def find(self, ref: LeaseRef) -> Lease | None:
        """The held lease that `ref` names."""
        return self._held.get(key_of(ref))

    def release(self, lease: Lease) -> None:
        """Forgets a lease: reported, or lost."""
        if not lease.held:
            return
        lease.held = False
        del self._held[lease.key]
        lease.grant.held -= 1
        if not lease.grant.open:
            self.freed.set()

    def _tell_soon(self, ref: LeaseRef, progress: Progress) -> None:
        """Handlers call it, from whatever thread they run in."""
        self._loop.call_soon_threadsafe(self._tell, ref, progress)

    def _tell(self, ref: LeaseRef, progress: Progress) -> None:
        lease = self.find(ref)
        if lease is not None and not lease.reporting:
            lease.add_news(progress)
            self._hurry(lease)

    def _hurry(self, lease: Lease) -> None:
        """Wakes who waits until a lease is due, if this one is sooner."""
        if lease.due_at < self._alarm:
            self._alarm = lease.due_at
            self._sooner.set()

    async def until_due(self) -> None:
        """Waits until a lease may need a heartbeat."""
        self._alarm = min((lease.due_at for lease in self._held.values()), default=_NEVER)
        while (pause := self._alarm - clock.monotonic()) > 0:
            self._sooner.clear()
            try:
                async with asyncio.timeout(None if pause == _NEVER else pause):
                    await self._sooner.wait()
            except TimeoutError:
                return


def _own_length(task: ClaimedTask) -> float:
    """For a server that does not tell the length."""
    if not task.spec.HasField("lease_duration"):
        return DEFAULT_LENGTH
    return _seconds(task.spec.lease_duration)


def _seconds(span: Duration) -> float:
    """A tenth of the price of `ToTimedelta`."""
    return span.seconds + span.nanos / 1e9
