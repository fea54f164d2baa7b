"""Who in this process waits for what, and telling them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, Protocol

from codeq_grpc.core import limits
from codeq_grpc.store.wakeups import (
    LeaseKey,
    cancel_message,
    changed_key,
    ended_key,
    over_message,
    work_key,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Sequence

    from codeq_grpc.broker.background import Background
    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.tasks import TaskStore
    from codeq_grpc.store.wakeups import Wakeups

SAFETY_TICK: Final = (2.0, 5.0)
"""Seconds after which who waits looks by itself, since messages are only hints."""


def pause(next_due_ms: int, now_ms: int, most: float) -> float:
    """Seconds to wait for a wake-up: till the next due time, a safety tick or `most`."""
    wait = min(random.uniform(*SAFETY_TICK), most)
    if next_due_ms:
        wait = min(wait, max(0.0, (next_due_ms - now_ms) / limits.SECOND))
    return wait


class _Waiting:
    """Who waits in one queue."""

    __slots__ = ("armed", "events", "queue")

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.events: set[asyncio.Event] = set()
        self.armed = False


class Holder(Protocol):
    """A stream that holds leases."""

    def leases_over(self, leases: Sequence[LeaseKey], *, lost: bool) -> None:
        """Leases it held were reported or, when `lost`, expired."""

    def cancel(self, leases: Sequence[LeaseKey], reason: str) -> None:
        """Tasks it holds are to be cancelled."""

    def look(self) -> None:
        """Something may have been missed."""


class Watcher(Protocol):
    """Who wants to hear of every change of a queue."""

    def changed(self, queue: Queue, names: Sequence[bytes]) -> None:
        """Tasks have changed."""

    def missed(self) -> None:
        """Changes may have been missed."""


class Waiters:
    """Routes messages of the store to the events of those who wait. A `Listener`."""

    def __init__(
        self, server: str, store: TaskStore, wakeups: Wakeups, background: Background
    ) -> None:
        self.server = server
        self._store = store
        self._wakeups = wakeups
        self._background = background
        self._work: dict[bytes, _Waiting] = {}
        self._ends: dict[tuple[bytes, bytes], set[asyncio.Event]] = {}
        self._holders: dict[str, Holder] = {}
        self._watchers: dict[bytes, dict[Watcher, Queue]] = {}
        self.draining = False

    def join(self, queues: Iterable[Queue], event: asyncio.Event) -> Callable[[], None]:
        """Sets `event` when work comes to one of the queues, until the result is called."""
        joined = list(queues)
        for queue in joined:
            self._work.setdefault(work_key(queue), _Waiting(queue)).events.add(event)

        def leave() -> None:
            for queue in joined:
                waiting = self._work[work_key(queue)]
                waiting.events.discard(event)
                if waiting.events:
                    continue
                del self._work[work_key(queue)]
                if waiting.armed:
                    self._background.spawn(self._store.pass_on(queue, self.server))

        return leave

    def armed(self, queue: Queue) -> None:
        """The store was asked to wake this server: it must be told when nobody waits any more."""
        waiting = self._work.get(work_key(queue))
        if waiting is not None:
            waiting.armed = True
        else:
            self._background.spawn(self._store.pass_on(queue, self.server))

    def drain(self) -> None:
        """Whoever waits goes on without what it waited for."""
        self.draining = True
        self.missed()

    def join_end(self, queue: Queue, name: bytes, event: asyncio.Event) -> Callable[[], None]:
        """Sets `event` when a task ends, until the result is called."""
        key = ended_key(queue), name
        self._ends.setdefault(key, set()).add(event)

        def leave() -> None:
            events = self._ends.get(key, set())
            events.discard(event)
            if not events:
                self._ends.pop(key, None)

        return leave

    def watch(self, queue: Queue, watcher: Watcher) -> Callable[[], None]:
        """Tells of changes until the result is called. Each watcher hears of the queue that it
        named: one that came before the first task knows no number.
        """
        key = changed_key(queue)
        self._watchers.setdefault(key, {})[watcher] = queue

        def leave() -> None:
            watchers = self._watchers[key]
            del watchers[watcher]
            if not watchers:
                del self._watchers[key]

        return leave

    def watched(self) -> list[Queue]:
        """Queues of which this server wants to be told."""
        return [next(iter(watchers.values())) for watchers in self._watchers.values()]

    def add_holder(self, stream: str, holder: Holder) -> None:
        """A stream that wants to hear of its leases."""
        self._holders[stream] = holder

    def remove_holder(self, stream: str) -> None:
        """It has ended."""
        del self._holders[stream]

    def tell_over(self, owned: dict[str, list[LeaseKey]], *, lost: bool) -> None:
        """Tells streams, here or on other servers, that leases of theirs are over."""
        for stream, leases in owned.items():
            server = stream.partition(".")[0]
            if server == self.server:
                self.leases_over(stream, leases, lost=lost)
            elif server:
                message = over_message(stream, leases, lost=lost)
                self._background.spawn(self._wakeups.tell(server, message))

    def tell_cancel(self, owned: dict[str, list[LeaseKey]], reason: str) -> None:
        """Tells streams, here or on other servers, that tasks they hold are to be cancelled."""
        for stream, leases in owned.items():
            server = stream.partition(".")[0]
            if server == self.server:
                self.cancel(stream, leases, reason)
            elif server:
                message = cancel_message(stream, leases, reason)
                self._background.spawn(self._wakeups.tell(server, message))

    def work(self, key: bytes) -> None:
        """A message of the store: tasks wait."""
        waiting = self._work.get(key)
        for event in waiting.events if waiting else ():
            event.set()

    def ended(self, key: bytes, name: bytes) -> None:
        """A message of the store: a task has ended."""
        for event in self._ends.get((key, name), ()):
            event.set()

    def leases_over(self, stream: str, leases: Sequence[LeaseKey], *, lost: bool) -> None:
        """A message of a server: leases of a stream are over."""
        holder = self._holders.get(stream)
        if holder is not None:
            holder.leases_over(leases, lost=lost)

    def cancel(self, stream: str, leases: Sequence[LeaseKey], reason: str) -> None:
        """A message of a server: tasks that a stream holds are to be cancelled."""
        holder = self._holders.get(stream)
        if holder is not None:
            holder.cancel(leases, reason)

    def changed(self, key: bytes, names: Sequence[bytes]) -> None:
        """A message of the store: tasks have changed."""
        for watcher, queue in self._watchers.get(key, {}).items():
            watcher.changed(queue, names)

    def missed(self) -> None:
        """The subscription was new or renewed: everybody looks."""
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.missed()
        for waiting in self._work.values():
            for event in waiting.events:
                event.set()
        for events in self._ends.values():
            for event in events:
                event.set()
        for holder in self._holders.values():
            holder.look()
