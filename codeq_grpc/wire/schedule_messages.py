"""Stored schedules, their versions and firings as messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq.v1 import schedule_service_pb2 as pb, task_pb2
from codeq_grpc.wire.schedules import etag_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from codeq_grpc.core.schedules import Firing, Record, Row, Stored


def schedule_message(
    schedule_id: str, stored: Stored, next_times: Iterable[int], created_ms: int
) -> pb.Schedule:
    """A schedule as callers see it."""
    row, record = stored.row, stored.record
    message = pb.Schedule.FromString(record.body)
    message.schedule_id = schedule_id
    message.paused, message.pause_reason = row.paused, row.pause_reason
    if row.failing:
        message.pause_reason = f"{row.failures_in_row} tasks failed in a row"
    message.system = row.system
    message.etag, message.version = etag_of(row.mark), row.version
    message.create_time.FromMilliseconds(created_ms)
    message.update_time.FromMilliseconds(record.at_ms)
    _tell(message.status, row, stored.open, next_times)
    return message


def _tell(status: pb.ScheduleStatus, row: Row, open_count: int, next_times: Iterable[int]) -> None:
    status.fired_count, status.overlap_count = row.fired, row.overlaps
    status.misfire_count, status.refused_count = row.misfires, row.refused
    status.completed_count, status.failed_count = row.completed, row.failed
    status.failures_in_row, status.open_count = row.failures_in_row, open_count
    status.ended = row.ended
    if row.last_ms:
        status.last_time.FromMilliseconds(row.last_ms)
    if row.completed:
        status.average_run_time.FromMilliseconds(row.run_ms // row.completed)
    for ms in next_times:
        status.next_times.add().FromMilliseconds(ms)


def firing_message(firing: Firing, state: int) -> pb.Firing:
    """A firing, whose task is in this state now, 0 if that is not known."""
    message = pb.Firing(
        task_id=firing.task_id,
        skip_reason=firing.reason,
        cause=pb.FiringCause.Name(firing.cause),
        state=task_pb2.TaskState.Name(state),
    )
    message.fire_time.FromMilliseconds(firing.fire_ms)
    message.actual_time.FromMilliseconds(firing.actual_ms)
    return message


def version_message(schedule_id: str, record: Record) -> pb.ScheduleVersion:
    """A schedule as it was."""
    message = pb.ScheduleVersion(changed_by=record.by, reason=record.why)
    message.schedule.MergeFromString(record.body)
    message.schedule.schedule_id, message.schedule.version = schedule_id, record.version
    message.change_time.FromMilliseconds(record.at_ms)
    return message
