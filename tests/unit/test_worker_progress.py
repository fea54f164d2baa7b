"""Progress goes out with heartbeats, soon but not often, and checkpoints are never lost."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from codeq.v1.task_pb2 import ClaimedTask, LeaseRef, Payload, Progress
from codeq_grpc.client import encode
from codeq_grpc.core import clock, limits
from codeq_grpc.core.errors import InvalidField, LeaseLost, PayloadTooLarge, StoreUnavailable
from codeq_grpc.worker import Retry, TaskContext
from codeq_grpc.worker.leases import Grant, Leases
from codeq_grpc.worker.progress import cut, merged, progress
from tests.unit.scripted import Scripted, until
from tests.unit.test_worker_intake import working

if TYPE_CHECKING:
    from collections.abc import Callable

    from codeq.v1.codeq_service_pb2 import HeartbeatRequest, HeartbeatResponse, ReportRequest
    from codeq_grpc.worker.leases import Lease


class Steps:
    """A handler that does what the test tells it, and raises or returns at the end."""

    def __init__(self) -> None:
        self.todo: asyncio.Queue[Callable[[TaskContext], Any]] = asyncio.Queue()

    def do(self, step: Callable[[TaskContext], Any]) -> None:
        self.todo.put_nowait(step)

    async def __call__(self, task: TaskContext) -> None:
        while True:
            step = await self.todo.get()
            try:
                await step(task)
            except StopAsyncIteration:
                return


async def finish(task: TaskContext) -> None:
    raise StopAsyncIteration


async def fail(task: TaskContext) -> None:
    raise Retry("later")


def told(scripted: Scripted, fence: int = 1) -> list[tuple[float, str, bytes]]:
    return [
        (one.fraction, one.message, one.checkpoint.data)
        for of, one in scripted.progress
        if of == fence
    ]


async def test_progress_goes_out_long_before_the_lease_needs_a_heartbeat() -> None:
    scripted, steps = Scripted(), Steps()
    scripted.offer("c", lease=300)
    async with working(scripted, steps):
        steps.do(lambda task: task.progress(0.25, "a quarter", {"row": 7}))
        await until(lambda: scripted.progress)
        steps.do(finish)
        await until(lambda: scripted.ends() == {1: "complete"})
    assert told(scripted) == [(0.25, "a quarter", b'{"row":7}')]


async def test_of_several_the_latest_goes_out_with_the_latest_checkpoint() -> None:
    async def several(task: TaskContext) -> None:
        await task.progress(0.1, checkpoint=b"one")
        await task.progress(0.2, checkpoint=b"two")
        await task.progress(0.3, "three")

    scripted, steps = Scripted(), Steps()
    scripted.offer("c")
    async with working(scripted, steps):
        steps.do(several)
        await until(lambda: scripted.progress)
    assert told(scripted) == [(0.3, "three", b"two")]


async def test_tasks_share_a_heartbeat_for_their_progress() -> None:
    scripted = Scripted()
    for _ in range(20):
        scripted.offer("c")
    together = asyncio.Barrier(20)

    async def handler(task: TaskContext) -> None:
        await together.wait()
        await task.progress(0.5)
        await asyncio.Event().wait()

    async with working(scripted, handler, concurrency=20):
        await until(lambda: len(scripted.progress) == 20)
    assert len(scripted.beats) == 1


async def test_a_thread_tells_progress_too() -> None:
    scripted, leave = Scripted(), threading.Event()

    def handler(task: TaskContext) -> None:
        task.tell_progress(0.5, "half", b"here")
        leave.wait(10)

    scripted.offer("c")
    async with working(scripted, handler):
        await until(lambda: scripted.progress)
        leave.set()
        await until(lambda: scripted.ends() == {1: "complete"})
    assert told(scripted) == [(0.5, "half", b"here")]


async def test_what_was_not_told_is_told_before_the_attempt_fails() -> None:
    order: list[str] = []

    class Ordered(Scripted):
        async def Heartbeat(self, request: HeartbeatRequest, context: Any) -> HeartbeatResponse:
            order.append("heartbeat")
            return await super().Heartbeat(request, context)

        async def Report(self, request: ReportRequest, context: Any) -> Any:
            order.append("report")
            return await super().Report(request, context)

    async def handler(task: TaskContext) -> None:
        await task.progress(0.9, checkpoint=b"nearly")
        raise Retry("later")

    scripted = Ordered()
    scripted.offer("c")
    async with working(scripted, handler):
        await until(lambda: scripted.ends() == {1: "fail"})
    assert order == ["heartbeat", "report"]
    assert told(scripted) == [(0.9, "", b"nearly")]


async def test_and_before_it_is_given_back() -> None:
    scripted, telling = Scripted(), asyncio.Event()

    async def handler(task: TaskContext) -> None:
        await task.progress(0.9, checkpoint=b"nearly")
        telling.set()
        await asyncio.Event().wait()

    scripted.offer("c")
    async with working(scripted, handler) as (worker, run):
        await telling.wait()
        worker.abort()
        await run
    assert scripted.ends() == {1: "abandon"}
    assert told(scripted) == [(0.9, "", b"nearly")]


async def test_a_heartbeat_on_its_way_is_waited_for() -> None:
    """Else the report would overtake the checkpoint, which then comes too late."""
    begun, answer = asyncio.Event(), asyncio.Event()

    class Slow(Scripted):
        async def Heartbeat(self, request: HeartbeatRequest, context: Any) -> HeartbeatResponse:
            begun.set()
            await answer.wait()
            return await super().Heartbeat(request, context)

    async def handler(task: TaskContext) -> None:
        if task.fence == 1:
            await task.progress(0.9, checkpoint=b"nearly")
            await begun.wait()
            raise Retry("later")

    scripted = Slow()
    scripted.offer("c")
    async with working(scripted, handler):
        await begun.wait()
        while not scripted.outcomes:  # others that end later are reported meanwhile
            scripted.offer("c")
            await asyncio.sleep(0.01)
        assert 1 not in scripted.ends()
        answer.set()
        await until(lambda: scripted.ends().get(1) == "fail")
    assert told(scripted) == [(0.9, "", b"nearly")]


async def test_a_checkpoint_survives_heartbeats_that_fail() -> None:
    scripted, steps = Scripted(), Steps()
    scripted.offer("c")
    # Five: gRPC itself repeats the first four.
    scripted.fail_calls.extend(StoreUnavailable("away") for _ in range(5))
    async with working(scripted, steps):
        steps.do(lambda task: task.progress(0.1, "one", b"kept"))
        await until(lambda: len(scripted.beats) >= 3)
        steps.do(lambda task: task.progress(0.2, "two"))
        steps.do(fail)
        await until(lambda: scripted.ends() == {1: "fail"})
    assert told(scripted)[-1] == (0.2, "two", b"kept")


async def test_an_attempt_whose_lease_is_lost_meanwhile_ends_as_any_other() -> None:
    scripted, steps = Scripted(), Steps()
    scripted.lost.add(scripted.offer("c"))
    scripted.fail_items[1] = LeaseLost()

    async def tell_and_fail(task: TaskContext) -> None:
        await task.progress(0.9, checkpoint=b"nearly")
        raise Retry("later")

    async with working(scripted, steps):
        steps.do(tell_and_fail)
        await until(lambda: scripted.reports == [1])
    assert scripted.ends() == {}


async def test_progress_that_the_server_refuses_costs_no_lease() -> None:
    class Picky(Scripted):
        async def Heartbeat(self, request: HeartbeatRequest, context: Any) -> HeartbeatResponse:
            if any(beat.progress.message == "bad" for beat in request.leases):
                self.fail_calls.append(InvalidField.at("progress.message", "is bad"))
            return await super().Heartbeat(request, context)

    scripted, together = Picky(), asyncio.Barrier(5)
    for _ in range(5):
        scripted.offer("c")

    async def handler(task: TaskContext) -> None:
        await together.wait()
        await task.progress(0.5, "bad" if task.fence == 3 else "good", b"x")
        await asyncio.Event().wait()

    async with working(scripted, handler, concurrency=5):
        await until(lambda: len(scripted.progress) == 4)
        assert len(scripted.open_streams()[0].held) == 5
    assert {fence for fence, _ in scripted.progress} == {1, 2, 4, 5}


async def test_a_later_attempt_finds_the_checkpoint() -> None:
    seen: list[object] = []

    async def handler(task: TaskContext) -> None:
        seen.append((task.checkpoint, task.checkpoint_value()))

    scripted = Scripted()
    checkpoint = encode({"row": 7})
    scripted.offer("c", checkpoint=checkpoint)
    scripted.offer("c")
    async with working(scripted, handler):
        await until(lambda: len(scripted.ends()) == 2)
    assert seen == [(checkpoint, {"row": 7}), (None, None)]


def test_progress_is_checked_where_it_is_made() -> None:
    assert progress(1) == Progress(fraction=1)
    assert progress(0, "x" * 2000).message.endswith("x...")
    assert len(progress(0, "x" * 2000).message) == limits.PROGRESS_MESSAGE_CHARS
    assert progress(0, "\udcff").message == "\\udcff"
    assert progress(0, checkpoint=b"").HasField("checkpoint")
    for fraction in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="0 to 1"):
            progress(fraction)
    with pytest.raises(PayloadTooLarge, match="262145 bytes"):
        progress(0, checkpoint=bytes(limits.CHECKPOINT_BYTES + 1))
    with pytest.raises(TypeError):
        progress(0, checkpoint={1, 2})


async def test_a_context_without_a_worker_tells_nobody() -> None:
    context = TaskContext(ClaimedTask())
    await context.progress(0.5)
    with pytest.raises(ValueError, match="0 to 1"):
        await context.progress(2)


async def test_progress_after_the_worker_is_gone_is_no_error() -> None:
    def gone(ref: LeaseRef, progress: Progress) -> None:
        raise RuntimeError("Event loop is closed")

    TaskContext(ClaimedTask(), gone).tell_progress(0.5)


def test_the_newer_progress_wins_and_keeps_the_older_checkpoint() -> None:
    older = Progress(fraction=0.1, checkpoint=Payload(data=b"old"))
    assert merged(older, Progress(fraction=0.2)) == Progress(
        fraction=0.2, checkpoint=Payload(data=b"old")
    )
    newer = Progress(fraction=0.2, checkpoint=Payload(data=b"new"))
    assert merged(older, newer) == newer
    assert merged(None, newer) == merged(newer, None) == newer
    assert merged(None, None) is None


class Held:
    """Leases of a worker that does nothing by itself, on a clock that the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(clock, "monotonic", lambda: self.now)
        self._leases = Leases(300)

    def add(self, fence: int = 1) -> Lease:
        task = ClaimedTask()
        task.lease.fence = fence
        return self._leases.add([task], Grant(10))[0]


async def test_a_lease_has_a_heartbeat_for_its_progress_once_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = Held(monkeypatch)
    lease = held.add()
    quiet = lease.due_at
    lease.add_news(progress(0.1))
    first = lease.due_at
    assert held.now < first < held.now + 0.5
    held.now += 0.02
    lease.add_news(progress(0.2))
    assert lease.due_at == first
    assert lease.comes_along(held.now)
    held.now = first
    assert lease.take_news(asyncio.Event()) == progress(0.2)
    assert lease.due_at == quiet
    held.now += 0.1
    lease.add_news(progress(0.3))
    assert lease.due_at == first + 1
    assert not lease.comes_along(held.now)
    held.now = lease.due_at - 0.01
    assert not lease.comes_along(held.now)
    held.now += 30
    lease.take_news(asyncio.Event())
    held.now += 30
    lease.add_news(progress(0.4))
    assert held.now < lease.due_at < held.now + 0.5


async def test_heartbeats_are_cut_by_leases_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch)
    leases = [held.add(fence) for fence in range(1, 1502)]
    assert [len(batch) for batch in cut(leases)] == [1000, 501]
    for lease in leases[:24]:
        lease.add_news(progress(0.5, checkpoint=bytes(limits.CHECKPOINT_BYTES)))
    batches = list(cut(leases))
    assert [lease for batch in batches for lease in batch] == leases
    for batch in batches:
        size = sum(lease.news.ByteSize() for lease in batch if lease.news)
        assert 1 <= len(batch) <= 1000
        assert size < limits.BATCH_BYTES
    assert list(cut([])) == []
