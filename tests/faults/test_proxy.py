"""The proxy does what its weather says, and nothing in fair weather."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.programs import free_port
from tests.faults.proxy import Proxy, Weather

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.faults.proxy import Address

PATIENCE = 20.0


class Echo:
    """Answers every line with itself, and remembers it."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.address: Address = ("127.0.0.1", free_port())

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                self.heard.append(data)
                writer.write(data)
        writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    echo = Echo()
    server = await asyncio.start_server(echo.answer, *echo.address)
    async with server:
        yield echo
        server.close()


@pytest.fixture(params=["unix", "tcp"])
async def proxy(
    request: pytest.FixtureRequest, tmp_path: Path, echo: Echo
) -> AsyncIterator[tuple[Proxy, Address]]:
    where: Address = ("127.0.0.1", free_port()) if request.param == "tcp" else str(tmp_path / "s")
    async with Proxy(where, echo.address) as proxy:
        yield proxy, where


async def connect(where: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(where, str):
        return await asyncio.open_unix_connection(where)
    return await asyncio.open_connection(*where)


async def ask(where: Address, data: bytes = b"question") -> bytes:
    """The answer; what has come when the connection ends."""
    reader, writer = await connect(where)
    got = b""
    with contextlib.suppress(OSError):
        async with asyncio.timeout(PATIENCE):
            writer.write(data)
            while len(got) < len(data) and (more := await reader.read(1 << 16)):
                got += more
    writer.transport.abort()
    return got


async def test_it_passes_on_what_comes(proxy: tuple[Proxy, Address]) -> None:
    data = b"x" * 300_000
    assert await ask(proxy[1], data) == data
    assert not proxy[0].done


async def test_delayed_bytes_arrive(proxy: tuple[Proxy, Address]) -> None:
    proxy[0].weather = Weather(delay=0.01, jitter=0.01)
    assert await ask(proxy[1]) == b"question"
    assert proxy[0].done["delayed"] == 2


async def test_a_lost_reply_is_lost_after_the_request_was_heard(
    proxy: tuple[Proxy, Address], echo: Echo
) -> None:
    proxy[0].weather = Weather(lose_reply=1.0)
    assert await ask(proxy[1]) == b""
    assert echo.heard == [b"question"]


async def test_a_request_that_is_reset_arrives_in_part(
    proxy: tuple[Proxy, Address], echo: Echo
) -> None:
    proxy[0].weather = Weather(reset_request=1.0)
    assert await ask(proxy[1]) == b""
    assert echo.heard in ([], [b"ques"])


async def test_a_reply_that_is_reset_is_never_whole(
    proxy: tuple[Proxy, Address], echo: Echo
) -> None:
    proxy[0].weather = Weather(reset_reply=1.0)
    assert await ask(proxy[1]) in {b"", b"ques"}
    assert echo.heard == [b"question"]


async def test_a_reset_is_seen_as_one(echo: Echo) -> None:
    where = ("127.0.0.1", free_port())
    async with Proxy(where, echo.address) as proxy:
        reader, writer = await connect(where)
        writer.write(b"question")
        assert await reader.readexactly(8) == b"question"
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.transport.abort()


async def test_garbage_comes_in_place_of_a_reply(proxy: tuple[Proxy, Address]) -> None:
    proxy[0].weather = Weather(garbage=1.0)
    assert b"protocol" in await ask(proxy[1], b"q" * 100)


async def test_replies_trickle(proxy: tuple[Proxy, Address]) -> None:
    proxy[0].weather = Weather(trickle=0.001)
    assert await ask(proxy[1]) == b"question"
    assert proxy[0].done["single bytes"] == len(b"question")


async def test_refused_connections_end_at_once(proxy: tuple[Proxy, Address], echo: Echo) -> None:
    proxy[0].weather = Weather(refuse=True)
    assert await ask(proxy[1]) == b""
    proxy[0].clear()
    assert await ask(proxy[1]) == b"question"
    assert echo.heard == [b"question"]


async def test_a_connection_gone_dead_stays_dead(proxy: tuple[Proxy, Address], echo: Echo) -> None:
    reader, writer = await connect(proxy[1])
    proxy[0].weather = Weather(blackhole=True)
    writer.write(b"one")
    while not proxy[0].done["swallowed"]:
        await asyncio.sleep(0.005)
    proxy[0].clear()
    writer.write(b"two")
    while proxy[0].done["swallowed"] < 2:
        await asyncio.sleep(0.005)
    assert echo.heard == []
    assert await ask(proxy[1]) == b"question"
    writer.transport.abort()
    assert await reader.read() == b""


async def test_weather_falls_on_a_share_of_the_connections(proxy: tuple[Proxy, Address]) -> None:
    proxy[0].weather = Weather(lose_reply=1.0, share=0.5)
    answers = [await ask(proxy[1]) for _ in range(60)]
    assert {b"", b"question"} == set(answers)


async def test_nothing_listens_behind_it(tmp_path: Path) -> None:
    where = str(tmp_path / "s")
    async with Proxy(where, str(tmp_path / "nobody")):
        assert await ask(where) == b""
