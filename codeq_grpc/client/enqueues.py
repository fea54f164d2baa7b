"""Flows that add tasks.

An enqueue whose answer was lost may have taken effect. It is repeated only when the repeat
finds the task that it may have made: every spec has an idempotency key that outlives the
repeats, and a match means the existing task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import grpc

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from codeq_grpc.client import batches
from codeq_grpc.client.errors import CallFailed
from codeq_grpc.client.flows import Patience, call
from codeq_grpc.core.errors import CodeQError, InvalidField
from codeq_grpc.wire.errors import from_item

if TYPE_CHECKING:
    from codeq.v1.task_pb2 import TaskSpec
    from codeq_grpc.client.flows import Flow, Response

    Result = pb.EnqueueResponse | CodeQError

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


def enqueue(task: TaskSpec, timeout: float) -> Flow[pb.EnqueueResponse]:
    """Adds one task, with repeats within `timeout` seconds if it may be repeated."""
    request = pb.EnqueueRequest(task=task)
    if not repeatable(task, timeout):
        return (yield from call("Enqueue", request, pb.EnqueueResponse))
    return (yield from _persistently("Enqueue", request, pb.EnqueueResponse, timeout))


def alone(task: TaskSpec, timeout: float) -> Flow[list[Result]]:
    """`enqueue`, with its response as a list of one."""
    return [(yield from enqueue(task, timeout))]


def together(batch: list[TaskSpec], timeout: float) -> Flow[list[Result]]:
    """Adds tasks in one call, with the errors that calls of their own would have had."""
    answer = yield from _batch_enqueue(batch, timeout, atomic=False)
    failures = {item.index: _as_alone(item) for item in answer.failures}
    return [failures.get(at, result) for at, result in enumerate(answer.results)]


def enqueue_batch(batch: list[TaskSpec], timeout: float, *, atomic: bool) -> Flow[list[Result]]:
    """Adds a batch that fits in a call: for each spec, in order, its response or its error."""
    if (error := batches.oversize(batch[0])) is not None:
        return [error]  # such a spec comes alone
    answer = yield from _batch_enqueue(batch, timeout, atomic=atomic)
    failures = {item.index: from_item(item) for item in answer.failures}
    return [failures.get(at, result) for at, result in enumerate(answer.results)]


def repeatable(task: TaskSpec, timeout: float) -> bool:
    """Whether an enqueue that may have taken effect can be repeated within `timeout` seconds.

    Not with the conflict policies FAIL and REPLACE: one would refuse what the lost call has
    made, the other make it anew after a worker has had it.
    """
    if not task.idempotency_key:
        return False
    if task.conflict_policy not in {
        task_pb2.CONFLICT_POLICY_UNSPECIFIED,
        task_pb2.CONFLICT_POLICY_USE_EXISTING,
    }:
        return False
    if not task.HasField("idempotency_ttl"):
        return True
    return task.idempotency_ttl.ToTimedelta().total_seconds() > timeout


def _batch_enqueue(
    batch: list[TaskSpec], timeout: float, *, atomic: bool
) -> Flow[pb.BatchEnqueueResponse]:
    method, response = "BatchEnqueue", pb.BatchEnqueueResponse
    request = pb.BatchEnqueueRequest(tasks=batch, atomic=atomic)
    if all(repeatable(task, timeout) for task in batch):
        return (yield from _persistently(method, request, response, timeout))
    return (yield from call(method, request, response))


def _as_alone(item: task_pb2.ItemFailure) -> CodeQError:
    """The error of an item of a batch as that of a call of its own: in a path it says "task"."""
    error = from_item(item)
    if type(error) is CodeQError and item.code != grpc.StatusCode.INTERNAL.value[0]:
        # A newer server's reason, which this SDK has no class for: the code still tells enough.
        code = _CODES.get(item.code, grpc.StatusCode.UNKNOWN)
        return CallFailed(item.message, code=code, metadata=error.metadata)
    field, ours = error.metadata.get("field", ""), f"tasks[{item.index}]"
    if not isinstance(error, InvalidField) or not field.startswith(ours):
        return error
    path = "task" + field[len(ours) :]
    problem = error.message.removeprefix(f"{field}: ")
    return type(error)(
        f"{path}: {problem}", fields={path: problem}, metadata={**error.metadata, "field": path}
    )


def _persistently(
    method: str,
    request: pb.EnqueueRequest | pb.BatchEnqueueRequest,
    response: type[Response],
    timeout: float,
) -> Flow[Response]:
    patience = Patience(timeout)
    while True:
        try:
            return (yield from call(method, request, response, timeout=patience.left))
        except CodeQError as error:
            pause = patience.pause(error)
        yield pause
