"""Claims, by call and for streams, such that nothing leased stays with a caller who left."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

from codeq_grpc.broker.wakeups import pause
from codeq_grpc.core import limits
from codeq_grpc.core.clock import monotonic
from codeq_grpc.core.errors import CodeQError, Draining
from codeq_grpc.core.records import Lease
from codeq_grpc.core.task import Ending
from codeq_grpc.store.keys import created_ms
from codeq_grpc.store.rows import pack_claimant
from codeq_grpc.store.tasks import Report

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from codeq_grpc.broker.background import Background
    from codeq_grpc.broker.wakeups import Waiters
    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.registry import Registry
    from codeq_grpc.store.tasks import Claimed, TaskStore


class Held(NamedTuple):
    """A lease as the store knows it, and as its worker gets it."""

    queue: Queue
    name: bytes
    lease: Lease


class Ask(NamedTuple):
    """What is asked of every queue: for whom (`rows.pack_claimant`), how many, for how long (0:
    as the task says), and whether to be woken where there was nothing.
    """

    claimant: bytes
    want: int
    lease_ms: int
    arm: bool


class Found(NamedTuple):
    """What claims over several queues gave; times as of the store, 0 when unknown."""

    held: list[Held]
    now_ms: int
    look_at_ms: int


class Claims:
    """Claims tasks of one or more queues."""

    def __init__(
        self, registry: Registry, store: TaskStore, waiters: Waiters, background: Background
    ) -> None:
        self._registry = registry
        self._store = store
        self._waiters = waiters
        self._background = background

    async def find(self, tenant: str, commands: Sequence[str]) -> list[Queue]:
        """The queues of these commands, existing or not."""
        return [await self._registry.find(tenant, command) for command in commands]

    async def claim(
        self,
        tenant: str,
        commands: Sequence[str],
        worker_id: str,
        *,
        want: int,
        lease_ms: int,
        wait: float,
    ) -> list[Held]:
        """Leases up to `want` tasks, waiting up to `wait` seconds for the first one. Raises
        Draining rather than answer at once that there is nothing, which would be asked again.
        """
        if self._waiters.draining:
            raise Draining
        queues = await self.find(tenant, commands)
        ask = Ask(pack_claimant("", worker_id), want, lease_ms, arm=wait > 0)
        deadline = monotonic() + wait
        event = asyncio.Event()
        leave = self._waiters.join(queues, event) if wait > 0 else None
        try:
            while True:
                event.clear()
                found = await self.claim_now(queues, ask)
                left = deadline - monotonic()
                if found.held or left <= 0 or self._waiters.draining:
                    return found.held
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause(found.look_at_ms, found.now_ms, left)):
                        await event.wait()
        finally:
            if leave is not None:
                leave()

    async def claim_now(self, queues: Sequence[Queue], ask: Ask) -> Found:
        """Claims without waiting, queue after queue. An error after something was leased is left
        for the next call.
        """
        held: list[Held] = []
        now_ms = look_at = 0
        size = limits.BATCH_BYTES
        try:
            remaining = list(reversed(queues))
            while remaining:
                claimed, found = await self._claim_one(
                    remaining[-1], ask, ask.want - len(held), size
                )
                now_ms = claimed.now_ms
                if claimed.look_at_ms:
                    look_at = min(look_at or claimed.look_at_ms, claimed.look_at_ms)
                held += found
                size -= sum(len(one.lease.spec) + len(one.lease.checkpoint) for one in found)
                # The next claim gives a task whatever its size; the reply must hold that too.
                if len(held) >= ask.want or size < limits.BATCH_BYTES - limits.MORE_BYTES:
                    break
                if len(found) < limits.SCRIPT_BATCH:
                    remaining.pop()
        except CodeQError:
            if not held:
                raise
        except BaseException:
            self.give_back(held)
            raise
        return Found(held, now_ms, look_at)

    async def _claim_one(
        self, queue: Queue, ask: Ask, want: int, size: int
    ) -> tuple[Claimed, list[Held]]:
        call = self._background.spawn(self._take(queue, ask, want, size))
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            self._background.spawn(self._undo(call))
            raise

    async def _undo(self, call: asyncio.Task[tuple[Claimed, list[Held]]]) -> None:
        _, held = await call
        self.give_back(held)

    async def _take(
        self, queue: Queue, ask: Ask, want: int, size: int
    ) -> tuple[Claimed, list[Held]]:
        while True:
            claimed = await self._store.claim(
                queue,
                ask.claimant,
                want=min(want, limits.SCRIPT_BATCH),
                max_bytes=size,
                lease_ms=ask.lease_ms,
                wake=self._waiters.server if ask.arm else "",
            )
            if claimed.tasks or claimed.empty:
                break
        if claimed.armed:
            self._waiters.armed(queue)
        return claimed, await self._named(queue, claimed)

    async def _named(self, queue: Queue, claimed: Claimed) -> list[Held]:
        if not claimed.tasks:
            return []
        if not queue.number:
            # It had no task when the worker came, and has now.
            queue = await self._registry.find(queue.tenant, queue.command)
        return [
            Held(
                queue,
                name,
                Lease(
                    queue.task_id(name),
                    row.fence,
                    row.attempt,
                    row.max_attempts,
                    row.time_ms,
                    row.time_ms - claimed.now_ms,
                    created_ms(name),
                    spec,
                    checkpoint,
                ),
            )
            for name, row, spec, checkpoint in claimed.tasks
        ]

    def give_back(self, held: Iterable[Held]) -> None:
        """Returns leases whose worker never got them; in the background, uncounted."""
        by_queue: dict[Queue, list[Report]] = {}
        for queue, name, lease in held:
            report = Report(name, lease.fence, Ending.ABANDON, delay_ms=0)
            by_queue.setdefault(queue, []).append(report)
        for queue, reports in by_queue.items():
            for at in range(0, len(reports), limits.SCRIPT_BATCH):
                part = reports[at : at + limits.SCRIPT_BATCH]
                self._background.spawn(self._store.report(queue, part))
