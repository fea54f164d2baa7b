"""Waiting for the end of a task, and what becomes of its result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from codeq_grpc.client import (
    ENDED,
    DeadlineExceeded,
    ServerUnavailable,
    TaskCancelled,
    TaskExpired,
    TaskFailed,
    code_of,
    encode,
)
from codeq_grpc.client.ends import wait_for_end
from codeq_grpc.client.flows import Call, Pause
from codeq_grpc.core import clock
from codeq_grpc.core.errors import Draining, StoreUnavailable, TaskNotFound
from tests.unit.scripted import Answering, serving

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any


def task(state: str, **fields: Any) -> pb.GetTaskResponse:
    return pb.GetTaskResponse(
        task=task_pb2.Task(task_id="t", state=f"TASK_STATE_{state}", **fields)
    )


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    own = Clock()
    monkeypatch.setattr(clock, "monotonic", own)
    return own


def call_of(step: object) -> Call:
    assert isinstance(step, Call)
    return step


@pytest.mark.parametrize("state", ["COMPLETED", "FAILED", "CANCELLED", "EXPIRED"])
async def test_every_end_is_one(state: str) -> None:
    end = task(state)
    assert end.task.state in ENDED
    async with serving(Answering(GetTask=[task("IN_PROGRESS"), task("BLOCKED"), end])) as client:
        assert await client.wait_for_end("t") == end.task


async def test_a_result_is_decoded() -> None:
    end = task("COMPLETED", result=encode({"n": 1}))
    answering = Answering(GetTask=[task("PENDING"), end])
    async with serving(answering) as client:
        assert await client.result("t", timeout=30) == {"n": 1}
    assert {request.view for request in answering.requests["GetTask"]} == {task_pb2.TASK_VIEW_FULL}


@pytest.mark.parametrize(
    ("state", "kind", "code"),
    [
        ("FAILED", TaskFailed, grpc.StatusCode.ABORTED),
        ("CANCELLED", TaskCancelled, grpc.StatusCode.CANCELLED),
        ("EXPIRED", TaskExpired, grpc.StatusCode.ABORTED),
    ],
)
async def test_another_end_is_an_exception(
    state: str, kind: type[TaskFailed], code: grpc.StatusCode
) -> None:
    end = task(state, error=task_pb2.TaskError(type="KeyError", message="no customer"))
    async with serving(Answering(GetTask=[end])) as client:
        with pytest.raises(TaskFailed, match="task t: KeyError: no customer") as caught:
            await client.result("t")
    assert type(caught.value) is kind
    assert (caught.value.task, caught.value.error) == (end.task, end.task.error)
    assert code_of(caught.value) is code


async def test_an_end_without_an_error_says_which_it_was() -> None:
    async with serving(Answering(GetTask=[task("EXPIRED")])) as client:
        with pytest.raises(TaskExpired, match=r"task t: TASK_STATE_EXPIRED$"):
            await client.result("t")


async def test_a_task_that_does_not_end_in_time() -> None:
    async with serving(Answering(GetTask=[task("PENDING")] * 1000)) as client:
        with pytest.raises(DeadlineExceeded, match=r"has not ended within 0\.2 s"):
            await client.wait_for_end("t", 0.2)


async def test_an_unknown_task_is_not_waited_for() -> None:
    async with serving(Answering(GetTask=[TaskNotFound()])) as client:
        with pytest.raises(TaskNotFound):
            await client.wait_for_end("t")


def test_calls_end_with_the_callers_time(time: Clock) -> None:
    flow = wait_for_end("t", 90, full=False, patience=30)
    call = call_of(next(flow))
    assert call.wait == 60
    assert call.timeout == pytest.approx(30, abs=0.2)
    time.now += 61
    assert isinstance(flow.send(task("PENDING")), Pause)
    call = call_of(next(flow))
    assert call.wait == 29
    assert call.timeout == pytest.approx(0, abs=0.2)
    time.now += 30
    with pytest.raises(DeadlineExceeded, match="within 90 s"):
        flow.throw(DeadlineExceeded())


def outage(flow: Generator[Any, Any, Any], time: Clock, seconds: int) -> Any:
    """Lets calls fail for so long; the call after it."""
    step = None
    for _ in range(2 * seconds):
        pause = flow.throw(Draining())
        assert pause == Pause(0.5)
        time.now += pause.seconds
        step = next(flow)
    return step


def test_an_outage_shorter_than_the_clients_timeout_goes_unnoticed(time: Clock) -> None:
    """However long the server was there before it: an outage begins with its first error."""
    flow = wait_for_end("t", None, full=False, patience=10)
    call = call_of(next(flow))
    for _ in range(3):
        assert call.wait == 60
        time.now += 59
        # While it lasts the server is asked whether it is there, not to wait.
        assert call_of(outage(flow, time, 9)).wait == 0
        assert flow.send(task("PENDING")) == Pause(0.05)
        call = call_of(next(flow))


def test_a_longer_one_does_not(time: Clock) -> None:
    flow = wait_for_end("t", None, full=False, patience=10)
    next(flow)
    flow.throw(StoreUnavailable())
    next(flow)
    time.now += 10
    with pytest.raises(ServerUnavailable):
        flow.throw(ServerUnavailable())


def test_an_outage_at_the_end_of_the_callers_time_is_told(time: Clock) -> None:
    flow = wait_for_end("t", 5, full=False, patience=30)
    next(flow)
    time.now += 5
    with pytest.raises(DeadlineExceeded) as caught:
        flow.throw(ServerUnavailable("refused"))
    assert isinstance(caught.value.__cause__, ServerUnavailable)
