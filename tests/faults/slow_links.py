"""A link to a server that becomes slow, or dead without a word."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Link:
    """Hands on what it gets; to the client a byte at a time every `byte_seconds`, unless 0. After
    `fall_silent` it keeps its connections and hands on nothing.
    """

    def __init__(self, port: int, byte_seconds: float = 0.0) -> None:
        self._to = port
        self._byte_seconds = byte_seconds
        self._silent = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    @property
    def address(self) -> str:
        """Of the client's end."""
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def fall_silent(self) -> None:
        """From now on, for ever."""
        self._silent.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, out = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers += [writer, out]
        for source, sink, pause in ((reader, out, 0.0), (there, writer, self._byte_seconds)):
            task = asyncio.create_task(self._pump(source, sink, pause))
            self._tasks.add(task)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, pause: float
    ) -> None:
        with contextlib.suppress(OSError):
            while got := await source.read(1 if pause else 1 << 16):
                if self._silent.is_set():
                    # Nothing is read any more: what comes piles up in the kernel.
                    await asyncio.Event().wait()
                sink.write(got)
                await sink.drain()
                if pause:
                    await asyncio.sleep(pause)
            sink.close()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for writer in self._writers:
            writer.close()
