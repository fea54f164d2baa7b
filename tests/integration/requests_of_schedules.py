"""Requests of ScheduleService with every field set; see `requests`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from codeq.v1 import schedule_service_pb2 as pb, task_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

_MINUTE: Final = Duration(seconds=60)
_NAME: Final = "nightly"
_ETAG: Final = f"{'0' * 14}-1"


def _rule() -> pb.ScheduleSpec:
    return pb.ScheduleSpec(
        crons=["0 3 * * *"],
        every=Duration(seconds=86_400),
        times=[Timestamp(seconds=4_000_000_000)],
        time_zone="Europe/Berlin",
        start_time=Timestamp(seconds=3_000_000_000),
        end_time=Timestamp(seconds=5_000_000_000),
        jitter=_MINUTE,
    )


def _task(policy: task_pb2.RetryPolicy) -> task_pb2.TaskSpec:
    return task_pb2.TaskSpec(
        command="RENDER",
        payload=task_pb2.Payload(data=b'"{{fire_time}}"', content_type="application/json"),
        priority=5,
        delay=_MINUTE,
        lease_duration=_MINUTE,
        attempt_timeout=_MINUTE,
        retry_policy=policy,
        concurrency_key="key",
        labels={"label": "value"},
        headers={"traceparent": "00-1-2-01"},
    )


def _schedule(policy: task_pb2.RetryPolicy, **more: Any) -> pb.Schedule:
    return pb.Schedule(
        schedule_id=_NAME,
        description="d",
        spec=_rule(),
        task=_task(policy),
        overlap_policy=pb.OVERLAP_POLICY_SKIP,
        misfire_policy=pb.MISFIRE_POLICY_SKIP,
        misfire_grace=_MINUTE,
        max_firings=9,
        pause_after_failures=9,
        paused=True,
        pause_reason="why",
        labels={"label": "value"},
        **more,
    )


def of_schedules(policy: task_pb2.RetryPolicy) -> Iterator[tuple[str, Message]]:
    """The first one makes one."""
    yield "CreateSchedule", pb.CreateScheduleRequest(schedule=_schedule(policy))
    names = [f.name for f, _ in _schedule(policy).ListFields() if f.name != "schedule_id"]
    for mask, etag in ((names, ""), ([], _ETAG)):
        yield (
            "UpdateSchedule",
            pb.UpdateScheduleRequest(
                schedule=_schedule(policy, etag=etag),
                update_mask={"paths": mask},
                reason="why",
                allow_missing=True,
            ),
        )
    yield "GetSchedule", pb.GetScheduleRequest(schedule_id=_NAME)
    yield (
        "ListSchedules",
        pb.ListSchedulesRequest(
            page_size=1, labels={"label": "value"}, command="RENDER", id_prefix="n"
        ),
    )
    yield "TriggerSchedule", pb.TriggerScheduleRequest(schedule_id=_NAME, request_key="key")
    times = Timestamp(seconds=1), Timestamp(seconds=2)
    yield (
        "BackfillSchedule",
        pb.BackfillScheduleRequest(schedule_id=_NAME, start_time=times[0], end_time=times[1]),
    )
    yield "PreviewSchedule", pb.PreviewScheduleRequest(spec=_rule(), count=1)
    yield "ListFirings", pb.ListFiringsRequest(schedule_id=_NAME, page_size=1)
    yield "ListScheduleVersions", pb.ListScheduleVersionsRequest(schedule_id=_NAME)
    yield (
        "RollbackSchedule",
        pb.RollbackScheduleRequest(schedule_id=_NAME, version=1, etag=_ETAG, reason="why"),
    )
    resume = pb.SCHEDULE_OPERATION_RESUME
    yield (
        "BatchSchedules",
        pb.BatchSchedulesRequest(operation=resume, schedule_ids=[_NAME], reason="why"),
    )
    yield "DeleteSchedule", pb.DeleteScheduleRequest(schedule_id=_NAME)
