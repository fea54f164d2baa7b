"""What the parent and a process tell each other: JSON, one object a line, over a pair of sockets.

The parent begins with what to serve, `{"settings": …, "http": [file descriptors]}`, and goes on
with `{"processes": […]}` whenever one of them changes: its number, and what it told last. The
process tells `{"server": …, "ready": …, "reasons": …}` once it serves and with every change, or
`{"failed": text}` when its settings do not let it. The end of the stream is the end of the other.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    import socket

_LINE: Final = 64 << 20
"""Bytes; settings can have many tokens."""

Message = dict[str, Any]


class Channel:
    """One end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, sock: socket.socket) -> Self:
        """The end that is `sock`, which belongs to it from now on."""
        return cls(*await asyncio.open_connection(sock=sock, limit=_LINE))

    def send(self, message: Message) -> None:
        """Does not wait. What is sent to an end that is gone is lost."""
        self._writer.write(json.dumps(message).encode() + b"\n")

    async def receive(self) -> Message | None:
        """The next message; None when the other end is gone."""
        try:
            line = await self._reader.readline()
        except ConnectionError:
            return None
        if not line.endswith(b"\n"):
            return None
        message: Message = json.loads(line)
        return message

    async def close(self) -> None:
        """After all that was sent is on its way."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return
