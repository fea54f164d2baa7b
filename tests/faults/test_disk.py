"""The store's disc or memory is full, its file is cut short, or takes long to be read."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import grpc
import pytest

from codeq_grpc.store.keys import Queue
from tests.faults.disk_store import WAYS, small_disc
from tests.faults.power_store import PowerStore
from tests.integration import operating
from tests.integration.looking import page
from tests.integration.refusals import read_refusal
from tests.support.admin import Admin
from tests.support.consistency import inconsistencies
from tests.support.server import eventually, running_server
from tests.support.snapshot import take_snapshot
from tests.support.stores import StoreProcess

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.server import Caller, Server
    from tests.support.stores import Engine

UNAVAILABLE = ("UNAVAILABLE", "STORE_UNAVAILABLE")


async def fill_up(acme: Caller) -> list[str]:
    """Tasks that were told OK before the first refusal."""
    told = []
    try:
        for number in range(10_000):
            task_id = await acme.enqueue(data=bytes(1_000), idempotency_key=f"{number}")
            told.append(task_id)
    except grpc.aio.AioRpcError as error:
        assert read_refusal(error).kind == UNAVAILABLE  # noqa: PT017 - the last one tells
        return told
    raise AssertionError("a full disc takes everything")


async def works(acme: Caller) -> bool:
    """Whether a task can be added."""
    try:
        await acme.enqueue("PROBE")
    except grpc.aio.AioRpcError as error:
        assert read_refusal(error).kind == UNAVAILABLE  # noqa: PT017
        return False
    return True


async def refusals(acme: Caller) -> set[str]:
    """Messages of all until one is told OK."""
    messages = set()
    while True:
        try:
            await acme.enqueue("PROBE")
        except grpc.aio.AioRpcError as error:
            refusal = read_refusal(error)
            assert refusal.kind == UNAVAILABLE
            messages.add(refusal.message)
            await asyncio.sleep(0.01)
        else:
            return messages


async def all_there(acme: Caller, told: list[str]) -> bool:
    """Whether every task that was told OK is."""
    return {await acme.state(task_id) for task_id in told} == {"PENDING"}


async def is_unready(server: Server, check: str) -> bool:
    """Because of this check."""
    status, body = await page(server, "/readyz")
    return status == 503 and check in body["reasons"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_full_disc_stops_writes_and_nothing_told_ok_is_lost(
    engine: Engine, way: str
) -> None:
    with small_disc(engine, way, "everysec") as store:
        async with running_server(store) as server:
            acme = server.caller()
            told = [await acme.enqueue()]
            store.fill()
            told += await fill_up(acme)
            await eventually(lambda: is_unready(server, "store.writable"))
            assert (await page(server, "/livez"))[0] == 200
            assert await all_there(acme, told)
            store.mend()
            await eventually(lambda: works(acme))
            await eventually(lambda: server.app.health.ready)
            await asyncio.to_thread(store.kill)
            await asyncio.to_thread(store.start)
            await eventually(lambda: works(acme))
            assert await all_there(acme, told)


@pytest.mark.parametrize("way", WAYS)
async def test_a_store_that_ends_because_its_disc_is_full_has_lost_nothing_told_ok(
    engine: Engine, way: str
) -> None:
    with small_disc(engine, way, "always") as store:
        async with running_server(store, durability="D2") as server:
            acme = server.caller()
            told = [await acme.enqueue()]
            store.fill()
            told += await fill_up(acme)
            await eventually(lambda: is_unready(server, "store.reachable"))
            assert not store.running
            assert not await works(acme)
            store.mend()
            await asyncio.to_thread(store.restart)
            await eventually(lambda: works(acme))
            assert await all_there(acme, told)
            await eventually(lambda: server.app.health.ready)


async def fill_memory(acme: Caller) -> list[str]:
    """Tasks that were told OK before the first refusal."""
    told = []
    try:
        while True:
            task_id = await acme.enqueue(data=bytes(100_000))
            told.append(task_id)
    except grpc.aio.AioRpcError as error:
        assert read_refusal(error).kind == ("RESOURCE_EXHAUSTED", "STORE_FULL")  # noqa: PT017
        return told


async def test_a_full_memory_refuses_tasks_and_is_emptied_by_those_who_work_them_off(
    own_store: StoreProcess,
) -> None:
    async with running_server(own_store) as server:
        acme = server.caller()
        with Admin(own_store.socket_path) as admin:
            info = admin.call("INFO", "memory")
            used = int(info.partition(b"used_memory:")[2].split(b"\r")[0])
            admin.call("CONFIG", "SET", "maxmemory", str(used + (4 << 20)))
        told = await fill_memory(acme)
        assert len(told) > 10
        assert server.app.health.ready
        assert (await operating.cancel(acme, told[0])).cancelled_count == 1
        while tasks := await acme.claim(most=5):
            for task in tasks:
                await acme.complete(task)
        assert await acme.state(await acme.enqueue(data=bytes(100_000))) == "PENDING"
        assert {await acme.state(task_id) for task_id in told[1:]} == {"COMPLETED"}


async def busy(acme: Caller) -> None:
    """Leaves tasks in many states."""
    await acme.enqueue_many(30, labels={"a": "b"})
    tasks = await acme.claim(most=20)
    for task in tasks[:5]:
        await acme.complete(task, b"result")
    for task in tasks[5:10]:
        await acme.fail(task, type="t", message="m")
    for task in tasks[10:12]:
        await acme.fail(task, non_retryable=True)
    await acme.heartbeat(*tasks[12:])
    for number in range(5):
        await acme.enqueue(idempotency_key=f"{number}", concurrency_key="c")


async def test_a_file_cut_short_leaves_no_script_half_done(engine: Engine) -> None:
    seed = random.randrange(10_000)
    print(f"seed {seed}")
    luck = random.Random(seed)
    with PowerStore(engine, fsync="always") as store:
        async with running_server(store, durability="D2") as server:
            await busy(server.caller())
        store.kill()
        (path,) = store.files()
        whole = path.read_bytes()
        lengths = {1, 200, *(luck.randrange(1, 200) for _ in range(10))}
        for length in sorted(lengths):
            await _starts_without(store, path, whole[:-length])


async def _starts_without(store: StoreProcess, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    store.start()
    with Admin(store.socket_path) as admin:
        found = take_snapshot(admin, Queue("acme", "RENDER", 7))
    assert found.metas
    assert inconsistencies(found) == []
    async with running_server(store, durability="D2") as server:
        await server.caller().enqueue()
    store.kill()


async def test_while_the_store_reads_its_file_calls_are_unavailable(engine: Engine) -> None:
    slowly = ("--key-load-delay", "300")  # microseconds a command
    with StoreProcess(engine, aof=True, options=slowly) as store:
        async with running_server(store) as server:
            acme = server.caller()
            task_id = await acme.enqueue()
            with Admin(store.socket_path) as admin:
                admin.calls([("SET", f"other:{number}", "x") for number in range(10_000)])
            await asyncio.to_thread(store.kill)
            starting = asyncio.create_task(asyncio.to_thread(store.start))

            async def is_told() -> bool:
                _, body = await page(server, "/readyz")
                return "loading" in str(body.get("reasons", "")).lower()

            async with asyncio.TaskGroup() as group:
                refusing = group.create_task(refusals(acme))
                await eventually(is_told)
            await starting
            assert any("loading" in message.lower() for message in refusing.result())
            assert await acme.state(task_id) == "PENDING"
            await eventually(lambda: server.app.health.ready)
