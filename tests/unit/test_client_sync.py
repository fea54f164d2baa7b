"""The synchronous client: same flows, in the caller's thread, over gRPC's synchronous channel."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import grpc_testing
import pytest

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from codeq_grpc.client import (
    CallFailed,
    CancelTotal,
    ServerUnavailable,
    SyncClient,
    TaskFailed,
    encode,
    spec,
)
from codeq_grpc.core import limits
from codeq_grpc.core.errors import CodeQError, InvalidField, PayloadTooLarge, QueueFull
from codeq_grpc.wire.errors import DETAILS_KEY, to_item, to_status
from tests.unit.scripted import Answering, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SERVICE = pb.DESCRIPTOR.services_by_name["CodeQService"]
OK = pb.EnqueueResponse(task_id="t", created=True)
DONE = pb.GetTaskResponse(task=task_pb2.Task(state="TASK_STATE_COMPLETED", result=encode({"n": 1})))


class Answers:
    """Answers the calls of one client, in the test's thread, and keeps what came with them."""

    def __init__(self, **options: Any) -> None:
        self._channel = grpc_testing.channel([SERVICE], grpc_testing.strict_real_time())
        self.client = SyncClient(channel=self._channel, **options)
        self.metadata: list[dict[str, str]] = []

    def to(self, work: Callable[[], Any], **replies: list[Any]) -> tuple[Any, list[Any]]:
        """What `work` makes of these replies to one method, and its requests."""
        ((name, listed),) = replies.items()
        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(work)
            requests = [self._reply(name, reply) for reply in listed]
            return working.result(timeout=10), requests

    def _reply(self, name: str, reply: Any) -> Any:
        metadata, request, rpc = self._channel.take_unary_unary(SERVICE.methods_by_name[name])
        self.metadata.append(dict(metadata))
        rpc.send_initial_metadata(())
        if isinstance(reply, CodeQError):
            code, message, details = to_status(reply)
            rpc.terminate(None, ((DETAILS_KEY, details),), code, message)
        elif isinstance(reply, grpc.StatusCode):
            rpc.terminate(None, (), reply, "said by nobody")
        else:
            rpc.terminate(reply, (), grpc.StatusCode.OK, "")
        return request


def test_an_enqueue_takes_what_the_other_client_takes() -> None:
    answers = Answers(token="cq_1")
    result, (request,) = answers.to(
        lambda: answers.client.enqueue("greet", {"name": "Ada"}, labels={"run": "7"}),
        Enqueue=[OK],
    )
    assert result == OK
    assert request.task == spec("greet", {"name": "Ada"}, labels={"run": "7"})
    assert answers.metadata[0]["authorization"] == "Bearer cq_1"
    assert answers.metadata[0]["x-request-id"]


def test_errors_are_those_of_the_other_client() -> None:
    answers = Answers()
    with pytest.raises(QueueFull, match="too many") as caught:
        answers.to(lambda: answers.client.enqueue("c"), Enqueue=[QueueFull("too many")])
    assert caught.value.retry_after == 5
    assert caught.value.__notes__ == [f"request id: {answers.metadata[0]['x-request-id']}"]
    for code, kind in (
        (grpc.StatusCode.UNAVAILABLE, ServerUnavailable),
        (grpc.StatusCode.UNIMPLEMENTED, CallFailed),
    ):
        with pytest.raises(kind, match="said by nobody"):
            answers.to(lambda: answers.client.enqueue("c"), Enqueue=[code])


def test_an_enqueue_with_a_key_is_repeated() -> None:
    answers = Answers()
    result, (first, again) = answers.to(
        lambda: answers.client.enqueue("c", idempotency_key="k"),
        Enqueue=[grpc.StatusCode.UNAVAILABLE, OK],
    )
    assert result == OK
    assert first == again


def test_many_are_sent_in_batches_that_are_read_one_by_one() -> None:
    answers, read = Answers(), list[int]()

    def specs() -> Iterator[task_pb2.TaskSpec]:
        for number in range(5):
            read.append(number)
            yield spec(f"c{number}")
        yield spec("big", bytes(limits.BATCH_BYTES))

    flow = answers.client.enqueue_many(specs(), batch_size=2)
    assert read == []
    two = pb.BatchEnqueueResponse(
        results=[OK, pb.EnqueueResponse()], failures=[to_item(1, InvalidField("no"))]
    )
    first, requests = answers.to(lambda: [next(flow), next(flow)], BatchEnqueue=[two])
    assert first[0] == OK
    assert isinstance(first[1], InvalidField)
    assert [task.command for task in requests[0].tasks] == ["c0", "c1"]
    assert read == [0, 1]
    one = pb.BatchEnqueueResponse(results=[OK])
    rest, requests = answers.to(lambda: list(flow), BatchEnqueue=[two, one])
    assert [len(request.tasks) for request in requests] == [2, 1]
    assert isinstance(rest[-1], PayloadTooLarge)


def test_an_atomic_enqueue_is_one_call_or_none() -> None:
    answers = Answers()
    three = pb.BatchEnqueueResponse(results=[OK] * 3)
    results, (request,) = answers.to(
        lambda: list(answers.client.enqueue_many([spec("c")] * 3, atomic=True, batch_size=2)),
        BatchEnqueue=[three],
    )
    assert (len(results), request.atomic) == (3, True)
    assert list(answers.client.enqueue_many([], atomic=True)) == []
    with pytest.raises(ValueError, match="one call"):
        next(answers.client.enqueue_many([spec("c")] * 1001, atomic=True))


def test_a_result_is_waited_for() -> None:
    answers = Answers()
    pending = pb.GetTaskResponse(task=task_pb2.Task(state="TASK_STATE_PENDING"))
    result, requests = answers.to(
        lambda: answers.client.result("t", timeout=60), GetTask=[pending, DONE]
    )
    assert result == {"n": 1}
    assert requests[0].view == task_pb2.TASK_VIEW_FULL
    failed = pb.GetTaskResponse(task=task_pb2.Task(state="TASK_STATE_FAILED"))
    with pytest.raises(TaskFailed):
        answers.to(lambda: answers.client.result("t"), GetTask=[failed])
    task, (request,) = answers.to(
        lambda: answers.client.wait_for_end("t", full=False), GetTask=[failed]
    )
    assert (task, request.view) == (failed.task, task_pb2.TASK_VIEW_BASIC)
    task, (request,) = answers.to(lambda: answers.client.get_task("t", wait=5), GetTask=[pending])
    assert (task, request.wait.ToSeconds()) == (pending.task, 5)


def test_tasks_are_cancelled() -> None:
    answers = Answers()
    total, (request,) = answers.to(
        lambda: answers.client.cancel("t", "why"),
        CancelTasks=[pb.CancelTasksResponse(requested_count=1)],
    )
    assert total == CancelTotal(0, 1, {})
    assert (list(request.selector.task_ids), request.reason) == (["t"], "why")


def test_a_closed_client_says_so_and_leaves_a_given_channel_alone() -> None:
    answers = Answers()
    with answers.client as client:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        client.enqueue("c")
    client.close()
    other = SyncClient(channel=answers._channel)
    answers.client = other
    assert answers.to(lambda: other.enqueue("c"), Enqueue=[OK])[0] == OK


async def test_many_threads_share_one_client() -> None:
    async def echo(request: pb.EnqueueRequest) -> pb.EnqueueResponse:
        return pb.EnqueueResponse(task_id=request.task.command)

    answering = Answering(Enqueue=[echo] * 200)
    async with serving(answering) as beside:
        with SyncClient(beside.target, wait_for_ready=True) as client:

            def enqueue(number: int) -> str:
                return client.enqueue(f"c{number}").task_id

            def work() -> list[str]:
                with ThreadPoolExecutor(16) as pool:
                    return list(pool.map(enqueue, range(200)))

            ids = await asyncio.to_thread(work)
    assert ids == [f"c{number}" for number in range(200)]


async def test_closing_cancels_what_other_threads_wait_for() -> None:
    begun, never = asyncio.Event(), asyncio.Event()

    async def hang(request: pb.GetTaskRequest) -> pb.GetTaskResponse:
        begun.set()
        await never.wait()
        return DONE

    async with serving(Answering(GetTask=[hang])) as beside:
        client = SyncClient(beside.target)
        waiting = asyncio.create_task(asyncio.to_thread(client.get_task, "t"))
        await begun.wait()
        await asyncio.to_thread(client.close)
        with pytest.raises(CallFailed) as caught:
            await waiting
        never.set()
    assert caught.value.code is grpc.StatusCode.CANCELLED


FORKING = """
import os, signal, sys
from codeq_grpc.client import SyncClient

client = SyncClient(sys.argv[1])  # before the fork, as an application that preloads does
client._lock.acquire()  # as if another thread were using it in this very moment
child = os.fork()
signal.alarm(20)
if child:
    client._lock.release()
found = client.enqueue("child" if child == 0 else "parent")
if child == 0:
    os._exit(0 if found.task_id == "t" else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
client.close()
"""


async def test_a_client_made_before_a_fork_works_on_both_sides() -> None:
    answering = Answering(Enqueue=[OK, OK])
    async with serving(answering) as beside:
        forking = await asyncio.create_subprocess_exec(sys.executable, "-c", FORKING, beside.target)
        assert await forking.wait() == 0
    commands = {request.task.command for request in answering.requests["Enqueue"]}
    assert commands == {"child", "parent"}


async def test_a_child_does_not_use_the_channel_of_its_parent() -> None:
    async with serving(Answering(Enqueue=[OK, OK])) as beside:
        with SyncClient(beside.target) as client:
            await asyncio.to_thread(client.enqueue, "c")
            parents = client._opened
            client._forked()  # what a child does; gRPC itself would not survive it here
            await asyncio.to_thread(client.enqueue, "c")
            assert client._opened is not parents
            assert client._inherited is parents
            assert parents is not None
            parents.close()
