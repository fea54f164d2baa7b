"""Leases are kept alive together, and a lost one stops its handler."""

from __future__ import annotations

import asyncio

import pytest

from codeq.v1 import codeq_service_pb2 as pb
from codeq.v1.task_pb2 import ClaimedTask
from codeq_grpc.core.errors import CredentialInvalid, StoreUnavailable
from codeq_grpc.worker import Ended, TaskContext
from tests.unit.scripted import Scripted, until
from tests.unit.test_worker_intake import Gate, working


async def test_everything_held_is_extended_in_one_call_started_or_not() -> None:
    scripted, gate = Scripted(), Gate()
    for _ in range(4):
        scripted.offer("c", lease=0.6)
    async with working(scripted, gate, concurrency=2, prefetch=2):
        await until(lambda: len(scripted.beats) == 4)
        assert all(sorted(beat) == [1, 2, 3, 4] for beat in scripted.beats)
        gate.open(4)
        await until(lambda: len(scripted.ends()) == 4)
    assert set(scripted.ends().values()) == {"complete"}


async def test_the_lease_that_the_worker_asks_for_counts() -> None:
    scripted, gate = Scripted(), Gate()
    scripted.offer("c", lease=300)
    async with working(scripted, gate, lease_duration=0.3):
        await until(lambda: len(scripted.beats) >= 2)


async def test_a_shorter_lease_is_not_missed_for_a_longer_one() -> None:
    scripted, gate = Scripted(), Gate()
    scripted.offer("c")
    async with working(scripted, gate):
        await until(lambda: gate.running == 1)
        await asyncio.sleep(0.05)
        scripted.offer("c", lease=0.3)
        await until(lambda: scripted.beats == [[2], [2]])


async def test_a_lost_lease_cancels_its_handler_and_reports_nothing() -> None:
    scripted, gate, ended = Scripted(), Gate(), list[Ended]()
    for _ in range(2):
        scripted.offer("c", lease=0.3)
    scripted.lost.add(1)
    async with working(scripted, gate, on_ended=ended.append):
        await until(lambda: ended)
        assert gate.running == 1
        gate.open(1)
        await until(lambda: scripted.ends() == {2: "complete"})
    assert ended[0].context.lost.is_set()
    assert ended[0].outcome is None


async def test_who_waits_for_the_loss_of_a_lease_hears_of_it_early_or_late() -> None:
    early, late = TaskContext(ClaimedTask()), TaskContext(ClaimedTask())
    waiting = asyncio.create_task(early.lost.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    early.lost.set()
    late.lost.set()
    assert await waiting is await late.lost.wait() is True


async def test_a_directive_on_the_stream_does_the_same() -> None:
    scripted, gate = Scripted(), Gate()
    scripted.offer("c")
    async with working(scripted, gate):
        await until(lambda: gate.running == 1)
        directive = pb.Directive(kind=pb.DIRECTIVE_KIND_LEASE_LOST)
        directive.lease.task_id, directive.lease.fence = "t1", 1
        scripted.streams[0].say.put_nowait(pb.StreamClaimResponse(directive=directive))
        await until(lambda: gate.running == 0)
        await asyncio.sleep(0.02)
    assert scripted.ends() == {}


async def test_a_lease_whose_time_is_over_is_lost_without_being_told() -> None:
    scripted, gate = Scripted(), Gate()
    scripted.offer("c", lease=0.4)
    scripted.fail_calls.extend(StoreUnavailable("away") for _ in range(100))
    async with working(scripted, gate):
        await until(lambda: gate.running == 1)
        await until(lambda: gate.running == 0, within=1)
        scripted.fail_calls.clear()
        await asyncio.sleep(0.05)
    assert scripted.ends() == {}


async def test_a_heartbeat_that_failed_is_repeated_in_time() -> None:
    scripted, gate = Scripted(), Gate()
    scripted.offer("c", lease=1)
    scripted.fail_calls.extend(StoreUnavailable("away") for _ in range(3))
    async with working(scripted, gate):
        await until(lambda: len(scripted.beats) >= 6)
        assert gate.running == 1


async def test_a_thread_sees_that_its_lease_is_lost() -> None:
    scripted, seen = Scripted(), list[bool]()

    def handler(task: TaskContext) -> None:
        while not task.lost.is_set():
            pass
        seen.append(True)

    scripted.offer("c", lease=0.3)
    scripted.lost.add(1)
    async with working(scripted, handler):
        await until(lambda: seen)
    assert scripted.ends() == {}


async def test_a_refused_credential_ends_the_worker() -> None:
    scripted, gate = Scripted(), Gate()
    scripted.offer("c", lease=0.3)
    scripted.fail_calls.append(CredentialInvalid())
    async with working(scripted, gate) as (_, run):
        with pytest.raises(CredentialInvalid):
            await run
