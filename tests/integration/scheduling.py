"""Schedules, in few words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.timestamp_pb2 import Timestamp

from codeq.v1 import schedule_service_pb2 as pb, task_pb2
from tests.integration.calling import ask
from tests.integration.operating import seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.server import Caller


def at(ms: int) -> Timestamp:
    """A time."""
    time = Timestamp()
    time.FromMilliseconds(ms)
    return time


def spec(
    *crons: str, every: float = 0, times: Sequence[int] = (), jitter: float = 0, **more: Any
) -> pb.ScheduleSpec:
    """A rule; every and jitter in seconds, times in ms."""
    rule = pb.ScheduleSpec(crons=crons, times=map(at, times), **more)
    if every:
        rule.every.CopyFrom(seconds(every))
    if jitter:
        rule.jitter.CopyFrom(seconds(jitter))
    return rule


def schedule(schedule_id: str = "nightly", *crons: str, **fields: Any) -> pb.Schedule:
    """One that enqueues RENDER; yearly, unless a rule is given."""
    grace = fields.pop("grace", None)
    rule = {name: fields.pop(name) for name in ("every", "times", "jitter") if name in fields}
    if crons or rule:
        fields["spec"] = spec(*crons, **rule)
    given = {"spec": spec("@yearly"), "task": task_pb2.TaskSpec(command="RENDER"), **fields}
    message = pb.Schedule(schedule_id=schedule_id, **given)
    if grace is not None:
        message.misfire_grace.CopyFrom(seconds(grace))
    return message


async def create(
    caller: Caller, schedule_id: str = "nightly", *crons: str, **fields: Any
) -> pb.Schedule:
    """A new one."""
    request = pb.CreateScheduleRequest(schedule=schedule(schedule_id, *crons, **fields))
    response: pb.CreateScheduleResponse = await ask(caller, "CreateSchedule", request)
    return response.schedule


async def get(caller: Caller, schedule_id: str = "nightly") -> pb.Schedule:
    """One of them."""
    request = pb.GetScheduleRequest(schedule_id=schedule_id)
    response: pb.GetScheduleResponse = await ask(caller, "GetSchedule", request)
    return response.schedule


async def update(
    caller: Caller,
    schedule_id: str = "nightly",
    mask: Sequence[str] = (),
    reason: str = "",
    *,
    make: bool = False,
    **fields: Any,
) -> pb.Schedule:
    """After a change."""
    request = pb.UpdateScheduleRequest(
        schedule=pb.Schedule(schedule_id=schedule_id, **fields),
        update_mask={"paths": mask},
        reason=reason,
        allow_missing=make,
    )
    response: pb.UpdateScheduleResponse = await ask(caller, "UpdateSchedule", request)
    return response.schedule


async def delete(caller: Caller, schedule_id: str = "nightly") -> None:
    """Removes one."""
    await ask(caller, "DeleteSchedule", pb.DeleteScheduleRequest(schedule_id=schedule_id))


async def batch(
    caller: Caller, operation: str, *schedule_ids: str, reason: str = ""
) -> pb.BatchSchedulesResponse:
    """PAUSE, RESUME or DELETE."""
    request = pb.BatchSchedulesRequest(
        operation=f"SCHEDULE_OPERATION_{operation}", schedule_ids=schedule_ids, reason=reason
    )
    response: pb.BatchSchedulesResponse = await ask(caller, "BatchSchedules", request)
    return response


async def trigger(caller: Caller, schedule_id: str = "nightly", key: str = "") -> pb.Firing:
    """What came of it."""
    request = pb.TriggerScheduleRequest(schedule_id=schedule_id, request_key=key)
    response: pb.TriggerScheduleResponse = await ask(caller, "TriggerSchedule", request)
    return response.firing


async def backfill(caller: Caller, schedule_id: str, start_ms: int, end_ms: int) -> int:
    """How many tasks it made."""
    request = pb.BackfillScheduleRequest(
        schedule_id=schedule_id, start_time=at(start_ms), end_time=at(end_ms)
    )
    response: pb.BackfillScheduleResponse = await ask(caller, "BackfillSchedule", request)
    return response.fired_count


async def preview(caller: Caller, rule: pb.ScheduleSpec, count: int = 0) -> list[int]:
    """Fire times in ms."""
    request = pb.PreviewScheduleRequest(spec=rule, count=count)
    response: pb.PreviewScheduleResponse = await ask(caller, "PreviewSchedule", request)
    return [time.ToMilliseconds() for time in response.times]


async def firings(
    caller: Caller, schedule_id: str = "nightly", size: int = 1_000
) -> list[pb.Firing]:
    """Every one, the oldest first."""
    found: list[pb.Firing] = []
    token = ""
    while True:
        request = pb.ListFiringsRequest(schedule_id=schedule_id, page_size=size, page_token=token)
        response: pb.ListFiringsResponse = await ask(caller, "ListFirings", request)
        found += response.firings
        token = response.next_page_token
        if not token:
            return found[::-1]


async def listed(caller: Caller, size: int = 0, **fields: Any) -> list[str]:
    """Ids on all pages of ListSchedules."""
    found: list[str] = []
    token = ""
    while True:
        request = pb.ListSchedulesRequest(page_size=size, page_token=token, **fields)
        response: pb.ListSchedulesResponse = await ask(caller, "ListSchedules", request)
        found += [one.schedule_id for one in response.schedules]
        token = response.next_page_token
        if not token:
            return found


async def versions(caller: Caller, schedule_id: str = "nightly") -> list[pb.ScheduleVersion]:
    """The newest first."""
    request = pb.ListScheduleVersionsRequest(schedule_id=schedule_id)
    response: pb.ListScheduleVersionsResponse = await ask(caller, "ListScheduleVersions", request)
    return list(response.versions)


async def rollback(
    caller: Caller, version: int, schedule_id: str = "nightly", *, etag: str = "", reason: str = ""
) -> pb.Schedule:
    """After it."""
    request = pb.RollbackScheduleRequest(
        schedule_id=schedule_id, version=version, etag=etag, reason=reason
    )
    response: pb.RollbackScheduleResponse = await ask(caller, "RollbackSchedule", request)
    return response.schedule
