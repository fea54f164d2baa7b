"""Flows of schedules."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

from codeq.v1 import schedule_service_pb2 as pb
from codeq_grpc.client import filters, rules
from codeq_grpc.client.flows import Patience, call
from codeq_grpc.client.specs import aware
from codeq_grpc.core import limits
from codeq_grpc.core.errors import CodeQError, ScheduleChanged
from codeq_grpc.wire.errors import from_item

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from google.protobuf.field_mask_pb2 import FieldMask

    from codeq.v1.task_pb2 import TaskSpec
    from codeq_grpc.client.flows import Flow
    from codeq_grpc.client.rules import RuleOptions, ScheduleChanges, ScheduleOptions

PAUSE: Final = pb.SCHEDULE_OPERATION_PAUSE
RESUME: Final = pb.SCHEDULE_OPERATION_RESUME
DELETE: Final = pb.SCHEDULE_OPERATION_DELETE
_TRIES: Final = 5
"""Changes by others that may come between."""


def create(schedule_id: str, task: TaskSpec, options: ScheduleOptions) -> Flow[pb.Schedule]:
    """Makes one."""
    schedule = rules.schedule(schedule_id, **options)
    schedule.task.CopyFrom(task)
    return (yield from add(schedule))


def add(schedule: pb.Schedule) -> Flow[pb.Schedule]:
    """Makes it as it is. It is not repeated: the repeat would find that there is one."""
    request = pb.CreateScheduleRequest(schedule=schedule)
    return (yield from call("CreateSchedule", request, pb.CreateScheduleResponse)).schedule


def get(schedule_id: str) -> Flow[pb.Schedule]:
    """Reads one."""
    request = pb.GetScheduleRequest(schedule_id=schedule_id)
    return (yield from call("GetSchedule", request, pb.GetScheduleResponse)).schedule


def list_request(
    labels: Mapping[str, str] | None, command: str, id_prefix: str, page_size: int
) -> pb.ListSchedulesRequest:
    """The request of the first page."""
    return pb.ListSchedulesRequest(
        labels=labels, command=command, id_prefix=id_prefix, page_size=page_size
    )


def page(request: pb.ListSchedulesRequest) -> Flow[pb.ListSchedulesResponse]:
    """Reads one page."""
    return (yield from call("ListSchedules", request, pb.ListSchedulesResponse))


def update(
    schedule_id: str,
    reason: str,
    etag: str,
    allow_missing: bool,  # noqa: FBT001 - as the others
    changes: ScheduleChanges,
) -> Flow[pb.Schedule]:
    """Changes what is named.

    Raises:
        ValueError: There is nothing to change.
    """
    if not changes:
        raise ValueError("what is to change? there is nothing named")

    def change(schedule: pb.Schedule) -> None:
        rules.change(schedule, changes)

    mask = rules.mask(changes)
    if allow_missing or not rules.has_rules(changes):
        schedule = pb.Schedule(schedule_id=schedule_id, etag=etag)
        change(schedule)
        return (yield from save(schedule, mask, reason, allow_missing=allow_missing))
    return (yield from modify(schedule_id, change, mask, reason, etag))


def modify(
    schedule_id: str,
    change: Callable[[pb.Schedule], None],
    mask: FieldMask,
    reason: str,
    etag: str = "",
) -> Flow[pb.Schedule]:
    """Changes parts of the fields that `mask` names, which change as a whole: they are read first,
    and again if somebody else was faster, unless there is an `etag`.
    """
    for tries_left in reversed(range(_TRIES)):
        schedule = yield from get(schedule_id)
        change(schedule)
        schedule.etag = etag or schedule.etag
        try:
            return (yield from save(schedule, mask, reason))
        except ScheduleChanged:
            if etag or not tries_left:
                raise
    raise AssertionError


def save(
    schedule: pb.Schedule, mask: FieldMask, reason: str, *, allow_missing: bool = False
) -> Flow[pb.Schedule]:
    """Changes the fields that `mask` names to what `schedule` has."""
    request = pb.UpdateScheduleRequest(
        schedule=schedule, update_mask=mask, reason=reason, allow_missing=allow_missing
    )
    return (yield from call("UpdateSchedule", request, pb.UpdateScheduleResponse)).schedule


def delete(schedule_id: str) -> Flow[None]:
    """Removes one."""
    request = pb.DeleteScheduleRequest(schedule_id=schedule_id)
    yield from call("DeleteSchedule", request, pb.DeleteScheduleResponse)


def batch(
    operation: pb.ScheduleOperation, schedule_ids: str | Iterable[str], reason: str
) -> Flow[dict[str, CodeQError]]:
    """Does it to all of these, 1000 a call; what could not be, by id."""
    failures: dict[str, CodeQError] = {}
    named = filters.ids(schedule_ids)
    for at in range(0, len(named), limits.BATCH_SCHEDULES):
        part = named[at : at + limits.BATCH_SCHEDULES]
        request = pb.BatchSchedulesRequest(operation=operation, schedule_ids=part, reason=reason)
        answer = yield from call("BatchSchedules", request, pb.BatchSchedulesResponse)
        failures |= {part[item.index]: from_item(item) for item in answer.failures}
    return failures


def trigger(schedule_id: str, request_key: str | None, timeout: float) -> Flow[pb.Firing]:
    """Fires once, with repeats within `timeout` seconds: the key makes them one."""
    key = request_key or uuid.uuid4().hex
    request = pb.TriggerScheduleRequest(schedule_id=schedule_id, request_key=key)
    patience = Patience(timeout)
    while True:
        try:
            answer = yield from call(
                "TriggerSchedule", request, pb.TriggerScheduleResponse, timeout=patience.left
            )
            return answer.firing
        except CodeQError as error:
            pause = patience.pause(error)
        yield pause


def backfill(schedule_id: str, start: datetime, end: datetime) -> Flow[int]:
    """Fires for a range of the past."""
    request = pb.BackfillScheduleRequest(schedule_id=schedule_id)
    request.start_time.FromDatetime(aware("start", start))
    request.end_time.FromDatetime(aware("end", end))
    answer = yield from call("BackfillSchedule", request, pb.BackfillScheduleResponse)
    return answer.fired_count


def preview(count: int, options: RuleOptions) -> Flow[pb.PreviewScheduleResponse]:
    """Asks when rules would fire."""
    return (yield from preview_spec(rules.rule(**options), count))


def preview_spec(spec: pb.ScheduleSpec, count: int) -> Flow[pb.PreviewScheduleResponse]:
    """The same of a message."""
    request = pb.PreviewScheduleRequest(spec=spec, count=count)
    return (yield from call("PreviewSchedule", request, pb.PreviewScheduleResponse))


def firings_page(request: pb.ListFiringsRequest) -> Flow[pb.ListFiringsResponse]:
    """Reads one page."""
    return (yield from call("ListFirings", request, pb.ListFiringsResponse))


def versions(schedule_id: str) -> Flow[list[pb.ScheduleVersion]]:
    """Reads what is kept of earlier versions."""
    request = pb.ListScheduleVersionsRequest(schedule_id=schedule_id)
    answer = yield from call("ListScheduleVersions", request, pb.ListScheduleVersionsResponse)
    return list(answer.versions)


def rollback(schedule_id: str, version: int, etag: str, reason: str) -> Flow[pb.Schedule]:
    """Goes back to a version."""
    request = pb.RollbackScheduleRequest(
        schedule_id=schedule_id, version=version, etag=etag, reason=reason
    )
    return (yield from call("RollbackSchedule", request, pb.RollbackScheduleResponse)).schedule
