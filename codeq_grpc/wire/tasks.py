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
    """A stored task; without payload, result, checkpoint and attempts unless `full`."""
    task = task_pb2.Task(
        task_id=record.task_id,
        state=state_name(record.state),
        attempt=record.attempt,
        worker_id=record.worker_id,
        cancel_requested=record.cancel_requested and record.state == TaskState.IN_PROGRESS,
    )
    task.spec.MergeFromString(record.spec)
    task.create_time.FromMilliseconds(record.create_ms)
    task.update_time.FromMilliseconds(record.update_ms)
    if record.state == TaskState.IN_PROGRESS:
        task.lease_expire_time.FromMilliseconds(record.time_ms)
    if record.state in TERMINAL:
        task.end_time.FromMilliseconds(record.time_ms)
    if record.error:
        task.error.MergeFromString(record.error)
    if record.progress:
        task.progress.MergeFromString(record.progress)
    if full:
        _fill(task, record)
    return task


def _fill(task: task_pb2.Task, record: Record) -> None:
    if record.result:
        task.result.MergeFromString(record.result)
    if record.checkpoint:
        task.progress.checkpoint.MergeFromString(record.checkpoint)
    for attempt in record.attempts:
        message = task.attempts.add(
            number=attempt.number, fence=attempt.fence, worker_id=attempt.worker_id
        )
        message.start_time.FromMilliseconds(attempt.start_ms)
        if attempt.end_ms:
            message.end_time.FromMilliseconds(attempt.end_ms)
        if attempt.error:
            message.error.MergeFromString(attempt.error)


def stats_message(command: str, numbers: dict[str, Any], idle_credit: int) -> queue_pb2.QueueStats:
    """Counts of one queue; `oldest_ms` and `now_ms` become age and read time."""
    counts = dict(numbers)
    now_ms, oldest_ms = counts.pop("now_ms"), counts.pop("oldest_ms")
    stats = queue_pb2.QueueStats(command=command, idle_credit=idle_credit, **counts)
    stats.read_time.FromMilliseconds(now_ms)
    if oldest_ms:
        stats.oldest_pending_age.FromMilliseconds(max(0, now_ms - oldest_ms))
    return stats
