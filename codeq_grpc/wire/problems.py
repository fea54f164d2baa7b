"""Errors that tasks keep of what the server did to them."""

from __future__ import annotations

from typing import Final

from codeq.v1.task_pb2 import TaskError
from codeq_grpc.core.task import TaskState

LEASE_EXPIRED: Final = TaskError(
    type="lease_expired", message="the lease expired before the attempt was reported"
).SerializeToString()
ATTEMPT_TIMEOUT: Final = TaskError(
    type="attempt_timeout", message="the attempt took longer than attempt_timeout"
).SerializeToString()
EXPIRED: Final = TaskError(
    type="expired", message="expire_time passed before a worker finished the task"
).SerializeToString()
DAMAGED: Final = TaskError(
    type="damaged", message="the store lost the payload of this task, or what it depends on"
).SerializeToString()
PURGED: Final = TaskError(type="cancelled", message="the queue was purged").SerializeToString()

_ENDS: Final = {
    TaskState.FAILED: "failed",
    TaskState.CANCELLED: "cancelled",
    TaskState.EXPIRED: "expired",
}


def cancelled(reason: str) -> bytes:
    """Of a task that was cancelled."""
    return TaskError(type="cancelled", message=reason).SerializeToString()


def dependency(task_id: str, state: int) -> bytes:
    """Of a task of which a dependency ended otherwise than well, or is gone."""
    end = _ENDS.get(TaskState(state), "") if state else ""
    if not end:
        message = f"task {task_id}, on which this one depends, was deleted"
        return TaskError(type="dependency_deleted", message=message).SerializeToString()
    message = f"task {task_id}, on which this one depends, {end}"
    return TaskError(type=f"dependency_{end}", message=message).SerializeToString()
