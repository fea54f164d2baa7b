"""What callers see when the store is full, refuses, is silent or gone, and that it passes."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from codeq_grpc.core.durability import Level
from codeq_grpc.core.errors import StoreFull, StoreUnavailable
from codeq_grpc.core.retry import RetryPolicy
from codeq_grpc.core.task import Ending
from codeq_grpc.store.connection import Connection
from codeq_grpc.store.durability import Durability
from codeq_grpc.store.health import check_store, describe_store
from codeq_grpc.store.keys import Queue
from codeq_grpc.store.reads import Reads, Stored
from codeq_grpc.store.registry import Registry
from codeq_grpc.store.rows import pack_claimant
from codeq_grpc.store.tasks import DONE, EXTENDED, Claimant, Report, TaskStore
from codeq_grpc.store.upkeep import Upkeep
from tests.support.admin import Admin
from tests.support.driver import ENOUGH, ERRORS, leases_of, task
from tests.support.snapshot import take_snapshot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.stores import StoreProcess

QUEUE = Queue("acme", "RENDER", 7)
TIMEOUT = 0.5


@dataclass(frozen=True, slots=True)
class Trouble:
    """A store to give trouble to, a connection that lives through it, and one past it."""

    process: StoreProcess
    connection: Connection
    tasks: TaskStore
    upkeep: Upkeep
    reads: Reads

    def command(self, *command: str | bytes | int) -> object:
        """By a connection of its own."""
        with Admin(self.process.socket_path) as admin:
            reply: object = admin.call(*command)
            return reply

    def configure(self, name: str, value: str) -> None:
        """CONFIG SET."""
        assert self.command("CONFIG", "SET", name, value) == b"OK"

    async def enqueue(self, count: int = 1) -> list[bytes]:
        """Names of new tasks."""
        return (await self.tasks.enqueue(QUEUE, [task()] * count)).names

    async def claim(self, want: int = 1) -> list[tuple[bytes, int]]:
        """Leases."""
        claimed = await self.tasks.claim(
            QUEUE, [Claimant(pack_claimant("", "w"), want, 60_000)], max_bytes=ENOUGH
        )
        return [*leases_of(claimed)]

    async def check(self) -> dict[str, str]:
        """What is wrong with the store."""
        return await check_store(self.connection, Durability(self.connection, Level.D1))

    async def prune(self) -> int:
        """How many ended tasks went."""
        _, count, _ = await self.upkeep.prune(
            QUEUE, before_ms=0, age_ms=0, default_ms=0, limit=500, indexes="tdca"
        )
        return count

    async def read(self, name: bytes) -> Stored | None:
        """One task."""
        (stored,) = await self.reads.read(QUEUE, [name], full=True, max_bytes=ENOUGH)
        return stored


@pytest.fixture
async def trouble(own_store: StoreProcess) -> AsyncIterator[Trouble]:
    connection = Connection(own_store.url, timeout=TIMEOUT)
    tasks = TaskStore(connection, retry=RetryPolicy(), lease_ms=30_000)
    yield Trouble(own_store, connection, tasks, Upkeep(connection), Reads(connection))
    await connection.close()


async def test_script_flush_is_not_seen_by_callers(trouble: Trouble) -> None:
    for _ in range(3):
        await trouble.enqueue()
        trouble.command("SCRIPT", "FLUSH")
        ((name, fence),) = await trouble.claim()
        trouble.command("SCRIPT", "FLUSH")
        verdicts, _ = await trouble.tasks.report(QUEUE, [Report(name, fence, Ending.COMPLETE)] * 2)
        assert [verdict.word for verdict in verdicts] == [b"DONE", b"REPEATED"]


async def test_full_store_takes_no_new_task_and_writes_nothing_of_it(trouble: Trouble) -> None:
    with Admin(trouble.process.socket_path) as admin:
        await trouble.enqueue()
        before = take_snapshot(admin, QUEUE)
        trouble.configure("maxmemory", "1")
        with pytest.raises(StoreFull):
            await trouble.enqueue(3)
        with pytest.raises(StoreFull):
            await Registry(trouble.connection).open("acme", "NEW")
        assert take_snapshot(admin, QUEUE) == before
        trouble.configure("maxmemory", "0")
        assert len(await trouble.enqueue()) == 1


async def test_full_store_can_be_drained(trouble: Trouble) -> None:
    names = await trouble.enqueue(4)
    (later,) = (await trouble.tasks.enqueue(QUEUE, [task(when=-1)])).names
    trouble.configure("maxmemory", "1")
    leases = await trouble.claim(4)
    assert await trouble.tasks.heartbeat(QUEUE, [(*leases[0], 90_000, b"", b"")]) == [
        (EXTENDED, b"")
    ]
    assert not await trouble.tasks.await_end(QUEUE, names[0], "srv")
    endings = [Ending.COMPLETE, Ending.FAIL, Ending.ABANDON]
    verdicts, _ = await trouble.tasks.report(
        QUEUE,
        [
            Report(*lease, ending, b"x" * 1_000)
            for lease, ending in zip(leases, endings, strict=False)
        ],
    )
    assert [verdict.word for verdict in verdicts] == [DONE] * 3
    await trouble.upkeep.promote(QUEUE, 500)
    await trouble.upkeep.reap(QUEUE, 500, ERRORS)
    while not await trouble.prune():
        pass
    assert await trouble.read(names[0]) is None
    assert await trouble.tasks.held(QUEUE, leases) == [False, False, False, True]
    assert (await trouble.reads.stats(QUEUE)).completed_total == 1
    await trouble.tasks.pass_on(QUEUE, "srv")
    assert await trouble.read(later) is not None


async def test_store_that_cannot_persist_refuses_writes_until_it_can(trouble: Trouble) -> None:
    await trouble.enqueue(2)
    in_the_way = trouble.process.data / "dump.rdb"
    in_the_way.mkdir()
    trouble.configure("save", "3600 1")
    await save(trouble, b"err")
    with pytest.raises(StoreUnavailable, match=r"MISCONF|unable to persist"):
        await trouble.enqueue()
    with pytest.raises(StoreUnavailable):
        await trouble.claim()
    assert "writable" in await trouble.check()
    assert (await trouble.reads.stats(QUEUE)).pending == 2
    in_the_way.rmdir()
    await save(trouble, b"ok")
    assert len(await trouble.claim(2)) == 2
    assert await trouble.check() == {}


async def save(trouble: Trouble, outcome: bytes) -> None:
    """Saves in the background until the store says that it went as expected."""
    async with asyncio.timeout(10):
        while True:
            info = trouble.command("INFO", "persistence")
            assert isinstance(info, bytes)
            if b"rdb_last_bgsave_status:" + outcome in info:
                return
            if b"rdb_bgsave_in_progress:0" in info:
                trouble.command("BGSAVE")
            await asyncio.sleep(0.01)


async def test_replica_refuses_writes_until_it_is_the_primary(trouble: Trouble) -> None:
    await trouble.enqueue()
    assert trouble.command("REPLICAOF", "127.0.0.1", "1") == b"OK"
    with pytest.raises(StoreUnavailable, match=r"READONLY|read only"):
        await trouble.enqueue()
    with pytest.raises(StoreUnavailable):
        await trouble.claim()
    assert (await trouble.reads.stats(QUEUE)).pending == 1
    assert (await trouble.check()).keys() == {"primary", "writable"}
    trouble.command("REPLICAOF", "NO", "ONE")
    assert len(await trouble.claim()) == 1


async def test_replica_that_lost_its_primary_answers_nothing(trouble: Trouble) -> None:
    await trouble.enqueue()
    trouble.configure("replica-serve-stale-data", "no")
    trouble.command("REPLICAOF", "127.0.0.1", "1")
    for call in (trouble.enqueue(), trouble.claim(), trouble.reads.stats(QUEUE)):
        with pytest.raises(StoreUnavailable):
            await call
    trouble.command("REPLICAOF", "NO", "ONE")
    assert len(await trouble.claim()) == 1


async def test_store_busy_with_a_script_is_unavailable_until_it_is_done(trouble: Trouble) -> None:
    await trouble.enqueue()
    trouble.configure("busy-reply-threshold", "1")
    with Admin(trouble.process.socket_path) as other:
        other.send("EVAL", "while true do end", 0)
        async with asyncio.timeout(10):
            while True:
                try:
                    await trouble.reads.stats(QUEUE)
                except StoreUnavailable:
                    break
        with pytest.raises(StoreUnavailable):
            await trouble.claim()
        trouble.command("SCRIPT", "KILL")
        with pytest.raises(RuntimeError, match="killed"):
            other.receive()
    assert len(await trouble.claim()) == 1


async def test_store_without_a_free_connection_is_unavailable(trouble: Trouble) -> None:
    trouble.configure("maxclients", "1")
    with Admin(trouble.process.socket_path) as other:
        other.call("PING")
        with pytest.raises(StoreUnavailable):
            await trouble.enqueue()
        other.call("CONFIG", "SET", "maxclients", "100")
    assert len(await trouble.enqueue()) == 1


async def test_killed_store_is_unavailable_and_works_again_on_the_same_connection(
    trouble: Trouble,
) -> None:
    names = await trouble.enqueue(3)
    trouble.process.kill()
    for call in (trouble.enqueue(), trouble.claim(), trouble.reads.stats(QUEUE)):
        with pytest.raises(StoreUnavailable):
            await call
    assert (await trouble.check()).keys() == {"reachable"}
    await asyncio.to_thread(trouble.process.start)
    assert [name for name, _ in await trouble.claim(3)] == names
    await asyncio.to_thread(trouble.process.restart)
    assert (await trouble.reads.stats(QUEUE)).in_progress == 3
    assert (await describe_store(trouble.connection))["aof"] == "true"


async def test_store_killed_during_calls_fails_all_of_them_at_once(trouble: Trouble) -> None:
    await trouble.enqueue()
    trouble.process.pause()
    calls = [asyncio.ensure_future(trouble.enqueue()) for _ in range(20)]
    await asyncio.sleep(0)
    trouble.process.kill()
    done, _ = await asyncio.wait(calls, timeout=TIMEOUT * 3)
    assert [type(call.exception()) for call in done] == [StoreUnavailable] * 20
    await asyncio.to_thread(trouble.process.start)
    assert len(await trouble.enqueue()) == 1


async def test_silent_store_holds_no_subscription_up(trouble: Trouble) -> None:
    await trouble.enqueue()
    trouble.process.pause()
    started = time.monotonic()
    with pytest.raises(StoreUnavailable):
        async with trouble.connection.subscribed("srv"):
            pass
    assert time.monotonic() - started < TIMEOUT * 2
    trouble.process.resume()
    async with trouble.connection.subscribed("srv"):
        await trouble.enqueue()


async def test_store_that_evicts_is_not_fit(trouble: Trouble) -> None:
    assert await trouble.check() == {}
    trouble.configure("maxmemory-policy", "allkeys-lru")
    assert (await trouble.check()).keys() == {"noeviction"}


async def test_silent_store_holds_no_call_up_and_its_late_replies_reach_nobody(
    own_store: StoreProcess,
) -> None:
    connection = Connection(own_store.url, timeout=TIMEOUT, size=4)
    tasks = TaskStore(connection, retry=RetryPolicy(), lease_ms=30_000)
    names = (await tasks.enqueue(QUEUE, [task(b"%d" % i) for i in range(20)])).names
    reads = Reads(connection)

    async def read(i: int) -> bytes | None:
        try:
            (stored,) = await reads.read(QUEUE, [names[i]], full=False, max_bytes=ENOUGH)
        except StoreUnavailable:
            return None
        return stored.spec if stored else b"unknown"

    own_store.pause()
    started = time.monotonic()
    calls = [asyncio.create_task(read(i)) for i in range(20)]
    done, pending = await asyncio.wait(calls, timeout=20)
    assert time.monotonic() - started < TIMEOUT * 2
    assert not pending
    assert {call.result() for call in done} == {None}
    own_store.resume()
    for _ in range(5):
        assert [await read(i) for i in range(20)] == [b"%d" % i for i in range(20)]
    await connection.close()
