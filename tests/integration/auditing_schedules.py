"""Audited calls about schedules; see `auditing`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from codeq.v1 import schedule_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

_BACK: Final = {"start_time": {"seconds": 1}, "end_time": {"seconds": 2}}


def _made(**fields: Any) -> pb.Schedule:
    given: dict[str, Any] = {"spec": {"crons": ["@daily"]}, "task": {"command": "RENDER"}, **fields}
    return pb.Schedule(schedule_id="nightly", **given)


GOOD: Final[dict[str, tuple[Callable[[str], Message], str, str]]] = {
    "CreateSchedule": (lambda _: pb.CreateScheduleRequest(schedule=_made()), "nightly", ""),
    "UpdateSchedule": (
        lambda _: pb.UpdateScheduleRequest(
            schedule=_made(),
            update_mask={"paths": ["description", "labels"]},
            reason="tidy",
            allow_missing=True,
        ),
        "nightly (description, labels)",
        "tidy",
    ),
    "BatchSchedules": (
        lambda _: pb.BatchSchedulesRequest(
            operation=pb.SCHEDULE_OPERATION_PAUSE, schedule_ids=["a", "b"], reason="outage"
        ),
        "PAUSE a, b: 0 schedules",
        "outage",
    ),
    "DeleteSchedule": (lambda _: pb.DeleteScheduleRequest(schedule_id="nightly"), "", ""),
    "TriggerSchedule": (lambda _: pb.TriggerScheduleRequest(schedule_id="nightly"), "", ""),
    "BackfillSchedule": (
        lambda _: pb.BackfillScheduleRequest(schedule_id="nightly", **_BACK),
        "",
        "",
    ),
    "RollbackSchedule": (
        lambda _: pb.RollbackScheduleRequest(schedule_id="nightly", version=1),
        "",
        "",
    ),
}
BAD: Final[dict[str, Message]] = {
    "CreateSchedule": pb.CreateScheduleRequest(),
    "UpdateSchedule": pb.UpdateScheduleRequest(),
    "BatchSchedules": pb.BatchSchedulesRequest(operation=99, schedule_ids=["a"]),  # type: ignore[arg-type]
    "DeleteSchedule": pb.DeleteScheduleRequest(),
    "TriggerSchedule": pb.TriggerScheduleRequest(schedule_id="no name"),
    "BackfillSchedule": pb.BackfillScheduleRequest(schedule_id="nightly"),
    "RollbackSchedule": pb.RollbackScheduleRequest(schedule_id="nightly"),
}
