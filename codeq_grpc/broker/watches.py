"""WatchTasks: changes as they happen, told by the store only while somebody watches."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from codeq_grpc.broker.reports import not_found
from codeq_grpc.broker.tasks import as_record
from codeq_grpc.core import limits
from codeq_grpc.core.clock import monotonic
from codeq_grpc.core.errors import CodeQError, Draining

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from codeq_grpc.broker.background import Background
    from codeq_grpc.broker.wakeups import Waiters
    from codeq_grpc.core.principal import Reach
    from codeq_grpc.core.records import Record
    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.reads import Reads
    from codeq_grpc.store.registry import Registry

_log = logging.getLogger(__name__)
_LEASE_MS: Final = 15_000
_RENEW: Final = 5.0
_GATHER: Final = 0.1
"""Seconds between messages, so that quick changes of one task merge."""
_RETRY: Final = 0.5
"""Seconds after which a store is asked again that failed."""
_PENDING: Final = 10_000
"""Changed tasks that wait to be told; beyond it there is a gap."""
_READ: Final = 500


class Changes(NamedTuple):
    """Tasks that changed, as they are now; `gap` when some were missed."""

    records: list[Record]
    gap: bool


class Watch:
    """One watcher: what it has yet to be told. `only` are the tasks it wants, None all."""

    def __init__(self, only: dict[Queue, set[bytes]] | None) -> None:
        self._only = only
        self._pending: dict[tuple[Queue, bytes], None] = {}
        self._gap = False
        self.event = asyncio.Event()

    def changed(self, queue: Queue, names: Sequence[bytes]) -> None:
        """Tasks have changed."""
        if self._only is not None:
            names = [name for name in names if name in self._only.get(queue, ())]
        self._pending.update(((queue, name), None) for name in names)
        if len(self._pending) > _PENDING:
            self.missed()
        elif self._pending:
            self.event.set()

    def missed(self) -> None:
        """Changes may have been missed."""
        self._pending.clear()
        self._gap = True
        self.event.set()

    def take(self) -> tuple[dict[Queue, list[bytes]], bool]:
        """What to tell, and whether there is a gap before it."""
        self.event.clear()
        taken: dict[Queue, list[bytes]] = {}
        for queue, name in self._pending:
            taken.setdefault(queue, []).append(name)
        gap, self._gap = self._gap, False
        self._pending.clear()
        return taken, gap


class Watches:
    """All watchers of this server."""

    def __init__(
        self,
        registry: Registry,
        reads: Reads,
        waiters: Waiters,
        background: Background,
    ) -> None:
        self._registry = registry
        self._reads = reads
        self._waiters = waiters
        self._background = background
        self._open: set[Watch] = set()
        self._draining = False

    async def by_ids(
        self, reach: Reach, task_ids: Sequence[str], send: Callable[[Changes], Awaitable[None]]
    ) -> None:
        """Tells of these tasks till cancelled. Raises TaskNotFound."""
        only: dict[Queue, set[bytes]] = {}
        for task_id in task_ids:
            found = await self._registry.of_task(reach, task_id)
            if found is None:
                raise not_found(task_id)
            only.setdefault(found[0], set()).add(found[1])
        for queue, names in only.items():
            listed = list(names)
            for name, state in zip(listed, await self._reads.states(queue, listed), strict=True):
                if not state:
                    raise not_found(queue.task_id(name))
        await self._serve(list(only), Watch(only), send)

    async def by_queue(
        self, tenant: str, command: str, send: Callable[[Changes], Awaitable[None]]
    ) -> None:
        """Tells of every task of a queue till cancelled."""
        queue = await self._registry.find(tenant, command)
        await self._serve([queue], Watch(None), send)

    async def _serve(
        self, queues: list[Queue], watch: Watch, send: Callable[[Changes], Awaitable[None]]
    ) -> None:
        if self._draining:
            raise Draining
        self._open.add(watch)
        leaves = [self._waiters.watch(queue, watch) for queue in queues]
        try:
            await self._ask(queues)
            await send(Changes([], gap=False))
            while True:
                await watch.event.wait()
                if self._draining:
                    raise Draining
                await asyncio.sleep(await self._attempt(queues, watch, send))
        finally:
            self._open.discard(watch)
            for leave in leaves:
                leave()

    async def _ask(self, queues: Iterable[Queue]) -> None:
        for queue in queues:
            await self._reads.watch(queue, self._waiters.server, _LEASE_MS)

    async def _attempt(
        self, queues: list[Queue], watch: Watch, send: Callable[[Changes], Awaitable[None]]
    ) -> float:
        """Tells what there is to tell; how long to rest. What the store does not give is a gap."""
        try:
            await self._tell(queues, watch, send)
        except CodeQError as error:
            _log.warning("cannot tell a watcher of changes: %s", error)
            watch.missed()
            return _RETRY
        return _GATHER

    async def _tell(
        self, queues: list[Queue], watch: Watch, send: Callable[[Changes], Awaitable[None]]
    ) -> None:
        taken, gap = watch.take()
        if gap:
            # The store may have forgotten who watches. What changes from here on is told.
            await self._ask(queues)
            await send(Changes([], gap=True))
        for queue, names in taken.items():
            # A queue that was watched before its first task has a number by now.
            found = queue if queue.number else await self._found(queue)
            at = 0
            while at < len(names):
                part = names[at : at + _READ]
                stored = await self._reads.read(
                    found, part, full=False, max_bytes=limits.BATCH_BYTES
                )
                at += len(stored)
                records = [
                    as_record(found, name, one)
                    for name, one in zip(part, stored, strict=False)
                    if one is not None
                ]
                await send(Changes(records, gap=False))

    async def _found(self, queue: Queue) -> Queue:
        return await self._registry.find(queue.tenant, queue.command)

    async def run(self) -> None:
        """Renews what the store was asked for, for ever. It forgets servers that do not."""
        asked = monotonic()
        while True:
            await asyncio.sleep(_RENEW)
            late = monotonic() - asked > _LEASE_MS / limits.SECOND
            asked = monotonic()
            for queue in self._waiters.watched():
                try:
                    await self._reads.watch(queue, self._waiters.server, _LEASE_MS)
                except CodeQError as error:
                    _log.warning("cannot renew a watch: %s", error)
                    late = True
            if late:
                for watch in self._open:
                    watch.missed()

    def drain(self) -> None:
        """Ends all, so that they are opened elsewhere."""
        self._draining = True
        for watch in self._open:
            watch.event.set()
