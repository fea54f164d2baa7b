"""Who in this process waits for what, and telling them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Protocol

from codeq_grpc.broker.lines import SAFETY_TICK
from codeq_grpc.store.wakeups import (
    LeaseKey,
    cancel_message,
    changed_key,
    ended_key,
    over_message,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from codeq_grpc.broker.background import Background
    from codeq_grpc.broker.lines import Lines
    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.wakeups import Wakeups


def pause(most: float) -> float:
    """Seconds to wait for a wake-up: till a safety tick or `most`."""
    return min(random.uniform(*SAFETY_TICK), most)


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

    def __init__(self, server: str, lines: Lines, wakeups: Wakeups, background: Background) -> None:
        self.server = server
        self._lines = lines
        self._wakeups = wakeups
        self._background = background
        self._ends: dict[tuple[bytes, bytes], set[asyncio.Event]] = {}
        self._holders: dict[str, Holder] = {}
        self._watchers: dict[bytes, dict[Watcher, Queue]] = {}
        self.draining = False

    def drain(self) -> None:
        """Whoever waits goes on without what it waited for."""
        self.draining = True
        self.missed()
        self._lines.interrupt()

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
        self._lines.woken(key)

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
        self._lines.missed()
        for events in self._ends.values():
            for event in events:
                event.set()
        for holder in self._holders.values():
            holder.look()
