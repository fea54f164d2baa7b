"""Wakeups: what a server hears, and that it is told when it may have missed something."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from codeq_grpc.core.errors import StoreUnavailable
from codeq_grpc.core.retry import RetryPolicy
from codeq_grpc.core.task import Ending
from codeq_grpc.store.connection import Connection
from codeq_grpc.store.keys import Queue
from codeq_grpc.store.reads import Reads
from codeq_grpc.store.rows import pack_claimant
from codeq_grpc.store.tasks import Claimant, Report, TaskStore
from codeq_grpc.store.wakeups import (
    Wakeups,
    cancel_message,
    changed_key,
    ended_key,
    over_message,
    work_key,
)
from tests.support.driver import ENOUGH, leases_of, task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from codeq_grpc.core.errors import CodeQError
    from tests.support.stores import StoreProcess

QUEUE = Queue("acme", "RENDER", 7)


class Listening:
    """A listener that puts everything down in order."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[tuple[object, ...]] = asyncio.Queue()

    def work(self, key: bytes) -> None:
        self.told.put_nowait(("work", key))

    def ended(self, key: bytes, name: bytes) -> None:
        self.told.put_nowait(("ended", key, name))

    def leases_over(
        self, stream: str, leases: Sequence[tuple[int, bytes, int]], *, lost: bool
    ) -> None:
        self.told.put_nowait(("over", stream, list(leases), lost))

    def cancel(self, stream: str, leases: Sequence[tuple[int, bytes, int]], reason: str) -> None:
        self.told.put_nowait(("cancel", stream, list(leases), reason))

    def changed(self, key: bytes, names: Sequence[bytes]) -> None:
        self.told.put_nowait(("changed", key, list(names)))

    def missed(self) -> None:
        self.told.put_nowait(("missed",))

    async def next(self) -> tuple[object, ...]:
        return await asyncio.wait_for(self.told.get(), 10)


@asynccontextmanager
async def listening(wakeups: Wakeups) -> AsyncIterator[Listening]:
    """Runs until left; the first message, that all may have been missed, is read."""
    listener = Listening()
    running = asyncio.create_task(wakeups.run(listener))
    try:
        assert await listener.next() == ("missed",)
        yield listener
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert running.cancelled()


def ignore(error: CodeQError) -> None:
    """No error is expected where this is used, and none matters."""


@pytest.fixture
def tasks(connection: Connection) -> TaskStore:
    return TaskStore(connection, retry=RetryPolicy(), lease_ms=30_000)


async def test_server_hears_of_work_and_of_ends(connection: Connection, tasks: TaskStore) -> None:
    claimants = [Claimant(pack_claimant("", "w"), 1)]
    async with listening(Wakeups(connection, "srv", ignore)) as listener:
        empty = await tasks.claim(QUEUE, claimants, max_bytes=ENOUGH, wake="srv")
        assert empty.armed
        (name,) = (await tasks.enqueue(QUEUE, [task()])).names
        assert await listener.next() == ("work", work_key(QUEUE))
        await tasks.await_end(QUEUE, name, "srv")
        claimed = await tasks.claim(QUEUE, claimants, max_bytes=ENOUGH)
        ((_, fence),) = leases_of(claimed)
        await tasks.report(QUEUE, [Report(name, fence, Ending.COMPLETE)])
        assert await listener.next() == ("ended", ended_key(QUEUE), name)


@pytest.mark.parametrize("lost", [True, False])
@pytest.mark.parametrize("count", [0, 1, 300])
async def test_server_hears_which_leases_of_a_stream_are_over(
    connection: Connection, lost: bool, count: int
) -> None:
    leases = [((1 << 39) + i, i.to_bytes(7, "big"), (1 << 52) + i) for i in range(count)]
    wakeups = Wakeups(connection, "srv", ignore)
    async with listening(wakeups) as listener:
        await wakeups.tell("srv", over_message("srv.12", leases, lost=lost))
        assert await listener.next() == ("over", "srv.12", leases, lost)


@pytest.mark.parametrize("reason", ["", "Grund: \0 wörtlich"])
@pytest.mark.parametrize("count", [0, 1, 300])
async def test_server_hears_which_leases_of_a_stream_are_to_be_cancelled_and_why(
    connection: Connection, count: int, reason: str
) -> None:
    leases = [((1 << 39) + i, i.to_bytes(7, "big"), (1 << 52) + i) for i in range(count)]
    wakeups = Wakeups(connection, "srv", ignore)
    async with listening(wakeups) as listener:
        await wakeups.tell("srv", cancel_message("srv.12", leases, reason))
        assert await listener.next() == ("cancel", "srv.12", leases, reason)


async def test_server_hears_which_tasks_of_a_watched_queue_changed(
    connection: Connection, tasks: TaskStore
) -> None:
    async with listening(Wakeups(connection, "srv", ignore)) as listener:
        await Reads(connection).watch(QUEUE, "srv", 60_000)
        names = (await tasks.enqueue(QUEUE, [task(), task()])).names
        assert await listener.next() == ("changed", changed_key(QUEUE), names)


async def test_server_hears_nothing_meant_for_another(connection: Connection) -> None:
    here = Wakeups(connection, "srv-1", ignore)
    async with listening(here) as listener:
        await here.tell("srv-10", b"for another")
        await here.tell("srv-1", b"for this one")
        assert await listener.next() == ("work", b"for this one")


async def test_server_listens_again_after_the_store_came_back_and_knows_it_may_have_missed(
    own_store: StoreProcess,
) -> None:
    connection = Connection(own_store.url, timeout=2)
    errors: list[CodeQError] = []
    wakeups = Wakeups(connection, "srv", errors.append)
    async with listening(wakeups) as listener:
        own_store.kill()
        own_store.start()
        assert await listener.next() == ("missed",)
        await wakeups.tell("srv", b"after")
        assert await listener.next() == ("work", b"after")
    await connection.close()
    assert errors
    assert all(isinstance(error, StoreUnavailable) for error in errors)
