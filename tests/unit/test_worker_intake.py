"""Streams: opened for the free slots, reopened when they end, closed without losing a task."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from codeq.v1 import codeq_service_pb2 as pb
from codeq_grpc.core.errors import Draining, InvalidField, ScopeMissing
from codeq_grpc.worker import TaskContext, Worker
from tests.unit.scripted import Scripted, serving, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Gate:
    """A handler that waits for leave, one task at a time or all."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.running = 0
        self.most = 0
        self._leave = asyncio.Semaphore(0)

    def open(self, count: int) -> None:
        for _ in range(count):
            self._leave.release()

    async def __call__(self, task: TaskContext) -> None:
        self.started.append(task.fence)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self._leave.acquire()
            await asyncio.sleep(0.002)
        finally:
            self.running -= 1


@asynccontextmanager
async def working(
    scripted: Scripted, handler: Any, **options: Any
) -> AsyncIterator[tuple[Worker, asyncio.Task[None]]]:
    async with serving(scripted) as client:
        worker = Worker(client, {"c": handler}, **options)
        run = asyncio.create_task(worker.run())
        try:
            yield worker, run
        finally:
            worker.abort()
            await asyncio.wait({run})
            if not run.cancelled():
                run.exception()


async def test_a_stream_asks_for_all_slots_and_is_served_in_order_of_preference() -> None:
    scripted = Scripted()
    async with serving(scripted) as client:
        worker = Worker(client, concurrency=7, worker_id="w", lease_duration=2.5)
        worker.handler("b", "a")(Gate())
        run = asyncio.create_task(worker.run())
        await until(lambda: scripted.streams)
        worker.drain()
        await run
    request = scripted.streams[0].request
    assert list(request.commands) == ["b", "a"]
    assert (request.worker_id, request.max_outstanding) == ("w", 7)
    assert request.lease_duration.ToMilliseconds() == 2500
    assert request.disconnect_policy == pb.DISCONNECT_POLICY_KEEP


async def test_never_more_handlers_than_slots() -> None:
    scripted, gate = Scripted(), Gate()
    for _ in range(50):
        scripted.offer("c")
    async with working(scripted, gate, concurrency=4):
        gate.open(50)
        await until(lambda: len(scripted.ends()) == 50)
    assert gate.most == 4


async def test_prefetched_tasks_wait_their_turn() -> None:
    scripted, gate = Scripted(), Gate()
    for _ in range(5):
        scripted.offer("c")
    async with working(scripted, gate, concurrency=2, prefetch=3):
        await until(lambda: not scripted.waiting)
        assert scripted.streams[0].credit == 5
        await until(lambda: gate.started == [1, 2])
        gate.open(5)
        await until(lambda: len(scripted.ends()) == 5)
    assert gate.most == 2


async def test_a_new_stream_asks_for_free_slots_only_and_others_follow_as_slots_come_free() -> None:
    scripted, gate = Scripted(), Gate()
    for _ in range(8):
        scripted.offer("c")
    async with working(scripted, gate, concurrency=8):
        await until(lambda: gate.running == 8)
        scripted.streams[0].say.put_nowait(Draining())
        await until(lambda: not scripted.open_streams())
        await asyncio.sleep(0.3)
        assert len(scripted.streams) == 1
        gate.open(2)
        await until(lambda: len(scripted.open_streams()) == 1)
        assert scripted.streams[1].credit == 2
        gate.open(6)
        await until(lambda: sum(s.credit for s in scripted.open_streams()) == 8)
        assert len(scripted.open_streams()) <= 4
        for _ in range(20):
            scripted.offer("c")
        gate.open(20)
        await until(lambda: len(scripted.ends()) == 28)
    assert gate.most == 8


async def test_drain_reopens_after_the_delay_and_what_runs_goes_on() -> None:
    scripted, gate = Scripted(), Gate()
    scripted.offer("c")
    async with working(scripted, gate, concurrency=2):
        await until(lambda: gate.running == 1)
        drain = pb.StreamClaimResponse()
        drain.drain.reconnect_delay.FromMilliseconds(50)
        scripted.streams[0].say.put_nowait(drain)
        await until(lambda: len(scripted.streams) == 2)
        assert scripted.streams[1].credit == 1
        gate.open(1)
        await until(lambda: scripted.ends() == {1: "complete"})


async def test_kinds_of_messages_that_are_unknown_or_empty_are_ignored() -> None:
    scripted, gate = Scripted(), Gate()
    async with working(scripted, gate):
        await until(lambda: scripted.streams)
        scripted.streams[0].say.put_nowait(pb.StreamClaimResponse())
        scripted.streams[0].say.put_nowait(pb.StreamClaimResponse(directive=pb.Directive()))
        gate.open(1)
        scripted.offer("c")
        await until(lambda: scripted.ends() == {1: "complete"})
    assert len(scripted.streams) == 1


async def test_a_silent_stream_is_replaced() -> None:
    scripted = Scripted()
    scripted.idle_interval = 0.05
    async with working(scripted, Gate()):
        await until(lambda: len(scripted.streams) == 3)
    await until(lambda: not scripted.open_streams())


@pytest.mark.parametrize("error", [ScopeMissing(), InvalidField.at("worker_id", "is odd")])
async def test_a_refusal_for_good_ends_the_worker(error: Exception) -> None:
    scripted = Scripted()
    scripted.refuse_streams = error  # type: ignore[assignment]
    async with working(scripted, Gate()) as (_, run):
        with pytest.raises(type(error)):
            async with asyncio.timeout(5):
                await run


async def test_a_refusal_for_good_gives_back_what_is_held() -> None:
    scripted, gate = Scripted(), Gate()
    scripted.offer("c")
    async with working(scripted, gate, concurrency=2) as (_, run):
        await until(lambda: gate.running)
        scripted.streams[0].say.put_nowait(ScopeMissing())
        with pytest.raises(ScopeMissing):
            async with asyncio.timeout(5):
                await run
    assert scripted.ends() == {1: "abandon"}


async def test_ends_are_reported_only_once_the_stream_is_closed_when_draining() -> None:
    scripted, gate = Scripted(), Gate()
    for _ in range(4):
        scripted.offer("c")
    async with working(scripted, gate, concurrency=3) as (worker, run):
        await until(lambda: gate.running == 3)
        worker.drain()
        gate.open(3)
        await run
    assert scripted.ends() == dict.fromkeys((1, 2, 3), "complete")
    assert len(scripted.waiting) == 1


async def test_what_arrives_while_draining_is_given_back() -> None:
    scripted, gate = Scripted(), Gate()
    scripted.offer("c")
    async with working(scripted, gate, concurrency=3) as (worker, run):
        await until(lambda: gate.running == 1)
        worker.drain()
        await asyncio.sleep(0.02)
        scripted.offer("c")
        await until(lambda: scripted.ends() == {2: "abandon"})
        gate.open(1)
        await run
    assert gate.started == [1]
    assert scripted.ends()[1] == "complete"


async def test_prefetched_tasks_are_given_back_at_once_when_draining() -> None:
    scripted, gate = Scripted(), Gate()
    for _ in range(3):
        scripted.offer("c")
    async with working(scripted, gate, concurrency=1, prefetch=2) as (worker, run):
        await until(lambda: gate.running == 1 and not scripted.waiting)
        worker.drain()
        await until(lambda: scripted.ends() == {2: "abandon", 3: "abandon"})
        gate.open(1)
        await run
    assert scripted.ends()[1] == "complete"
