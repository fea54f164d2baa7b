"""Callers at once over few connections: nobody is overtaken without end, nobody hears another's
reply, and a cancelled caller stops."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from codeq_grpc.core.retry import RetryPolicy
from codeq_grpc.store.connection import Connection
from codeq_grpc.store.keys import Queue
from codeq_grpc.store.reads import Reads
from codeq_grpc.store.tasks import TaskStore
from tests.support.driver import ENOUGH, task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.stores import StoreProcess

QUEUE = Queue("acme", "RENDER", 7)
TASKS = 100
CANCELLED = 300


class Reader:
    """Reads tasks of which each has its own number as its spec."""

    def __init__(self, reads: Reads, names: list[bytes], chance: random.Random) -> None:
        self._reads = reads
        self._names = names
        self._chance = chance
        self.read_in_all = 0

    async def read(self) -> None:
        """One task, any."""
        i = self._chance.randrange(TASKS)
        (stored,) = await self._reads.read(QUEUE, [self._names[i]], full=False, max_bytes=ENOUGH)
        assert stored is not None
        assert stored.spec == b"%d" % i
        self.read_in_all += 1

    async def read_for_ever(self) -> None:
        """One after the other."""
        while True:
            await self.read()


@pytest.fixture(params=[1, 3], ids=["1-connection", "3-connections"])
def size(request: pytest.FixtureRequest) -> int:
    connections: int = request.param
    return connections


@pytest.fixture
async def reader(store: StoreProcess, size: int) -> AsyncIterator[Reader]:
    connection = Connection(store.url, size=size)
    tasks = TaskStore(connection, retry=RetryPolicy(), lease_ms=30_000)
    names = (await tasks.enqueue(QUEUE, [task(b"%d" % i) for i in range(TASKS)])).names
    yield Reader(Reads(connection), names, random.Random(size))
    await connection.close()


async def cancel(call: asyncio.Task[None]) -> bool:
    """Whether it was cancelled, not done already; either way it stops at once."""
    call.cancel()
    done, _ = await asyncio.wait([call], timeout=5)
    assert done, "a cancelled caller goes on"
    if not call.cancelled():
        call.result()
    return call.cancelled()


async def test_reply_of_a_cancelled_call_reaches_nobody(reader: Reader, size: int) -> None:
    chance = random.Random(size)
    others = [asyncio.create_task(reader.read_for_ever()) for _ in range(size)]
    cancelled = 0
    async with asyncio.timeout(30):
        while cancelled < CANCELLED:
            call = asyncio.create_task(reader.read())
            for _ in range(chance.randrange(12)):
                await asyncio.sleep(0)
            cancelled += await cancel(call)
            await reader.read()
    for other in others:
        assert await cancel(other)


async def test_cancellation_is_never_swallowed(reader: Reader, size: int) -> None:
    """`cancel` asserts it, whatever the caller was just doing."""
    chance = random.Random(size)
    for _ in range(CANCELLED):
        call = asyncio.create_task(reader.read_for_ever())
        for _ in range(chance.randrange(40)):
            await asyncio.sleep(0)
        assert await cancel(call)
    await reader.read()


async def test_caller_is_served_though_others_call_without_pause(reader: Reader) -> None:
    others = [asyncio.create_task(reader.read_for_ever()) for _ in range(20)]
    await reader.read()
    started = reader.read_in_all
    for _ in range(10):
        await reader.read()
    assert reader.read_in_all - started <= 10 * (len(others) + 5)
    for other in others:
        assert await cancel(other)
