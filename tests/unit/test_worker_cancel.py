"""A cancelled task stops its handler, which says how it takes that."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, cast

import pytest

from codeq.v1 import codeq_service_pb2 as pb
from codeq.v1.task_pb2 import ClaimedTask
from codeq_grpc.client import Client
from codeq_grpc.core import clock
from codeq_grpc.worker import Cancelled, CancelToken, TaskContext
from codeq_grpc.worker.handlers import Handlers
from codeq_grpc.worker.heartbeats import Heartbeats
from codeq_grpc.worker.leases import Grant, Leases
from codeq_grpc.worker.outages import Outages
from codeq_grpc.worker.runner import Runner
from tests.unit.scripted import Scripted, cancel, until
from tests.unit.test_worker_intake import Gate, working

if TYPE_CHECKING:
    from codeq.v1.task_pb2 import TaskError
    from codeq_grpc.worker.leases import Lease
    from codeq_grpc.worker.progress import Teller
    from codeq_grpc.worker.reports import Reports


def tell(scripted: Scripted, fence: int, reason: str = "") -> None:
    """Orders it on the stream."""
    message = pb.StreamClaimResponse(directive=cancel(fence, reason))
    scripted.streams[0].say.put_nowait(message)


def error_of(scripted: Scripted) -> TaskError:
    (outcome,) = scripted.outcomes
    return outcome.fail.error


async def test_an_order_on_the_stream_ends_the_handler_as_cancelled() -> None:
    scripted, gate = Scripted(), Gate()
    scripted.offer("c")
    async with working(scripted, gate):
        await until(lambda: gate.running == 1)
        tell(scripted, 1, "no longer needed")
        await until(lambda: scripted.ends() == {1: "fail"})
    assert gate.running == 0
    error = error_of(scripted)
    assert (error.type, error.message) == ("cancelled", "no longer needed")


async def test_an_order_in_a_heartbeat_does_the_same_to_that_task_only() -> None:
    scripted, gate = Scripted(), Gate()
    for _ in range(2):
        scripted.offer("c", lease=0.6)
    scripted.withdrawn[1] = "enough"
    async with working(scripted, gate):
        await until(lambda: scripted.ends() == {1: "fail"})
        assert error_of(scripted).message == "enough"
        gate.open(1)
        await until(lambda: len(scripted.ends()) == 2)
    assert scripted.ends()[2] == "complete"


async def test_a_lease_to_be_cancelled_is_kept_while_its_handler_cleans_up() -> None:
    scripted, leave, seen = Scripted(), asyncio.Event(), list[TaskContext]()

    async def handler(task: TaskContext) -> None:
        seen.append(task)
        try:
            await asyncio.Event().wait()
        finally:
            await leave.wait()

    scripted.offer("c", lease=0.3)
    scripted.withdrawn[1] = "enough"
    async with working(scripted, handler):
        await until(lambda: len(scripted.beats) >= 4)
        assert seen[0].cancelled.is_set()
        assert not seen[0].lost.is_set()
        assert scripted.ends() == {}
        leave.set()
        await until(lambda: scripted.ends() == {1: "fail"})


async def test_a_handler_that_finishes_all_the_same_completes() -> None:
    async def handler(task: TaskContext) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return f"kept what there was: {task.cancelled.reason}"
        return ""

    scripted = Scripted()
    scripted.offer("c")
    async with working(scripted, handler):
        await until(lambda: scripted.streams and not scripted.waiting)
        tell(scripted, 1, "too slow")
        await until(lambda: scripted.outcomes)
    assert scripted.outcomes[0].complete.result.data == b'"kept what there was: too slow"'


async def test_a_handler_that_fails_meanwhile_says_how() -> None:
    async def handler(task: TaskContext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("cannot clean up")

    scripted = Scripted()
    scripted.offer("c")
    async with working(scripted, handler):
        await until(lambda: scripted.streams and not scripted.waiting)
        tell(scripted, 1)
        await until(lambda: scripted.outcomes)
    assert error_of(scripted).type == "OSError"


async def test_a_thread_looks_itself() -> None:
    scripted, started, go_on = Scripted(), threading.Event(), threading.Event()

    def handler(task: TaskContext) -> None:
        task.cancelled.raise_if_cancelled()
        started.set()
        while not task.lost.is_set() and not go_on.wait(0.01):
            task.cancelled.raise_if_cancelled()

    scripted.offer("c")
    async with working(scripted, handler):
        await until(started.is_set)
        tell(scripted, 1, "why")
        try:
            await until(lambda: scripted.outcomes)
        finally:
            go_on.set()  # a thread that never ends would keep the tests from ending
    error = error_of(scripted)
    assert (error.type, error.message, error.detail) == ("cancelled", "why", "")


async def test_a_thread_that_does_not_look_completes() -> None:
    scripted, seen, go_on = Scripted(), list[TaskContext](), threading.Event()

    def handler(task: TaskContext) -> str:
        seen.append(task)
        go_on.wait(10)
        return "done"

    scripted.offer("c")
    async with working(scripted, handler):
        await until(lambda: seen)
        tell(scripted, 1)
        await until(seen[0].cancelled.is_set)
        go_on.set()
        await until(lambda: scripted.ends() == {1: "complete"})


async def test_aborting_still_waits_for_a_thread_that_was_told() -> None:
    scripted, seen, go_on = Scripted(), list[TaskContext](), threading.Event()

    def handler(task: TaskContext) -> str:
        seen.append(task)
        go_on.wait(10)
        return "done"

    scripted.offer("c")
    async with working(scripted, handler) as (worker, run):
        await until(lambda: seen)
        tell(scripted, 1)
        await until(seen[0].cancelled.is_set)
        worker.abort()
        await until(lambda: not scripted.open_streams())
        assert scripted.ends() == {}
        go_on.set()
        await run
    assert scripted.ends() == {1: "complete"}


async def test_a_task_that_waits_its_turn_is_never_started() -> None:
    scripted, gate = Scripted(), Gate()
    for _ in range(3):
        scripted.offer("c")
    async with working(scripted, gate, concurrency=1, prefetch=2):
        await until(lambda: gate.running == 1 and not scripted.waiting)
        tell(scripted, 2, "before its turn")
        await until(lambda: scripted.ends() == {2: "fail"})
        gate.open(2)
        await until(lambda: len(scripted.ends()) == 3)
    assert gate.started == [1, 3]
    assert error_of_fence(scripted, 2) == ("cancelled", "before its turn")


async def test_nor_while_its_end_is_being_reported() -> None:
    begun, answer = asyncio.Event(), asyncio.Event()

    class Slow(Scripted):
        async def Report(self, request: pb.ReportRequest, context: Any) -> pb.ReportResponse:
            begun.set()
            await answer.wait()
            return await super().Report(request, context)

    scripted, gate = Slow(), Gate()
    for _ in range(3):
        scripted.offer("c")
    async with working(scripted, gate, concurrency=1, prefetch=2):
        await until(lambda: gate.running == 1 and not scripted.waiting)
        tell(scripted, 2)
        await begun.wait()
        gate.open(2)
        await until(lambda: gate.started[-1] == 3)
        answer.set()
        await until(lambda: len(scripted.ends()) == 3)
    assert gate.started == [1, 3]


class Ends:
    """Reports that only listen."""

    def __init__(self) -> None:
        self.outcomes: list[pb.Outcome] = []

    def add(self, lease: Lease, outcome: pb.Outcome) -> None:
        self.outcomes.append(outcome)

    def flush_soon(self) -> None:
        pass


async def test_nor_when_its_turn_has_only_just_come() -> None:
    gate, ends, leases = Gate(), Ends(), Leases(300)
    handlers = Handlers(concurrency=1)
    handlers.register("c", gate)
    runner = Runner(handlers, leases, cast("Reports", ends), concurrency=1)
    task = ClaimedTask(lease=cancel(1).lease)
    task.spec.command = "c"
    runner.receive(leases.add([task], Grant(1)))
    runner.withdraw(task.lease, "why")
    await runner.until_idle()
    assert gate.started == []
    assert [one.fail.error.type for one in ends.outcomes] == ["cancelled"]


class Ordering:
    """A teller whose server answers every heartbeat with an order to cancel."""

    async def beat(self, leases: list[Lease], *, timeout: float) -> pb.HeartbeatResponse:
        return pb.HeartbeatResponse(directives=[cancel(lease.ref.fence) for lease in leases])


async def test_a_lease_to_be_cancelled_is_extended_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    leases = Leases(30)
    runner = Runner(Handlers(concurrency=1), leases, cast("Reports", Ends()), concurrency=1)
    beats = Heartbeats(
        cast("Teller", Ordering()),
        leases,
        runner,
        Outages(Client()),
        on_fatal=lambda error: None,
    )
    (lease,) = leases.add([ClaimedTask(lease=cancel(1).lease)], Grant(1))
    now = lease.due_at
    assert await beats.tick()
    assert lease.context.cancelled.is_set()
    assert lease.deadline == now + 30


def error_of_fence(scripted: Scripted, fence: int) -> tuple[str, str]:
    (error,) = [o.fail.error for o in scripted.outcomes if o.fail.lease.fence == fence]
    return error.type, error.message


async def test_draining_and_cancelling_at_once_end_as_cancelled() -> None:
    scripted, gate = Scripted(), Gate()
    scripted.offer("c")
    async with working(scripted, gate) as (worker, run):
        await until(lambda: gate.running == 1)
        scripted.streams[0].say.put_nowait(pb.StreamClaimResponse(directive=cancel(1)))
        await until(lambda: gate.running == 0)
        worker.abort()
        await run
    assert scripted.ends() == {1: "fail"}


async def test_orders_about_other_leases_are_ignored() -> None:
    scripted, gate = Scripted(), Gate()
    scripted.offer("c")
    async with working(scripted, gate):
        await until(lambda: gate.running == 1)
        tell(scripted, 7)
        scripted.offer("c")
        await until(lambda: gate.running == 2)
        gate.open(2)
        await until(lambda: len(scripted.ends()) == 2)
    assert set(scripted.ends().values()) == {"complete"}


async def test_a_token_tells_those_who_wait() -> None:
    token = CancelToken()
    token.raise_if_cancelled()
    assert (token.is_set(), token.reason) == (False, "")
    waiting = asyncio.create_task(token.wait())
    token.set("why")
    await waiting
    assert (token.is_set(), token.reason) == (True, "why")
    with pytest.raises(Cancelled, match="why"):
        token.raise_if_cancelled()
