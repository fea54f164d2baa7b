"""Queues as operators see and steer them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from codeq_grpc.core.errors import QueueNotFound, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from codeq_grpc.broker.schemas import Schemas
    from codeq_grpc.broker.workers import Presence
    from codeq_grpc.core.principal import Reach
    from codeq_grpc.core.queues import QueueSettings
    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.queues import QueueStore
    from codeq_grpc.store.reads import Counts, Reads
    from codeq_grpc.store.registry import Registry

_TRIES = 20
"""Changes of one queue's settings that may come between."""


class Numbers(NamedTuple):
    """Counts of one queue, and what its waiting workers could take."""

    command: str
    counts: Counts
    idle_credit: int


class Queues:
    """Queues of tenants. `purged` is told of queues in which a purge left something to do."""

    def __init__(
        self,
        registry: Registry,
        store: QueueStore,
        reads: Reads,
        presence: Presence,
        schemas: Schemas,
        purged: Callable[[Queue], None],
    ) -> None:
        self._registry = registry
        self._store = store
        self._reads = reads
        self._presence = presence
        self._schemas = schemas
        self._purged = purged

    async def numbers(self, reach: Reach, commands: Sequence[str]) -> list[Numbers]:
        """Of these queues, or of all; those that do not exist are left out."""
        if commands:
            queues = [await self._registry.find(reach.tenant, command) for command in commands]
        else:
            await self._registry.refresh()
            queues = sorted(self._registry.within(reach), key=lambda queue: queue.command)
        idle = await self._presence.idle_credit(reach.tenant)
        return [
            Numbers(queue.command, await self._reads.stats(queue), idle.get(queue.command, 0))
            for queue in queues
            if queue.number
        ]

    async def _existing(self, tenant: str, command: str) -> Queue:
        queue = await self._registry.find(tenant, command)
        if not queue.number:
            raise QueueNotFound(f"there is no queue {command!r}", metadata={"command": command})
        return queue

    async def settings(self, tenant: str, command: str) -> bytes:
        """The serialised message that was stored, empty if nothing was set. Raises
        QueueNotFound.
        """
        stored = await self._store.settings(await self._existing(tenant, command))
        return stored.message

    async def update(
        self,
        tenant: str,
        command: str,
        change: Callable[[bytes], tuple[bytes, QueueSettings]],
        *,
        make: bool,
    ) -> bytes:
        """Changes settings: `change` makes the new ones of the stored, and may be called again.
        Makes the queue, or raises QueueNotFound; raises InvalidField if the payload schema is none.
        """
        _, named = change(b"")
        await self._schemas.check(tenant, named.payload_schema, "queue.payload_schema")
        open_queue = self._registry.open if make else self._existing
        queue = await open_queue(tenant, command)
        for _ in range(_TRIES):
            version, stored, _ = await self._store.settings(queue)
            message, settings = change(stored)
            if await self._store.configure(queue, version, settings, message):
                self._purged(queue)
                return message
        raise StoreUnavailable("too many changes of this queue's settings at once")

    async def purge(self, tenant: str, command: str) -> int:
        """Cancels what is neither leased nor ended; how many tasks. Raises QueueNotFound."""
        queue = await self._existing(tenant, command)
        count = await self._store.purge(queue)
        self._purged(queue)
        return count
