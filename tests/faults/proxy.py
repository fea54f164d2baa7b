"""A proxy for TCP and Unix sockets that does to connections what networks do.

It knows nothing of what goes through it. What it does is told by its `weather`, which may be
changed at any time and holds from the next bytes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

Address = str | tuple[str, int]
"""Path of a Unix socket, or host and port."""

_CHUNK: Final = 1 << 16
_GARBAGE: Final = b"*3\r\n$-7\r\nthis is not the protocol\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """What happens to connections. Chances are those of one chunk of bytes."""

    delay: float = 0.0
    """Seconds that every chunk waits."""
    jitter: float = 0.0
    """As many more at most."""
    refuse: bool = False
    """New connections are closed at once."""
    blackhole: bool = False
    """Bytes vanish, and nobody is told: the connection never carries anything again."""
    lose_reply: float = 0.0
    """A reply vanishes after what it answers was carried out; the connection is closed."""
    reset_request: float = 0.0
    """Half of a request arrives, then both sides see a reset."""
    reset_reply: float = 0.0
    """The same of a reply."""
    garbage: float = 0.0
    """Something else comes in place of a reply; the connection is closed."""
    trickle: float = 0.0
    """Replies come byte by byte, one in so many seconds."""
    share: float = 1.0
    """Of the connections, those that all of this is done to."""


FAIR: Final = Weather()


class _Link:
    """One connection through the proxy."""

    def __init__(
        self,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        dice: float,
    ) -> None:
        self.reader, self.writer = near
        self.far_reader, self.far_writer = far
        self.dice = dice
        self.black = False

    def reset(self) -> None:
        """Ends both halves at once; TCP peers see a reset."""
        for writer in (self.writer, self.far_writer):
            found = writer.get_extra_info("socket")
            if found is not None and found.family != socket.AF_UNIX:
                with contextlib.suppress(OSError):
                    linger = struct.pack("ii", 1, 0)
                    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()


class Proxy:
    """Listens on one address and passes on to another while the `with` block runs."""

    def __init__(self, listen: Address, upstream: Address, seed: int = 0) -> None:
        self.weather = FAIR
        self.done: Counter[str] = Counter()
        """How often which misfortune happened."""
        self._listen = listen
        self._upstream = upstream
        self._random = random.Random(seed)
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """Where it listens, host and port: a port of 0 has become one."""
        assert not isinstance(self._listen, str), "it listens on a Unix socket"
        return "{}:{}".format(*self._listen)

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._links)

    async def start(self) -> Self:
        """Returns when it listens."""
        if isinstance(self._listen, str):
            self._server = await asyncio.start_unix_server(self._accept, self._listen)
        else:
            self._server = await asyncio.start_server(self._accept, *self._listen)
            self._listen = self._server.sockets[0].getsockname()[:2]
        return self

    def cut(self) -> None:
        """Resets every connection that there is."""
        for link in list(self._links):
            self.done["cut"] += 1
            link.reset()

    def clear(self) -> None:
        """Fair weather from now on."""
        self.weather = FAIR

    async def close(self) -> None:
        """Ends it and all connections."""
        if self._server is not None:
            self._server.close()
            self.cut()
            await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.weather.refuse:
            self.done["refused"] += 1
            writer.transport.abort()
            return
        try:
            if isinstance(self._upstream, str):
                far = await asyncio.open_unix_connection(self._upstream)
            else:
                far = await asyncio.open_connection(*self._upstream)
        except OSError:
            writer.transport.abort()
            return
        link = _Link((reader, writer), far, self._random.random())
        self._links.add(link)
        try:
            await self._carry(link)
        finally:
            self._links.discard(link)
            link.reset()

    async def _carry(self, link: _Link) -> None:
        ways = (
            asyncio.create_task(self._pass(link, link.reader, link.far_writer, is_reply=False)),
            asyncio.create_task(self._pass(link, link.far_reader, link.writer, is_reply=True)),
        )
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)

    async def _pass(
        self,
        link: _Link,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        is_reply: bool,
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                weather = self.weather
                if weather is FAIR and not link.black:
                    writer.write(chunk)
                elif not await self._suffer(link, weather, chunk, writer, is_reply=is_reply):
                    return
                await writer.drain()

    async def _suffer(
        self,
        link: _Link,
        weather: Weather,
        chunk: bytes,
        writer: asyncio.StreamWriter,
        *,
        is_reply: bool,
    ) -> bool:
        """Whether the connection goes on."""
        if link.black or (weather.blackhole and link.dice < weather.share):
            link.black = True
            self.done["swallowed"] += 1
            return True
        if link.dice >= weather.share:
            writer.write(chunk)
            return True
        if weather.delay or weather.jitter:
            self.done["delayed"] += 1
            await asyncio.sleep(weather.delay + weather.jitter * self._random.random())
        what = self._misfortune(weather, is_reply=is_reply)
        if what == "":
            await self._write(weather, chunk, writer, is_reply=is_reply)
            return True
        self.done[what] += 1
        if what == "garbage":
            writer.write(_GARBAGE)
        elif what.startswith("reset"):
            writer.write(chunk[: len(chunk) // 2])
        with contextlib.suppress(OSError):
            await writer.drain()
        return False

    def _misfortune(self, weather: Weather, *, is_reply: bool) -> str:
        chances = {"reset request": weather.reset_request}
        if is_reply:
            chances = {
                "lost reply": weather.lose_reply,
                "reset reply": weather.reset_reply,
                "garbage": weather.garbage,
            }
        for what, chance in chances.items():
            if chance and self._random.random() < chance:
                return what
        return ""

    async def _write(
        self, weather: Weather, chunk: bytes, writer: asyncio.StreamWriter, *, is_reply: bool
    ) -> None:
        if not (is_reply and weather.trickle):
            writer.write(chunk)
            return
        for at in range(len(chunk)):
            if not self.weather.trickle:
                writer.write(chunk[at:])
                return
            self.done["single bytes"] += 1
            writer.write(chunk[at : at + 1])
            await asyncio.sleep(weather.trickle)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
