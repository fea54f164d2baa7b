"""How attempts end: what is reported for what a handler did, in which batches, how often."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from typing import TYPE_CHECKING

import pytest

from codeq.v1 import task_pb2
from codeq_grpc.core import limits
from codeq_grpc.core.errors import (
    CredentialInvalid,
    LeaseLost,
    PayloadTooLarge,
    StoreUnavailable,
)
from codeq_grpc.worker import Ended, Reject, Retry, TaskContext, Worker, reports
from codeq_grpc.worker.leases import Lease
from tests.unit.scripted import Scripted, serving, until
from tests.unit.test_worker_intake import Gate, working

if TYPE_CHECKING:
    from collections.abc import Callable

    from codeq.v1.codeq_service_pb2 import Outcome


async def end_of(handler: Callable[[TaskContext], object], payload: bytes = b"") -> Outcome:
    """What is reported of one task."""
    scripted = Scripted()
    scripted.offer("c", payload)
    async with working(scripted, handler):
        await until(lambda: scripted.outcomes)
    (outcome,) = scripted.outcomes
    return outcome


@pytest.mark.parametrize(
    ("result", "payload"),
    [
        (None, task_pb2.Payload()),
        (b"\0x", task_pb2.Payload(data=b"\0x", content_type="application/octet-stream")),
        ("ä", task_pb2.Payload(data='"ä"'.encode(), content_type="application/json")),
        ({"n": [1]}, task_pb2.Payload(data=b'{"n":[1]}', content_type="application/json")),
        (
            task_pb2.Payload(data=b"<a/>", content_type="text/xml"),
            task_pb2.Payload(data=b"<a/>", content_type="text/xml"),
        ),
    ],
)
async def test_results_become_payloads(result: object, payload: task_pb2.Payload) -> None:
    async def handler(task: TaskContext) -> object:
        return result

    outcome = await end_of(handler)
    assert outcome.complete.result == payload


async def test_functions_run_in_threads() -> None:
    seen: list[str] = []

    def handler(task: TaskContext) -> object:
        seen.append(threading.current_thread().name)
        return task.json()

    outcome = await end_of(handler, b"[1, 2]")
    assert outcome.complete.result.data == b"[1,2]"
    assert seen[0].startswith("codeq-handler")


async def test_an_exception_is_told_with_type_message_and_trace() -> None:
    async def handler(task: TaskContext) -> None:
        raise LookupError("no \udcff " + "x" * 5000)

    error = (await end_of(handler)).fail.error
    assert error.type == "LookupError"
    assert error.message.startswith("no \\udcff x")
    assert len(error.message) == limits.ERROR_MESSAGE_CHARS
    assert "in handler" in error.detail
    assert "runner.py" not in error.detail
    assert len(error.detail) <= limits.ERROR_DETAIL_CHARS
    assert not error.non_retryable
    assert not error.HasField("retry_delay")


async def test_retry_and_reject_say_what_they_want() -> None:
    async def later(task: TaskContext) -> None:
        raise Retry(delay=1.5) from ConnectionError("gone")

    error = (await end_of(later)).fail.error
    assert (error.type, error.message) == ("ConnectionError", "gone")
    assert error.retry_delay.ToMilliseconds() == 1500

    async def never(task: TaskContext) -> None:
        raise Reject("no such customer", kind="customer.unknown")

    error = (await end_of(never)).fail.error
    assert (error.type, error.message) == ("customer.unknown", "no such customer")
    assert error.non_retryable


async def test_a_cancellation_inside_a_handler_is_an_error_like_others() -> None:
    async def handler(task: TaskContext) -> None:
        raise asyncio.CancelledError

    assert (await end_of(handler)).fail.error.type == "CancelledError"


async def test_a_result_without_json_form_fails_the_attempt() -> None:
    async def handler(task: TaskContext) -> object:
        return {1, 2}

    assert (await end_of(handler)).fail.error.type == "TypeError"


async def test_a_result_that_is_too_large_fails_the_task_and_not_its_neighbours() -> None:
    scripted = Scripted()
    for _ in range(8):
        scripted.offer("c")

    async def handler(task: TaskContext) -> bytes:
        return b"x" * (limits.PAYLOAD_BYTES + (task.fence == 3))

    async with working(scripted, handler):
        await until(lambda: len(scripted.ends()) == 8)
    assert [fence for fence, end in scripted.ends().items() if end == "fail"] == [3]
    (error,) = [o.fail.error for o in scripted.outcomes if o.HasField("fail")]
    assert (error.type, error.non_retryable) == ("PAYLOAD_TOO_LARGE", True)
    assert str(limits.PAYLOAD_BYTES) in error.message


async def test_a_result_that_the_server_refuses_fails_the_task() -> None:
    scripted = Scripted()
    scripted.fail_items[scripted.offer("c")] = PayloadTooLarge("at most 10 bytes")
    async with working(scripted, lambda task: "x" * 20):
        await until(lambda: scripted.ends() == {1: "fail"})
    assert scripted.outcomes[0].fail.error.non_retryable


async def test_ends_travel_in_batches() -> None:
    scripted = Scripted()
    for _ in range(2000):
        scripted.offer("c")

    async def handler(task: TaskContext) -> None:
        await asyncio.sleep(0)

    async with working(scripted, handler, concurrency=500):
        await until(lambda: len(scripted.ends()) == 2000)
    assert len(scripted.reports) <= 40


async def test_ends_that_leave_half_of_the_slots_empty_are_not_kept_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reports, "_DELAY", 1000)
    scripted, gate = Scripted(), Gate()
    for _ in range(20):
        scripted.offer("c")
    async with working(scripted, gate, concurrency=5, prefetch=5):
        await until(lambda: len(gate.started) == 5)
        gate.open(4)
        await until(lambda: len(gate.started) == 9)
        assert scripted.ends() == {}
        gate.open(1)
        await until(lambda: len(scripted.ends()) == 5)
        assert len(scripted.reports) == 1
        await until(lambda: len(gate.started) == 10)
        assert len(scripted.waiting) == 5


async def test_a_report_is_repeated_until_the_server_takes_it() -> None:
    scripted = Scripted()
    fence = scripted.offer("c")
    # Five: gRPC itself repeats the first four.
    scripted.fail_calls.extend(StoreUnavailable("away") for _ in range(5))
    scripted.fail_items[fence] = StoreUnavailable("still away")
    async with working(scripted, lambda task: None):
        await until(lambda: scripted.ends() == {fence: "complete"})
    assert len(scripted.reports) == 7


async def test_a_report_is_given_up_when_its_lease_is_over() -> None:
    scripted, ended = Scripted(), list[Ended]()
    scripted.offer("c", lease=0.3)
    scripted.fail_calls.extend(StoreUnavailable("away") for _ in range(1000))
    async with working(scripted, lambda task: None, on_ended=ended.append):
        await until(lambda: ended)
    assert ended[0].outcome is None


async def test_a_late_end_is_dropped_and_told() -> None:
    scripted, ended = Scripted(), list[Ended]()
    scripted.fail_items[scripted.offer("c")] = LeaseLost()
    scripted.offer("c")
    async with working(scripted, lambda task: None, on_ended=ended.append):
        await until(lambda: len(ended) == 2)
    by_fence = {one.context.fence: one.outcome for one in ended}
    assert by_fence[1] is None
    assert by_fence[2] is not None
    assert scripted.ends() == {2: "complete"}


async def test_a_refused_credential_ends_the_worker() -> None:
    scripted = Scripted()
    scripted.offer("c")
    scripted.fail_calls.append(CredentialInvalid())
    async with working(scripted, lambda task: None) as (_, run):
        with pytest.raises(CredentialInvalid):
            await run


async def test_what_does_not_finish_in_time_is_given_back() -> None:
    scripted, gate = Scripted(), Gate()
    scripted.offer("c")
    async with working(scripted, gate, drain_timeout=0.05) as (worker, run):
        await until(lambda: gate.running)
        worker.drain()
        await run
    assert scripted.ends() == {1: "abandon"}
    assert gate.running == 0


async def test_abort_gives_back_at_once_and_so_does_cancelling() -> None:
    for cancel in (False, True):
        scripted, gate = Scripted(), Gate()
        scripted.offer("c")
        async with working(scripted, gate) as (worker, run):
            await until(lambda gate=gate: gate.running)  # type: ignore[misc]
            if cancel:
                run.cancel()
            else:
                worker.abort()
            await asyncio.wait({run}, timeout=2)
            assert run.cancelled() == cancel
        assert scripted.ends() == {1: "abandon"}


async def test_work_that_a_thread_finishes_during_abort_counts() -> None:
    scripted, started = Scripted(), threading.Event()

    def handler(task: TaskContext) -> str:
        started.set()
        time.sleep(0.2)
        return "done"

    scripted.offer("c")
    async with working(scripted, handler) as (worker, run):
        await until(started.is_set)
        worker.abort()
        await run
    assert scripted.ends() == {1: "complete"}


async def test_an_attempt_that_is_over_is_gone_without_the_garbage_collector() -> None:
    async def handler(task: TaskContext) -> None:
        task.tell_progress(0.5)
        if task.fence % 2:
            raise Retry("later")

    def left() -> int:
        return sum(isinstance(one, Lease | TaskContext) for one in gc.get_objects())

    scripted = Scripted()
    before = left()
    gc.disable()
    try:
        async with working(scripted, handler):
            for _ in range(50):
                scripted.offer("c")
            await until(lambda: len(scripted.ends()) == 50)
            await until(lambda: left() == before)
    finally:
        gc.enable()


async def test_a_worker_without_handlers_does_not_run() -> None:
    async with serving(Scripted()) as client:
        with pytest.raises(ValueError, match="no handler"):
            await Worker(client).run()
