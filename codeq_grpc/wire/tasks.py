"""Stored tasks and queue counts as messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codeq.v1 import queue_pb2, task_pb2
from codeq_grpc.core.errors import InvalidField
from codeq_grpc.core.task import TERMINAL, TaskState

if TYPE_CHECKING:
    from codeq_grpc.core.records import Record


def state_name(state: int) -> str:
    """Its name in `codeq.v1.TaskState`."""
    return task_pb2.TaskState.Name(state)


def is_full(view: int) -> bool:
    """Whether a read is to return everything."""
    if view not in task_pb2.TaskView.values():
        raise InvalidField.at("view", "is not a known view")
    return view == task_pb2.TASK_VIEW_FULL


def task_message(record: Record, *, full: bool) -> task_pb2.Task:
    """A stored task; without payload and result unless `full`."""
    task = task_pb2.Task(
        task_id=record.task_id,
        state=state_name(record.state),
        attempt=record.attempt,
        worker_id=record.worker_id,
    )
    task.spec.MergeFromString(record.spec)
    if not full:
        task.spec.ClearField("payload")
    task.create_time.FromMilliseconds(record.create_ms)
    task.update_time.FromMilliseconds(record.update_ms)
    if record.state == TaskState.IN_PROGRESS:
        task.lease_expire_time.FromMilliseconds(record.time_ms)
    if record.state in TERMINAL:
        task.end_time.FromMilliseconds(record.time_ms)
    if record.error:
        task.error.MergeFromString(record.error)
    if full and record.result:
        task.result.MergeFromString(record.result)
    return task


def queue_message(command: str, numbers: dict[str, int]) -> queue_pb2.QueueStats:
    """Counts of one queue; `oldest_ms` and `now_ms` become age and read time."""
    counts: dict[str, Any] = dict(numbers)
    now_ms, oldest_ms = counts.pop("now_ms"), counts.pop("oldest_ms")
    stats = queue_pb2.QueueStats(command=command, **counts)
    stats.read_time.FromMilliseconds(now_ms)
    if oldest_ms:
        stats.oldest_pending_age.FromMilliseconds(max(0, now_ms - oldest_ms))
    return stats
