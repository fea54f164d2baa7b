"""Limits of schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from codeq.v1 import schedule_service_pb2 as pb
from codeq_grpc.core import limits
from tests.integration.limit_cases_keys import TOKENS
from tests.integration.limit_values import SMILE, Case, ms, upto

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Fill = Callable[[Any], dict[str, Any]]

BACK: Final = {"start_time": Timestamp(seconds=1), "end_time": Timestamp(seconds=2)}
LABELS: Final = upto(limits.LABELS)


def create(fields: dict[str, Any]) -> pb.CreateScheduleRequest:
    """Of one that fires yearly."""
    given = {"spec": {"crons": ["@yearly"]}, "task": {"command": "C"}, **fields}
    return pb.CreateScheduleRequest(schedule=given)


def update(fields: dict[str, Any]) -> pb.UpdateScheduleRequest:
    """Of one that there is not."""
    return pb.UpdateScheduleRequest(schedule={"schedule_id": "s", **fields})


def _both(fill: Fill, good: tuple[Any, ...], bad: tuple[Any, ...], path: str) -> Iterator[Case]:
    """Of a field that can be set and changed."""
    at = f"schedule.{path}"
    yield Case("CreateSchedule", lambda value: create(fill(value)), good, bad, at)
    yield Case("UpdateSchedule", lambda value: update(fill(value)), good, bad, at)


def _forbidden(name: str, value: Any) -> Iterator[Case]:
    """Of a field of the task that only a firing sets."""
    yield from _both(lambda v: {"task": {"command": "C", name: v}}, (), (value,), f"task.{name}")


def _rule(fill: Fill, good: tuple[Any, ...], bad: tuple[Any, ...], path: str) -> Iterator[Case]:
    """Of a field of a rule."""
    yield from _both(lambda value: {"spec": fill(value)}, good, bad, f"spec.{path}")
    yield Case(
        "PreviewSchedule",
        lambda value: pb.PreviewScheduleRequest(spec=fill(value)),
        good,
        bad,
        f"spec.{path}",
    )


def _named(rpc: str, **more: Any) -> Case:
    """Of the name of a schedule."""
    make: Any = getattr(pb, f"{rpc}Request")
    bad = ("", "a b", "a/b", "é", "{}", "x" * (limits.SCHEDULE_ID_CHARS + 1))
    good = ("x", "a.B:1_-", "x" * limits.SCHEDULE_ID_CHARS)
    return Case(rpc, lambda value: make(schedule_id=value, **more), good, bad, "schedule_id")


SPEC: Final = {"crons": ["@yearly"]}
EVERY: Final = upto(limits.SCHEDULE_EVERY_MAX_MS, limits.SCHEDULE_EVERY_MIN_MS)
GRACE: Final = upto(limits.MISFIRE_GRACE_MAX_MS, limits.MISFIRE_GRACE_MIN_MS)
FORBIDDEN: Final[dict[str, Any]] = {
    "run_time": Timestamp(seconds=4_000_000_000),
    "expire_time": Timestamp(seconds=4_000_000_000),
    "depends_on": ["x" * 18],
    "idempotency_key": "key",
    "idempotency_ttl": Duration(seconds=60),
    "conflict_policy": 1,
}

SCHEDULES: Final = [
    Case(
        "CreateSchedule",
        lambda name: create({"schedule_id": name}),
        ("", "x", "a.B:1_-", "x" * limits.SCHEDULE_ID_CHARS),
        ("a b", "a/b", "é", "x" * (limits.SCHEDULE_ID_CHARS + 1)),
        "schedule.schedule_id",
    ),
    Case(
        "UpdateSchedule",
        lambda name: update({"schedule_id": name}),
        ("x", "x" * limits.SCHEDULE_ID_CHARS),
        ("", "a b", "x" * (limits.SCHEDULE_ID_CHARS + 1)),
        "schedule.schedule_id",
    ),
    *_both(lambda n: {"description": SMILE * n}, *upto(limits.DESCRIPTION_CHARS), "description"),
    *_rule(lambda n: {"crons": ["@yearly"] * n}, *upto(limits.SCHEDULE_CRONS), "crons"),
    *_rule(
        lambda text: {"crons": [text]},
        ("* * * * *", "0 0 0 * * *", "@hourly", "@midnight", "0 3 * * 1-5", "5,6 0 L * *"),
        ("", "x", "* * * *", "60 * * * *", "@reboot", "* * * * * * *", "0 0 31 2 *", "\0"),
        "crons[0]",
    ),
    *_rule(
        lambda n: {"crons": ["0 0 * * *" + " " * (n - 9)]}, *upto(limits.CRON_CHARS), "crons[0]"
    ),
    *_rule(lambda n: {"every": ms(n)}, *EVERY, "every"),
    *_rule(lambda n: {"every": Duration(seconds=1, nanos=n)}, (1_000_000,), (1,), "every"),
    *_rule(
        lambda n: {"times": [Timestamp(seconds=4_000_000_000 + i) for i in range(n)]},
        *upto(limits.SCHEDULE_TIMES),
        "times",
    ),
    *_rule(lambda n: {"times": [Timestamp(seconds=n)]}, (0, 4_000_000_000), (-1,), "times[0]"),
    *_rule(
        lambda zone: {**SPEC, "time_zone": zone},
        ("", "UTC", "Europe/Berlin"),
        ("Mars", "../etc", "x" * 1_000, "\0"),
        "time_zone",
    ),
    *_rule(lambda n: {**SPEC, "start_time": Timestamp(seconds=n)}, (0, 1), (-1,), "start_time"),
    *_rule(
        lambda n: {**SPEC, "start_time": Timestamp(seconds=9), "end_time": Timestamp(seconds=n)},
        (10,),
        (9, 8),
        "end_time",
    ),
    *_rule(lambda n: {**SPEC, "jitter": ms(n)}, *upto(limits.SCHEDULE_JITTER_MAX_MS, 0), "jitter"),
    *_both(lambda n: {"max_firings": n}, *upto(limits.FIRINGS_MAX, 0), "max_firings"),
    *_both(
        lambda n: {"pause_after_failures": n}, *upto(limits.FAILURES_MAX, 0), "pause_after_failures"
    ),
    *_both(lambda n: {"misfire_grace": ms(n)}, *GRACE, "misfire_grace"),
    *_both(
        lambda n: {"paused": True, "pause_reason": SMILE * n},
        *upto(limits.PAUSE_REASON_CHARS),
        "pause_reason",
    ),
    *_both(lambda n: {"labels": {str(i): "" for i in range(n)}}, *LABELS, "labels"),
    *_both(
        lambda n: {"task": {"command": "C", "payload": {"data": bytes(n)}}},
        (limits.SCHEDULE_BYTES - 1_024,),
        (limits.SCHEDULE_BYTES + 1,),
        "task.payload.data",
    ),
    Case(
        "CreateSchedule",
        lambda n: create(
            {"task": {"command": "C", "payload": {"data": bytes(limits.SCHEDULE_BYTES - n)}}}
        ),
        (100,),
        (0,),
        "schedule",
    ),
    *(case for name, value in FORBIDDEN.items() for case in _forbidden(name, value)),
    Case(
        "UpdateSchedule",
        lambda path: pb.UpdateScheduleRequest(
            schedule={"schedule_id": "s"}, update_mask={"paths": [path]}
        ),
        ("description", "paused", "labels"),
        ("", "etag", "version", "status", "system", "created_by", "schedule_id", "spec.crons"),
        "update_mask.paths[0]",
    ),
    Case(
        "UpdateSchedule",
        lambda etag: update({"etag": etag}),
        ("", "0" * 14 + "-1"),
        ("1", "x", "0" * 14 + "-0", "x" * 1_000),
        "schedule.etag",
    ),
    Case(
        "UpdateSchedule",
        lambda n: pb.UpdateScheduleRequest(schedule={"schedule_id": "s"}, reason=SMILE * n),
        *upto(limits.REASON_CHARS),
        "reason",
    ),
    *map(_named, ("GetSchedule", "DeleteSchedule", "TriggerSchedule", "ListFirings")),
    _named("ListScheduleVersions"),
    _named("BackfillSchedule", **BACK),
    _named("RollbackSchedule", version=1),
    Case(
        "ListSchedules",
        lambda n: pb.ListSchedulesRequest(page_size=n),
        (0, 1, limits.PAGE_SCHEDULES),
        (-1, limits.PAGE_SCHEDULES + 1),
        "page_size",
    ),
    Case(
        "ListSchedules",
        lambda token: pb.ListSchedulesRequest(page_token=token),
        ("",),
        TOKENS,
        "page_token",
    ),
    Case(
        "ListSchedules",
        lambda n: pb.ListSchedulesRequest(labels={str(i): "" for i in range(n)}),
        *LABELS,
        "labels",
    ),
    Case(
        "ListSchedules",
        lambda prefix: pb.ListSchedulesRequest(id_prefix=prefix),
        ("", "a.", "x" * limits.SCHEDULE_ID_CHARS),
        ("a b", "x" * (limits.SCHEDULE_ID_CHARS + 1)),
        "id_prefix",
    ),
    Case(
        "ListSchedules",
        lambda command: pb.ListSchedulesRequest(command=command),
        ("", "C"),
        ("a b",),
        "command",
    ),
    Case(
        "ListFirings",
        lambda n: pb.ListFiringsRequest(schedule_id="s", page_size=n),
        (0, 1, limits.PAGE_FIRINGS),
        (-1, limits.PAGE_FIRINGS + 1),
        "page_size",
    ),
    Case(
        "ListFirings",
        lambda token: pb.ListFiringsRequest(schedule_id="s", page_token=token),
        ("",),
        TOKENS,
        "page_token",
    ),
    Case(
        "BatchSchedules",
        lambda n: pb.BatchSchedulesRequest(
            operation=pb.SCHEDULE_OPERATION_PAUSE, schedule_ids=[f"s{i}" for i in range(n)]
        ),
        *upto(limits.BATCH_SCHEDULES, 1),
        "schedule_ids",
    ),
    Case(
        "BatchSchedules",
        lambda name: pb.BatchSchedulesRequest(
            operation=pb.SCHEDULE_OPERATION_PAUSE, schedule_ids=["s", name]
        ),
        ("t", "x" * limits.SCHEDULE_ID_CHARS),
        ("", "a b"),
        "schedule_ids[1]",
    ),
    Case(
        "BatchSchedules",
        lambda operation: pb.BatchSchedulesRequest(operation=operation, schedule_ids=["s"]),
        (1, 2, 3),
        (0, 4, -1),
        "operation",
    ),
    Case(
        "BatchSchedules",
        lambda n: pb.BatchSchedulesRequest(
            operation=pb.SCHEDULE_OPERATION_PAUSE, schedule_ids=["s"], reason=SMILE * n
        ),
        *upto(limits.PAUSE_REASON_CHARS),
        "reason",
    ),
    Case(
        "TriggerSchedule",
        lambda n: pb.TriggerScheduleRequest(schedule_id="s", request_key=SMILE * n),
        *upto(limits.REQUEST_KEY_CHARS),
        "request_key",
    ),
    Case(
        "BackfillSchedule",
        lambda n: pb.BackfillScheduleRequest(
            schedule_id="s", start_time=Timestamp(seconds=9), end_time=Timestamp(seconds=n)
        ),
        (10,),
        (9, 8, -1),
        "end_time",
    ),
    Case(
        "BackfillSchedule",
        lambda n: pb.BackfillScheduleRequest(
            schedule_id="s", start_time=Timestamp(seconds=n), end_time=Timestamp(seconds=9)
        ),
        (0, 8),
        (-1,),
        "start_time",
    ),
    Case(
        "PreviewSchedule",
        lambda n: pb.PreviewScheduleRequest(spec=SPEC, count=n),
        (0, 1, limits.PREVIEW_MAX),
        (-1, limits.PREVIEW_MAX + 1),
        "count",
    ),
    Case(
        "RollbackSchedule",
        lambda n: pb.RollbackScheduleRequest(schedule_id="s", version=n),
        (1, 2**53 - 1),
        (0, -1, 2**53),
        "version",
    ),
    Case(
        "RollbackSchedule",
        lambda etag: pb.RollbackScheduleRequest(schedule_id="s", version=1, etag=etag),
        ("", "0" * 14 + "-1"),
        ("1", "x" * 1_000),
        "etag",
    ),
    Case(
        "RollbackSchedule",
        lambda n: pb.RollbackScheduleRequest(schedule_id="s", version=1, reason=SMILE * n),
        *upto(limits.REASON_CHARS),
        "reason",
    ),
]
