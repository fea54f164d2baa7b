"""Calls that no gRPC client makes: HTTP/2 with any headers and any bytes."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import grpc
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)

from tests.support.server import bearer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from tests.support.server import Server

Headers = tuple[tuple[str, str], ...]
PATIENCE: Final = 10.0
NAMES: Final = {code.value[0]: code.name for code in grpc.StatusCode}
_CONFIG: Final = H2Configuration(
    client_side=True,
    header_encoding="utf-8",
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
    validate_inbound_headers=False,
)


def framed(message: bytes, *, compressed: int = 0) -> bytes:
    """A message as gRPC has it: flag, length, bytes."""
    return bytes((compressed,)) + len(message).to_bytes(4, "big") + message


def headers_of(path: str, changed: Mapping[str, str | None] | None = None) -> Headers:
    """What a good client sends, and whatever is said otherwise; None leaves a header out."""
    found: dict[str, str | None] = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
        **dict(bearer("acme", "admin")),
        **(changed or {}),
    }
    return tuple((name, value) for name, value in found.items() if value is not None)


@dataclass(slots=True)
class Answer:
    """What came: headers, trailers among them, and how it ended: `ended`, `reset`, `closed`, or
    `silent` if it did not.
    """

    headers: dict[str, str] = field(default_factory=dict)
    data: bytes = b""
    end: str = "silent"

    @property
    def code(self) -> str:
        """Name of the gRPC status, or how the call ended without one."""
        number = self.headers.get("grpc-status")
        return self.end if number is None else NAMES[int(number)]


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._h2 = H2Connection(_CONFIG)
        self._h2.initiate_connection()

    async def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())
        await self._writer.drain()

    async def call(
        self,
        headers: Iterable[tuple[str, str]],
        data: bytes | None = b"",
        *,
        ends: bool = True,
        patience: float = PATIENCE,
    ) -> Answer:
        """One call; without data it is headers only, unless it `ends` it stays open."""
        stream = self._h2.get_next_available_stream_id()
        self._h2.send_headers(stream, list(headers), end_stream=ends and data is None)
        if data is not None:
            self._h2.send_data(stream, data, end_stream=ends)
        answer = Answer()
        try:
            await self._flush()
            async with asyncio.timeout(patience):
                while answer.end == "silent":
                    await self._receive(stream, answer)
        except (ConnectionError, TimeoutError):
            pass
        return answer

    async def _receive(self, stream: int, answer: Answer) -> None:
        raw = await self._reader.read(1 << 16)
        if not raw:
            answer.end = "closed"
            return
        for event in self._h2.receive_data(raw):
            if isinstance(event, ConnectionTerminated):
                answer.end = "closed"
            if getattr(event, "stream_id", None) != stream:
                continue
            if isinstance(event, ResponseReceived | TrailersReceived):
                answer.headers |= {str(k): str(v) for k, v in event.headers or ()}
            elif isinstance(event, DataReceived):
                answer.data += event.data or b""
            elif isinstance(event, StreamEnded):
                answer.end = "ended"
            elif isinstance(event, StreamReset):
                answer.end = answer.end if answer.end == "ended" else "reset"
        await self._flush()


@contextlib.asynccontextmanager
async def connected(server: Server) -> AsyncIterator[Wire]:
    """A connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.ports.grpc)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def answered(
    server: Server, headers: Headers, data: bytes | None = b"", **more: Any
) -> Answer:
    """The answer to one call on a connection of its own."""
    async with connected(server) as wire:
        return await wire.call(headers, data, **more)
