"""The store's clock is set, and runs too fast, under load (F42): nothing is lost, nothing ends
twice, nobody waits until the old time comes again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest

from tests.faults.clock_store import ClockStore
from tests.integration.looking import page
from tests.support.server import Caller, Server, eventually, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.stores import Engine

pytestmark = pytest.mark.timeout(120)

HOUR = 3_600_000


@pytest.fixture
def clock_store(engine: Engine) -> Iterator[ClockStore]:
    with ClockStore(engine) as store:
        yield store


@pytest.fixture
async def server(clock_store: ClockStore) -> AsyncIterator[Server]:
    async with running_server(clock_store) as server:
        yield server


class Work:
    """A producer and workers that go on whatever the clock does."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._busy = True
        self.acked: list[str] = []
        self.completed: list[str] = []
        self.lost_leases = 0

    async def produce(self) -> None:
        while self._busy:
            self.acked += await self._caller.enqueue_many(5)
            await asyncio.sleep(0.01)

    async def work(self) -> None:
        while self._busy or len(set(self.completed)) < len(self.acked):
            for task in await self._caller.claim(most=20, wait=0.2, lease=3.0):
                try:
                    await self._caller.complete(task)
                except grpc.aio.AioRpcError as error:
                    # A step forward ends the leases of that moment; when the clock is set back
                    # before anybody saw it, they last to their ends all the same.
                    if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                        raise
                    self.lost_leases += 1
                else:
                    self.completed.append(task.lease.task_id)

    async def more(self, count: int = 200) -> None:
        """Returns when so many more were completed."""
        target = len(self.completed) + count
        await eventually(lambda: len(self.completed) >= target, within=30)

    def stop(self) -> None:
        """No more tasks; workers go on to the last."""
        self._busy = False


async def test_a_clock_that_differs_is_told_of_once_and_the_server_stays_ready(
    clock_store: ClockStore, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "codeq_grpc.rpc.health")

    async def told(apart: bool, least: int, most: int) -> None:
        async def shown() -> bool:
            _, body = await page(server, "/health/detailed")
            fits = least <= body["clock_skew_ms"] <= most
            return fits and ("store.clock" in body["reasons"]) == apart

        await eventually(shown, within=30)
        assert await page(server, "/readyz") == (200, {"status": "ready"})

    def lines() -> list[tuple[str, str]]:
        return [
            (record.levelname, record.getMessage().partition(" differ")[0])
            for record in caplog.records
            if "clock" in record.getMessage()
        ]

    await told(False, -1_000, 1_000)
    assert lines() == []
    for off in (HOUR, -HOUR, HOUR):
        clock_store.set_off(off)
        await told(True, off - 60_000, off + 60_000)
    assert lines() == [("WARNING", "about the store: its clock and this server's")]
    clock_store.set_off(0)
    await told(False, -1_000, 1_000)
    over = "the store's clock and this server's agree again"
    assert lines() == [("WARNING", "about the store: its clock and this server's"), ("INFO", over)]


@pytest.mark.parametrize("steps", [(-HOUR, 0), (HOUR, -HOUR, 0), (90_000, -5_000, 500)])
async def test_work_goes_on_whatever_the_clock_is_set_to(
    clock_store: ClockStore, server: Server, steps: tuple[int, ...]
) -> None:
    work = Work(server.caller())
    async with asyncio.TaskGroup() as group:
        for task in (work.produce(), work.work(), work.work()):
            group.create_task(task)
        await work.more()
        for off in steps:
            clock_store.set_off(off)
            await work.more()
        work.stop()
    assert sorted(work.completed) == sorted(work.acked)
    stats = await server.caller().stats()
    assert (stats.completed, stats.pending, stats.in_progress) == (len(work.acked), 0, 0)


async def test_work_goes_on_with_a_clock_that_is_a_tenth_too_fast(
    clock_store: ClockStore, server: Server
) -> None:
    work = Work(server.caller())
    async with asyncio.TaskGroup() as group:
        for task in (work.produce(), work.work()):
            group.create_task(task)
        for off in range(0, 400, 5):
            clock_store.set_off(off)
            await asyncio.sleep(0.05)
        await work.more()
        work.stop()
    assert sorted(work.completed) == sorted(work.acked)


async def test_a_dead_workers_task_comes_again_after_a_step_forward_and_back(
    clock_store: ClockStore, server: Server
) -> None:
    acme = server.caller()
    clock_store.set_off(HOUR)
    await acme.enqueue()
    await acme.complete(await acme.claim_one())
    clock_store.set_off(0)
    await acme.enqueue()
    (dead,) = await acme.claim(lease=1.0)
    (again,) = await acme.claim(wait=20)
    assert again.lease.task_id == dead.lease.task_id
    assert again.lease.fence > dead.lease.fence
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await acme.complete(dead)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_lease_holds_through_a_step_back(clock_store: ClockStore, server: Server) -> None:
    acme = server.caller()
    await acme.enqueue()
    (task,) = await acme.claim(lease=2.0)
    clock_store.set_off(-HOUR)
    assert await acme.claim(wait=3) == []
    await acme.complete(task)
