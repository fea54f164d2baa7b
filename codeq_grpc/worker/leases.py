"""The leases that a worker holds, and what their time is.

A lease ends `length` seconds after it was granted or last extended. The worker counts from the
moment it received the task, or sent the heartbeat, on its own monotonic clock: no two clocks
are compared. When that time is over the lease is over, whatever the server has to say later.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from codeq_grpc.core import clock
from codeq_grpc.worker.context import TaskContext
from codeq_grpc.worker.progress import merged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from codeq.v1.task_pb2 import ClaimedTask, LeaseRef, Progress

DEFAULT_LENGTH: Final = 300.0
_GATHER: Final = 0.05
"""Seconds that progress waits for that of other leases, to share a heartbeat ..."""
_TELL_EVERY: Final = 1.0
"""... and those between two heartbeats that one lease has for its progress."""
_NEVER: Final = float("inf")


class Key(NamedTuple):
    """Names one claim of one task."""

    task_id: str
    fence: int

    @classmethod
    def of(cls, ref: LeaseRef) -> Key:
        """The key of a lease."""
        return cls(ref.task_id, ref.fence)


class Grant:
    """Where leases come from: one stream, with its credit and how much of it is in use."""

    __slots__ = ("credit", "held", "open", "received_at")

    def __init__(self, credit: int) -> None:
        self.credit = credit
        self.held = 0
        self.open = True
        self.received_at = clock.monotonic()


class Lease:
    """One held lease. Times are on the monotonic clock, in seconds."""

    __slots__ = (
        "beat_at",
        "context",
        "deadline",
        "grant",
        "held",
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
        tell: Callable[[Lease, Progress], object],
    ) -> None:
        now = clock.monotonic()
        self.ref = task.lease
        self.context = TaskContext(task, partial(tell, self))
        self.grant = grant
        self.length = length
        self.held = True
        self.reporting = False
        self.runner: asyncio.Task[object] | None = None
        self.started_at = now
        self.news: Progress | None = None
        self.tell_at = now
        self.told_at = now - _TELL_EVERY
        self.telling: asyncio.Event | None = None
        self.extend(now)

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

    def add(self, task: ClaimedTask, grant: Grant) -> Lease:
        """Notes a task that was just received."""
        length = task.lease_duration.ToTimedelta().total_seconds()
        length = length or self._length or _own_length(task)
        lease = Lease(task, grant, length, self._tell_soon)
        self._held[Key.of(lease.ref)] = lease
        grant.held += 1
        grant.received_at = clock.monotonic()
        self._hurry(lease)
        return lease

    def find(self, ref: LeaseRef) -> Lease | None:
        """The held lease that `ref` names."""
        return self._held.get(Key.of(ref))

    def release(self, lease: Lease) -> None:
        """Forgets a lease: reported, or lost."""
        if not lease.held:
            return
        lease.held = False
        del self._held[Key.of(lease.ref)]
        lease.grant.held -= 1
        if not lease.grant.open:
            self.freed.set()

    def _tell_soon(self, lease: Lease, progress: Progress) -> None:
        """Handlers call it, from whatever thread they run in."""
        self._loop.call_soon_threadsafe(self._tell, lease, progress)

    def _tell(self, lease: Lease, progress: Progress) -> None:
        if lease.held and not lease.reporting:
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
    return task.spec.lease_duration.ToTimedelta().total_seconds()
