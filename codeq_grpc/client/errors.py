"""What a caller catches: the errors of the API, three of the way to it, and bad ends of tasks.

Refused calls raise the classes of `codeq_grpc.core.errors`, the ones the server raised. The
classes here are for calls that no codeQ server answered, and for tasks whose result was asked
for and that have none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import grpc

from codeq.v1 import task_pb2
from codeq_grpc.core.errors import CodeQError
from codeq_grpc.wire import errors as wire_errors

if TYPE_CHECKING:
    from collections.abc import Iterable


class CallError(Protocol):
    """What the errors of gRPC's two APIs have in common."""

    def code(self) -> grpc.StatusCode:
        """The status."""

    def details(self) -> str | None:
        """The message."""

    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None:
        """What came with the status."""


class ServerUnavailable(CodeQError):
    """The server cannot be reached now; whether it saw the call is unknown."""

    reason = "SERVER_UNAVAILABLE"


class DeadlineExceeded(CodeQError):
    """The call did not end in time; whether it took effect is unknown."""

    reason = "DEADLINE_EXCEEDED"


class CallFailed(CodeQError):
    """The call failed for a reason that codeQ does not know; `code` is the gRPC status."""

    reason = "CALL_FAILED"

    def __init__(
        self, message: str = "", *, code: grpc.StatusCode, metadata: dict[str, str] | None = None
    ) -> None:
        super().__init__(message, metadata=metadata)
        self.code = code


class TaskFailed(CodeQError):
    """The task ended without a result; `task` is all of it, `error` why."""

    reason = "TASK_FAILED"

    def __init__(self, task: task_pb2.Task) -> None:
        self.task = task
        self.error = task.error
        kind = task.error.type or task_pb2.TaskState.Name(task.state)
        super().__init__(
            f"task {task.task_id}: {kind}: {task.error.message}".rstrip(": "),
            metadata={"task_id": task.task_id},
        )


class TaskCancelled(TaskFailed):
    """The task was cancelled before it had a result."""

    reason = "TASK_CANCELLED"


class TaskExpired(TaskFailed):
    """The task's expire_time passed before it had a result."""

    reason = "TASK_EXPIRED"


_BAD_ENDS: Final[dict[task_pb2.TaskState, type[TaskFailed]]] = {
    task_pb2.TASK_STATE_CANCELLED: TaskCancelled,
    task_pb2.TASK_STATE_EXPIRED: TaskExpired,
}

_OWN_CODES: Final[dict[type[CodeQError], grpc.StatusCode]] = {
    ServerUnavailable: grpc.StatusCode.UNAVAILABLE,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    TaskFailed: grpc.StatusCode.ABORTED,
    TaskCancelled: grpc.StatusCode.CANCELLED,
    TaskExpired: grpc.StatusCode.ABORTED,
}


def code_of(error: CodeQError) -> grpc.StatusCode:
    """The gRPC status code behind an error of the SDK; INTERNAL for one it does not know."""
    if isinstance(error, CallFailed):
        return error.code
    kind = type(error)
    return _OWN_CODES.get(kind) or wire_errors.CODES.get(kind, grpc.StatusCode.INTERNAL)


def of_task(task: task_pb2.Task) -> TaskFailed:
    """The exception for a task that ended otherwise than COMPLETED."""
    return _BAD_ENDS.get(task.state, TaskFailed)(task)


def from_call(error: CallError, request_id: str = "") -> CodeQError:
    """The exception that stands for a failed call; the request id becomes a note of it."""
    translated = _translated(error)
    if request_id:
        translated.add_note(f"request id: {request_id}")
    return translated


def _translated(error: CallError) -> CodeQError:
    code, message = error.code(), error.details() or ""
    known = wire_errors.from_status(message, error.trailing_metadata() or ())
    if known is not None and (type(known) is not CodeQError or code is grpc.StatusCode.INTERNAL):
        return known
    if known is not None:
        # A newer server's reason, which this SDK has no class for: the code still tells enough.
        return CallFailed(message, code=code, metadata=known.metadata)
    if code is grpc.StatusCode.UNAVAILABLE:
        return ServerUnavailable(message)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(message)
    return CallFailed(message, code=code)
