"""StreamClaim: push over the same claim as pull, never more than the worker has credit for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from codeq_grpc.broker.lines import SAFETY_TICK
from codeq_grpc.broker.wishes import Wish
from codeq_grpc.broker.workers import Worker, now_ms
from codeq_grpc.core import limits
from codeq_grpc.core.clock import monotonic
from codeq_grpc.core.errors import CodeQError, Draining
from codeq_grpc.store.rows import pack_claimant

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from codeq_grpc.broker.lines import Lines
    from codeq_grpc.broker.wakeups import Waiters
    from codeq_grpc.broker.wishes import Given
    from codeq_grpc.core.records import Lease
    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.registry import Registry
    from codeq_grpc.store.tasks import TaskStore
    from codeq_grpc.store.wakeups import LeaseKey

_log = logging.getLogger(__name__)
_RETRY = 0.5
"""Seconds after which a stream asks a store again that failed."""
_RECOUNT = 10.0
"""Seconds after which a stream that is never quiet recounts what it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What a worker asks for. Times in ms and seconds as named; 0 takes the task's lease."""

    tenant: str
    worker_id: str
    commands: tuple[str, ...]
    max_outstanding: int
    max_batch: int
    lease_ms: int
    idle_seconds: float
    release: bool
    peer: str


class Opened(NamedTuple):
    """First message."""

    stream_id: str


class Batch(NamedTuple):
    """Leased tasks."""

    leases: list[Lease]


class LeaseOver(NamedTuple):
    """The worker lost this lease."""

    task_id: str
    fence: int


class CancelAsked(NamedTuple):
    """The task of this lease is to be cancelled."""

    task_id: str
    fence: int
    reason: str


class Quiet(NamedTuple):
    """Nothing was sent for a while; the store's time in ms."""

    now_ms: int


class Closing(NamedTuple):
    """No more tasks follow."""


Message = Opened | Batch | LeaseOver | CancelAsked | Quiet | Closing


class Streams:
    """All open streams of this server."""

    def __init__(
        self,
        registry: Registry,
        lines: Lines,
        store: TaskStore,
        waiters: Waiters,
        *,
        max_age: float,
    ) -> None:
        self._registry = registry
        self._lines = lines
        self._store = store
        self._waiters = waiters
        self._max_age = max_age
        self._numbers = count(1)
        self._open: set[ClaimStream] = set()
        self._draining = False
        self._empty = asyncio.Event()
        self._empty.set()

    def open(self) -> list[ClaimStream]:
        """The open streams."""
        return list(self._open)

    async def serve(
        self, subscription: Subscription, send: Callable[[Message], Awaitable[None]]
    ) -> None:
        """Runs one stream until it drains or its task is cancelled; `send` returns when the
        transport took the message. Raises Draining.
        """
        queues = await self._registry.find_all(subscription.tenant, subscription.commands)
        if self._draining:
            raise Draining
        stream_id = f"{self._waiters.server}.{next(self._numbers)}"
        stream = ClaimStream(*(stream_id, subscription, queues, self._lines), self._store, send)
        self._open.add(stream)
        self._empty.clear()
        self._waiters.add_holder(stream_id, stream)
        try:
            await stream.run(self._max_age)
        finally:
            stream.close()
            self._waiters.remove_holder(stream_id)
            self._open.discard(stream)
            if not self._open:
                self._empty.set()

    async def drain(self, timeout: float) -> None:
        """Tells all streams to close, takes no new one, waits for their end."""
        self._draining = True
        for stream in self._open:
            stream.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._empty.wait()


class ClaimStream:
    """One stream: what it holds, what it still has to say."""

    def __init__(
        self,
        stream_id: str,
        subscription: Subscription,
        queues: Sequence[Queue],
        lines: Lines,
        store: TaskStore,
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        self.event = asyncio.Event()
        self._id = stream_id
        self._wants = subscription
        self._queues = queues
        self._lines = lines
        self._store = store
        self._send_raw = send
        claimant = pack_claimant(stream_id, subscription.worker_id)
        self._wish = Wish(
            claimant, self.event, lease_ms=subscription.lease_ms, most=subscription.max_batch
        )
        self._held: dict[LeaseKey, Queue] = {}
        self._directives: list[LeaseOver | CancelAsked] = []
        self._draining = False
        self._connected_ms = now_ms()
        self._counted_at = self._sent_at = monotonic()
        self._clock = (0, self._sent_at)

    def drain(self) -> None:
        """No more tasks; the stream ends after saying so."""
        self._draining = True
        self.event.set()

    def look(self) -> None:
        """Messages may have been missed: recounts and claims again at once."""
        self._counted_at = 0.0
        self.event.set()

    def leases_over(self, leases: Sequence[LeaseKey], *, lost: bool) -> None:
        """Leases were reported, or lost: their credit comes back."""
        for key in leases:
            queue = self._held.pop(key, None)
            if queue is not None and lost:
                self._directives.append(LeaseOver(queue.task_id(key[1]), key[2]))
        self.event.set()

    def cancel(self, leases: Sequence[LeaseKey], reason: str) -> None:
        """Tasks it holds are to be cancelled."""
        for key in leases:
            queue = self._held.get(key)
            if queue is not None:
                self._directives.append(CancelAsked(queue.task_id(key[1]), key[2], reason))
        self.event.set()

    def worker(self) -> Worker:
        """Who reads it, and what that one holds now."""
        wants = self._wants
        return Worker(
            tenant=wants.tenant,
            worker_id=wants.worker_id,
            commands=wants.commands,
            peer=wants.peer,
            connected_ms=self._connected_ms,
            in_progress=len(self._held),
            max_outstanding=wants.max_outstanding,
            idle=0 if self._draining else max(0, wants.max_outstanding - len(self._held)),
        )

    async def run(self, max_age: float) -> None:
        """Until drained or cancelled. What was delivered stays leased unless the worker asked
        for its release at disconnection; a drained stream's worker lives on and keeps it.
        """
        ends_at = monotonic() + max_age if max_age else None
        try:
            await self._send(Opened(self._id))
            while True:
                self.event.clear()
                if self._draining or (ends_at is not None and monotonic() >= ends_at):
                    self._lines.close(self._wish)
                    await self._send(Closing())
                    return
                await self._direct()
                if monotonic() - self._counted_at >= _RECOUNT:
                    await self._recount()
                if not await self._deliver():
                    await self._rest(self._ask(), ends_at)
        except BaseException:
            if self._wants.release:
                self._release()
            raise

    def close(self) -> None:
        """What was claimed for it and not sent goes back."""
        self._lines.close(self._wish)

    def _release(self) -> None:
        by_queue: dict[Queue, list[tuple[bytes, int]]] = {}
        for (_, name, fence), queue in self._held.items():
            by_queue.setdefault(queue, []).append((name, fence))
        for queue, leases in by_queue.items():
            self._lines.abandon(queue, leases)

    async def _send(self, message: Message) -> None:
        # One write at a time; nothing is claimed that would have to wait for its end.
        self._wish.want, self._wish.busy = 0, True
        try:
            await self._send_raw(message)
        finally:
            self._wish.busy = False
        self._sent_at = monotonic()

    async def _direct(self) -> None:
        while self._directives:
            await self._send(self._directives.pop(0))

    def _ask(self) -> float:
        """Asks for what there is credit for, and tells how long to rest at most. While the store
        fails the worker is told by silence, as if there were no tasks.
        """
        wish = self._wish
        error = wish.fail()
        if error is not None:
            _log.warning("stream %s cannot claim: %s", self._id, error)
            return _RETRY
        credit = self._wants.max_outstanding - len(self._held) - wish.coming
        if credit > 0 and not wish.want:
            self._lines.ask(wish, self._queues, credit, patient=True)
        elif credit > 0:
            wish.want = credit + wish.asked
        elif not wish.coming:
            # Whoever takes no tasks keeps no wake-up from others who would.
            self._lines.part(wish)
        return SAFETY_TICK[1]

    async def _deliver(self) -> bool:
        """Sends what was given, a message a claim; whether there was something."""
        if self._wish.now_ms:
            self._clock = (self._wish.now_ms, monotonic())
            self._wish.now_ms = 0
        given = self._wish.take()
        for at, one in enumerate(given):
            await self._write(one, given[at + 1 :])
        return bool(given)

    async def _write(self, given: Given, rest: list[Given]) -> None:
        queue, leases = given
        keys = [(queue.number, lease.name, lease.fence) for lease in leases]
        for key in keys:
            self._held[key] = queue
        try:
            await self._send(Batch(leases))
        except BaseException:
            for key in keys:
                self._held.pop(key, None)
            self._lines.give_back([given, *rest])
            raise

    async def _rest(self, most: float, ends_at: float | None) -> None:
        """Waits for an event, at most till the next tick, idle message or end."""
        most = min(most, self._sent_at + self._wants.idle_seconds - monotonic())
        if ends_at is not None:
            most = min(most, ends_at - monotonic())
        if await self._sleep(max(0.0, most)):
            return
        if monotonic() - self._sent_at >= self._wants.idle_seconds:
            now_ms, read_at = self._clock
            await self._send(Quiet(now_ms + int((monotonic() - read_at) * 1000) if now_ms else 0))
        await self._recount()

    async def _sleep(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self.event.wait()
        except TimeoutError:
            return False
        return True

    async def _recount(self) -> None:
        """Finds leases that ended without this stream being told."""
        self._counted_at = monotonic()
        groups: dict[Queue, list[LeaseKey]] = {}
        for key, queue in self._held.items():
            groups.setdefault(queue, []).append(key)
        try:
            for queue, leases in groups.items():
                for at in range(0, len(leases), limits.SCRIPT_BATCH):
                    part = leases[at : at + limits.SCRIPT_BATCH]
                    still = await self._store.held(queue, [(n, fence) for _, n, fence in part])
                    for key, is_held in zip(part, still, strict=True):
                        if not is_held:
                            self._held.pop(key, None)
        except CodeQError as error:
            _log.warning("stream %s cannot recount: %s", self._id, error)
