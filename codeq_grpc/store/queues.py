"""Settings of queues, and purging them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from codeq_grpc.core.queues import schema_label
from codeq_grpc.store import scripts
from codeq_grpc.store.calls import Calls
from codeq_grpc.store.rows import pack_settings

if TYPE_CHECKING:
    from codeq_grpc.core.queues import QueueSettings
    from codeq_grpc.store.keys import Queue


class Stored(NamedTuple):
    """Settings of a queue: their version, they as a serialised message, empty when nothing is set,
    and the label of the payload schema among them, empty without one.
    """

    version: bytes
    message: bytes
    label: bytes


class QueueStore(Calls):
    """Settings stand beside the tasks, so that every script keeps to them from its next run on."""

    async def settings(self, queue: Queue) -> Stored:
        """What is set."""
        return Stored(*(await self._run(scripts.SETTINGS, queue))[1:])

    async def configure(
        self, queue: Queue, version: bytes, settings: QueueSettings, message: bytes
    ) -> bool:
        """Replaces the settings that had this version; False when they were others."""
        reply = await self._run(
            scripts.CONFIGURE,
            queue,
            (version, pack_settings(settings), message, schema_label(settings.payload_schema)),
        )
        return bool(reply[0] == b"OK")

    async def purge(self, queue: Queue) -> int:
        """Cancels what is neither leased nor ended; how many tasks that is."""
        count: int = (await self._run(scripts.PURGE, queue))[2]
        return count
