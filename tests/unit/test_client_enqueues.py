"""Enqueues are repeated when that is safe, and flows are read no faster than calls are made."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from codeq.v1 import codeq_service_pb2 as pb
from codeq_grpc.client import DeadlineExceeded, ServerUnavailable, TaskSpec, spec
from codeq_grpc.client.batches import one_ahead
from codeq_grpc.client.enqueues import enqueue, enqueue_batch
from codeq_grpc.client.flows import Call, Pause
from codeq_grpc.core import clock
from codeq_grpc.core.errors import CodeQError, QueueFull, StoreUnavailable
from tests.unit.scripted import Answering, serving, until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from codeq_grpc.client.flows import Flow

OK = pb.EnqueueResponse(task_id="t")


def answer(flow: Flow[Any], *answers: object) -> Any:
    """Runs a flow that pauses before each repeat; its result."""
    step = next(flow)
    try:
        for reply in answers:
            assert isinstance(step, Call)
            if isinstance(reply, CodeQError):
                step = flow.throw(reply)
                assert isinstance(step, Pause)
                step = next(flow)
            else:
                step = flow.send(reply)
    except StopIteration as end:
        return end.value
    raise AssertionError("another step")


@pytest.mark.parametrize("error", [ServerUnavailable(), StoreUnavailable()])
def test_an_enqueue_with_a_key_is_repeated_through_an_outage(error: CodeQError) -> None:
    keyed = spec("c", idempotency_key="k")
    assert answer(enqueue(keyed, 30), error, error, OK) == OK
    batch = enqueue_batch([keyed, keyed], 30, atomic=False)
    assert answer(batch, error, pb.BatchEnqueueResponse(results=[OK, OK])) == [OK, OK]


@pytest.mark.parametrize(
    "task",
    [
        spec("c"),
        spec("c", idempotency_key="k", conflict_policy="fail"),
        spec("c", idempotency_key="k", conflict_policy="replace"),
        spec("c", idempotency_key="k", idempotency_ttl=30),
    ],
    ids=["no key", "fail", "replace", "short-lived"],
)
def test_an_enqueue_whose_repeat_might_do_something_else_is_not(task: TaskSpec) -> None:
    keyed = spec("c", idempotency_key="k", conflict_policy="use_existing", idempotency_ttl=31)
    flows: tuple[Flow[object], ...] = (
        enqueue(task, 30),
        enqueue_batch([keyed, task], 30, atomic=False),
    )
    for flow in flows:
        next(flow)
        with pytest.raises(ServerUnavailable):
            flow.throw(ServerUnavailable())


@pytest.mark.parametrize("error", [DeadlineExceeded(), QueueFull()])
def test_what_is_no_outage_is_not_repeated(error: CodeQError) -> None:
    flow = enqueue(spec("c", idempotency_key="k"), 30)
    next(flow)
    with pytest.raises(type(error)):
        flow.throw(error)


def test_all_repeats_together_take_no_longer_than_one_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    flow = enqueue(spec("c", idempotency_key="k"), 30)
    step = next(flow)
    assert isinstance(step, Call)
    assert step.timeout == 30
    now = 120.0
    flow.throw(ServerUnavailable())
    step = next(flow)
    assert isinstance(step, Call)
    assert step.timeout == 10
    now = 130.0
    with pytest.raises(ServerUnavailable):
        flow.throw(ServerUnavailable())


async def test_the_client_repeats_and_pauses() -> None:
    answering = Answering(Enqueue=[grpc.StatusCode.UNAVAILABLE, OK, grpc.StatusCode.UNAVAILABLE])
    async with serving(answering) as client:
        assert (await client.enqueue("c", idempotency_key="k")).task_id == "t"
        with pytest.raises(ServerUnavailable):
            await client.enqueue("c")
    first, again, _ = answering.requests["Enqueue"]
    assert first == again


class Slow:
    """BatchEnqueue that takes as long as the test likes."""

    def __init__(self) -> None:
        self.begun = 0
        self.leave = asyncio.Semaphore(0)

    async def __call__(self, request: pb.BatchEnqueueRequest) -> pb.BatchEnqueueResponse:
        self.begun += 1
        await self.leave.acquire()
        return pb.BatchEnqueueResponse(results=[OK] * len(request.tasks))


class Source:
    """A flow of specs that counts how far it was read."""

    def __init__(self, length: int) -> None:
        self.read = 0
        self._length = length

    async def __aiter__(self) -> AsyncIterator[TaskSpec]:
        for _ in range(self._length):
            self.read += 1
            yield spec("c")


async def test_a_slow_server_slows_the_source_down() -> None:
    slow, source, results = Slow(), Source(100), list[object]()
    async with serving(Answering(BatchEnqueue=[slow] * 10)) as client:

        async def produce() -> None:
            results.extend([one async for one in client.enqueue_many(source, batch_size=10)])

        producing = asyncio.create_task(produce())
        for call in range(1, 11):
            await until(lambda call=call: slow.begun == call)  # type: ignore[misc]
            # The batch of this call and the next one, which is read while it waits.
            await until(lambda call=call: source.read == min(100, 10 * call + 10))  # type: ignore[misc]
            slow.leave.release()
        await producing
    assert results == [OK] * 100
    assert slow.begun == 10


async def test_who_takes_no_results_makes_no_calls() -> None:
    slow, source = Slow(), Source(100)
    slow.leave = asyncio.Semaphore(100)
    async with serving(Answering(BatchEnqueue=[slow] * 10)) as client:
        results = client.enqueue_many(source, batch_size=10)
        await anext(results)
        assert slow.begun == 1
        await results.aclose()
    assert (slow.begun, source.read) == (1, 20)


async def test_a_source_that_fails_does_so_after_all_that_was_read() -> None:
    async def failing() -> AsyncGenerator[TaskSpec]:
        for _ in range(3):
            yield spec("c")
        raise LookupError("no more rows")

    slow = Slow()
    slow.leave = asyncio.Semaphore(100)
    async with serving(Answering(BatchEnqueue=[slow] * 10)) as client:
        results = client.enqueue_many(failing(), batch_size=3)
        assert [await anext(results) for _ in range(3)] == [OK] * 3
        with pytest.raises(LookupError, match="no more rows"):
            await anext(results)


async def test_a_full_batch_does_not_wait_for_the_next_spec() -> None:
    more = asyncio.Event()

    async def waiting() -> AsyncGenerator[TaskSpec]:
        for _ in range(2):
            yield spec("c")
        await more.wait()

    slow = Slow()
    slow.leave = asyncio.Semaphore(1)
    async with serving(Answering(BatchEnqueue=[slow])) as client:
        results = client.enqueue_many(waiting(), batch_size=2)
        assert [await anext(results), await anext(results)] == [OK, OK]
        more.set()
        assert await anext(results, None) is None


async def test_an_abandoned_source_is_closed() -> None:
    closed = asyncio.Event()

    async def source() -> AsyncGenerator[int]:
        try:
            for number in range(100):
                yield number
        finally:
            closed.set()

    ahead = one_ahead(source())
    assert await anext(ahead) == 0
    await ahead.aclose()
    assert closed.is_set()
