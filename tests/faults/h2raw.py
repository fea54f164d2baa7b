"""HTTP/2 by hand: connections that send what no library would.

Attackers come from another loopback address than everybody else, so that budgets of addresses
tell them apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from hpack import Encoder
from hpack.struct import HeaderTuple, NeverIndexedHeaderTuple
from hyperframe.frame import DataFrame, HeadersFrame, RstStreamFrame, SettingsFrame

if TYPE_CHECKING:
    from collections.abc import Callable

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ATTACKER: Final = "127.0.0.2"
CANCEL: Final = 8
_ACK: Final = bytes([0, 0, 0, 4, 1, 0, 0, 0, 0])
_PATIENCE: Final = 2.0
"""Seconds for the server to take bytes or a connection."""
_AGAIN: Final = 0.02
"""Seconds before a connection that the server closed is opened again."""


def block(path: str, token: str = "", **more: str) -> bytes:
    """The headers of a gRPC call, of which nothing goes into the dynamic table: the same bytes do
    for every stream of every connection.
    """
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
        **({"authorization": f"Bearer {token}"} if token else {}),
        **more,
    }
    listed: list[HeaderTuple] = [NeverIndexedHeaderTuple(*one) for one in headers.items()]
    encoded: bytes = Encoder().encode(listed, huffman=False)
    return encoded


def headers(stream: int, fragment: bytes, *flags: str) -> bytes:
    """A HEADERS frame, whole unless flags are given."""
    return HeadersFrame(stream, fragment, flags=flags or ("END_HEADERS",)).serialize()


def data(stream: int, payload: bytes, *flags: str) -> bytes:
    """A DATA frame, or as many as the payload needs."""
    parts = [payload[at : at + 16_384] for at in range(0, len(payload), 16_384)] or [b""]
    frames = [DataFrame(stream, part).serialize() for part in parts[:-1]]
    return b"".join([*frames, DataFrame(stream, parts[-1], flags=flags).serialize()])


def message(payload: bytes) -> bytes:
    """As gRPC frames one."""
    return struct.pack(">BI", 0, len(payload)) + payload


def call(stream: int, fragment: bytes, payload: bytes) -> bytes:
    """A whole unary call."""
    return headers(stream, fragment) + data(stream, message(payload), "END_STREAM")


def reset(stream: int) -> bytes:
    """RST_STREAM."""
    return RstStreamFrame(stream, error_code=CANCEL).serialize()


def settings(**values: int) -> bytes:
    """SETTINGS, by hyperframe's names for them."""
    known = {getattr(SettingsFrame, name): value for name, value in values.items()}
    return SettingsFrame(0, settings=known).serialize()


def streams(first: int, count: int) -> range:
    """Ids of streams that a client may open."""
    return range(1 + 2 * first, 1 + 2 * (first + count), 2)


@dataclass
class Tally:
    """What an attack came to."""

    opened: int = 0
    closed_on_us: int = 0
    refused: int = 0
    sent: int = 0
    answers: int = 0
    goaways: dict[int, int] = field(default_factory=dict)

    def __str__(self) -> str:
        ended = f", {self.closed_on_us} ended by the server" if self.closed_on_us else ""
        refused = f", {self.refused} refused" if self.refused else ""
        away = ", ".join(f"GOAWAY {code}" for code in sorted(self.goaways))
        size = f"{self.sent / 1e6:.1f} MB" if self.sent > 1e5 else f"{self.sent} B"
        connections = f"{self.opened} connections{ended}{refused}"
        return f"{connections}; {size} sent, {self.answers} answers{'; ' + away if away else ''}"


class Raw:
    """One connection. What the server sends is read and mostly ignored, unless it is `deaf`."""

    def __init__(self, sock: socket.socket, tally: Tally) -> None:
        self._sock = sock
        self._tally = tally
        self._reading: asyncio.Task[None] | None = None
        self._settings = asyncio.Event()
        self.closed = False

    @classmethod
    async def open(
        cls,
        port: int,
        tally: Tally,
        *,
        hello: bytes = PREFACE + settings(),
        first: bytes = b"",
        polite: bool = True,
        deaf: bool = False,
    ) -> Self:
        """Says hello and, if `polite`, acknowledges the server's settings: grpcio keeps to its
        limits of metadata from then on only. Then comes what is `first`. Raises OSError.
        """
        sock = socket.socket()
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.bind((ATTACKER, 0))
            async with asyncio.timeout(_PATIENCE):
                await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except BaseException:
            sock.close()
            tally.refused += 1
            raise
        tally.opened += 1
        raw = cls(sock, tally)
        if not deaf:
            raw._reading = asyncio.create_task(raw._read())
        await raw.send(hello)
        if polite and hello and not deaf:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await raw._settings.wait()
            await raw.send(_ACK)
        await raw.send(first)
        return raw

    async def send(self, payload: bytes) -> bool:
        """Whether the server took it all."""
        if self.closed:
            return False
        try:
            async with asyncio.timeout(_PATIENCE):
                await asyncio.get_running_loop().sock_sendall(self._sock, payload)
        except (TimeoutError, OSError):
            self._end()
            return False
        self._tally.sent += len(payload)
        # A socket that always has room would never let others have their turn.
        await asyncio.sleep(0)
        return not self.closed

    async def _read(self) -> None:
        loop, buffer = asyncio.get_running_loop(), b""
        with contextlib.suppress(OSError):
            while received := await loop.sock_recv(self._sock, 1 << 16):
                buffer = self._frames(buffer + received)
        self._end()

    def _frames(self, buffer: bytes) -> bytes:
        while len(buffer) >= 9:
            length, kind = int.from_bytes(buffer[:3], "big"), buffer[3]
            if len(buffer) < 9 + length:
                break
            if kind == 1:
                self._tally.answers += 1
            elif kind == 4:
                self._settings.set()
            elif kind == 7:
                code = int.from_bytes(buffer[13:17], "big")
                self._tally.goaways[code] = self._tally.goaways.get(code, 0) + 1
            buffer = buffer[9 + length :]
        return buffer

    def _end(self) -> None:
        if not self.closed:
            self.closed = True
            self._tally.closed_on_us += 1

    async def close(self) -> None:
        """From our side."""
        self.closed = True
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        self._sock.close()


async def hammer(
    port: int,
    ends: float,
    make: Callable[[int], bytes],
    *,
    connections: int = 4,
    polite: bool = True,
    pause: float = 0.0,
) -> Tally:
    """Sends what `make` gives for the number of the round, until it is time; a connection that the
    server ends is opened again.
    """
    tally = Tally()

    async def one() -> None:
        while time.monotonic() < ends:
            try:
                raw = await Raw.open(port, tally, polite=polite)
            except (OSError, TimeoutError):
                await asyncio.sleep(_AGAIN)
                continue
            round_ = 0
            while time.monotonic() < ends and await raw.send(make(round_)):
                round_ += 1
                if pause:
                    await asyncio.sleep(pause)
            await raw.close()
            await asyncio.sleep(_AGAIN)

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(one())
    return tally


async def hold(
    port: int,
    ends: float,
    count: int,
    first: bytes = b"",
    *,
    hello: bytes = PREFACE + settings(),
    deaf: bool = False,
    polite: bool = True,
    drip: bytes = b"",
) -> Tally:
    """Keeps `count` connections that say hello, then what is `first`, and then nothing, or a byte
    of `drip` at a time.
    """
    tally, open_ = Tally(), list[Raw]()
    for _ in range(count):
        opening = Raw.open(port, tally, hello=hello, first=first, deaf=deaf, polite=polite)
        with contextlib.suppress(OSError, TimeoutError):
            open_.append(await opening)
    at = 0
    while time.monotonic() < ends:
        for raw in open_:
            if at < len(drip):
                await raw.send(drip[at : at + 1])
        at += 1
        await asyncio.sleep(0.05)
    for raw in open_:
        await raw.close()
    return tally
