"""The audit trail of each tenant: three streams that only grow, and lose what is old."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from codeq_grpc.core.audit import Event, Stream
from codeq_grpc.store import scripts
from codeq_grpc.store.keys import trail_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codeq_grpc.store.connection import Connection

EVENT_ID: Final = re.compile(r"[0-9]{1,16}-[0-9]{1,16}")
_PLACES: Final = {stream: place for place, stream in enumerate(Stream, 1)}


class TrailStore:
    """Writes and reads trails. There is no way to change one."""

    def __init__(self, connection: Connection, *, retention_ms: int) -> None:
        self._connection = connection
        self._retention_ms = retention_ms

    async def write(self, tenant: str, stream: Stream, events: Sequence[Event]) -> None:
        """Appends events; without any it just forgets old ones."""
        args: list[int | str] = [_PLACES[stream], self._retention_ms, stream.value]
        for event in events:
            args += event.texts
        await self._connection.run(scripts.RECORD, trail_keys(tenant), args)

    async def read(self, tenant: str, before: str, most: int) -> list[Event]:
        """The newest events before the one of that id, or of all if it is empty, newest first."""
        args = (before or "+", most, self._retention_ms)
        reply = await self._connection.run(scripts.RECORDED, trail_keys(tenant), args)
        it = iter(reply[1:])
        found = [_event(*pair) for pair in zip(it, it, strict=True)]
        found.sort(key=lambda one: _order(one.event_id), reverse=True)
        return found[:most]


def _event(event_id: bytes, fields: list[bytes]) -> Event:
    it = iter(fields)
    texts = {name.decode(): value.decode() for name, value in zip(it, it, strict=True)}
    time_ms = int(texts.pop("time"))
    return Event(**texts, time_ms=time_ms, event_id=event_id.decode())


def _order(event_id: str) -> tuple[int, int]:
    ms, _, number = event_id.partition("-")
    return int(ms), int(number)
