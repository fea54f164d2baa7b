"""Each limit of core/limits.py: the limit itself is accepted, one beyond it is refused with the
path of the field.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from google.protobuf.duration_pb2 import Duration

from codeq.v1 import (
    admin_service_pb2 as admin_pb,
    codeq_service_pb2 as pb,
    schedule_service_pb2 as schedule_pb,
    task_pb2,
)
from codeq_grpc.core import limits
from tests.integration.calling import METHODS
from tests.integration.limit_cases import CASES
from tests.integration.limit_values import (
    LEASE,
    Case,
    claim,
    ms,
    selector,
    spec,
    stream,
    update,
)
from tests.integration.looking import contents
from tests.integration.refusals import told

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.server import Caller, Server


@pytest.mark.parametrize(
    "case", CASES, ids=[f"{i}-{one.rpc}-{one.path}" for i, one in enumerate(CASES)]
)
async def test_the_limit_is_accepted_and_one_beyond_is_refused(
    acme: Caller, admin: Admin, case: Case
) -> None:
    before = contents(admin)
    reason = "PAYLOAD_TOO_LARGE" if case.path.endswith(".data") else "INVALID_FIELD"
    for value in case.bad:
        seen = await told(acme, case.rpc, case.make(value))
        assert seen == ("INVALID_ARGUMENT", reason, case.path), repr(value)[:80]
    assert contents(admin) == before
    for value in case.good:
        code, reason, path = await told(acme, case.rpc, case.make(value))
        assert code in {"OK", "NOT_FOUND"}, (code, reason, path)


@pytest.mark.parametrize(
    ("rpc", "make", "path"),
    [
        ("Claim", lambda wait: claim(wait=wait), "wait"),
        ("GetTask", lambda wait: pb.GetTaskRequest(task_id="x" * 18, wait=wait), "wait"),
    ],
)
async def test_a_wait_is_at_most_a_minute(acme: Caller, rpc: str, make: Any, path: str) -> None:
    for bad in (-1, limits.WAIT_MAX_MS + 1):
        seen = await told(acme, rpc, make(ms(bad)))
        assert seen == ("INVALID_ARGUMENT", "INVALID_FIELD", path)
    call = acme.start(rpc, make(ms(limits.WAIT_MAX_MS)), timeout=0.4)
    assert (await call.code()).name in {"OK", "NOT_FOUND"}


REQUIRED: Final = [
    ("Enqueue", pb.EnqueueRequest(), "task.command"),
    ("Enqueue", spec(command=""), "task.command"),
    ("BatchEnqueue", pb.BatchEnqueueRequest(), "tasks"),
    ("BatchEnqueue", pb.BatchEnqueueRequest(tasks=[{}]), "tasks[0].command"),
    ("Claim", pb.ClaimRequest(), "worker_id"),
    ("Claim", claim(worker_id=""), "worker_id"),
    ("Claim", claim(commands=[]), "commands"),
    ("StreamClaim", pb.StreamClaimRequest(), "max_outstanding"),
    ("StreamClaim", stream(worker_id=""), "worker_id"),
    ("StreamClaim", stream(commands=[]), "commands"),
    ("StreamClaim", stream(max_outstanding=0), "max_outstanding"),
    ("Heartbeat", pb.HeartbeatRequest(), "leases"),
    ("Heartbeat", pb.HeartbeatRequest(leases=[{}]), "leases[0].lease.task_id"),
    ("Complete", pb.CompleteRequest(), "lease.task_id"),
    ("Complete", pb.CompleteRequest(lease={"task_id": "x"}), "lease.fence"),
    ("Fail", pb.FailRequest(), "lease.task_id"),
    ("Abandon", pb.AbandonRequest(), "lease.task_id"),
    ("Report", pb.ReportRequest(), "outcomes"),
    ("Report", pb.ReportRequest(outcomes=[{}]), "outcomes[0]"),
    ("Report", pb.ReportRequest(outcomes=[{"fail": {}}]), "outcomes[0].fail.lease.task_id"),
    ("GetTask", pb.GetTaskRequest(), "task_id"),
    ("ListTasks", pb.ListTasksRequest(), "filter.command"),
    ("WatchTasks", pb.WatchTasksRequest(), "selector.task_ids"),
    ("WatchTasks", pb.WatchTasksRequest(selector={"filter": {}}), "selector.filter.command"),
    ("CancelTasks", pb.CancelTasksRequest(), "selector.task_ids"),
    ("CancelTasks", pb.CancelTasksRequest(selector={"filter": {}}), "selector.filter.command"),
    ("RedriveTasks", pb.RedriveTasksRequest(), "selector.task_ids"),
    ("RedriveTasks", pb.RedriveTasksRequest(selector={"filter": {}}), "selector.filter.command"),
    ("GetQueue", admin_pb.GetQueueRequest(), "command"),
    ("UpdateQueue", admin_pb.UpdateQueueRequest(), "queue.command"),
    ("UpdateQueue", update(command=""), "queue.command"),
    ("PauseQueue", admin_pb.PauseQueueRequest(), "command"),
    ("ResumeQueue", admin_pb.ResumeQueueRequest(), "command"),
    ("PurgeQueue", admin_pb.PurgeQueueRequest(), "command"),
    ("CreateApiKey", admin_pb.CreateApiKeyRequest(), "key.name"),
    ("CreateApiKey", admin_pb.CreateApiKeyRequest(key={"name": "n"}), "key.scopes"),
    ("RevokeApiKey", admin_pb.RevokeApiKeyRequest(), "key_id"),
    ("CreateSchedule", schedule_pb.CreateScheduleRequest(), "schedule.spec.crons"),
    (
        "CreateSchedule",
        schedule_pb.CreateScheduleRequest(schedule={"spec": {"crons": ["@daily"]}}),
        "schedule.task.command",
    ),
    ("GetSchedule", schedule_pb.GetScheduleRequest(), "schedule_id"),
    ("UpdateSchedule", schedule_pb.UpdateScheduleRequest(), "schedule.schedule_id"),
    (
        "UpdateSchedule",
        schedule_pb.UpdateScheduleRequest(
            schedule={"schedule_id": "s"}, update_mask={"paths": ["spec"]}
        ),
        "schedule.spec.crons",
    ),
    (
        "UpdateSchedule",
        schedule_pb.UpdateScheduleRequest(
            schedule={"schedule_id": "s"}, update_mask={"paths": ["task"]}
        ),
        "schedule.task.command",
    ),
    ("DeleteSchedule", schedule_pb.DeleteScheduleRequest(), "schedule_id"),
    ("BatchSchedules", schedule_pb.BatchSchedulesRequest(), "schedule_ids"),
    ("TriggerSchedule", schedule_pb.TriggerScheduleRequest(), "schedule_id"),
    ("BackfillSchedule", schedule_pb.BackfillScheduleRequest(), "schedule_id"),
    ("BackfillSchedule", schedule_pb.BackfillScheduleRequest(schedule_id="s"), "start_time"),
    (
        "BackfillSchedule",
        schedule_pb.BackfillScheduleRequest(schedule_id="s", start_time={"seconds": 1}),
        "end_time",
    ),
    ("PreviewSchedule", schedule_pb.PreviewScheduleRequest(), "spec.crons"),
    ("ListFirings", schedule_pb.ListFiringsRequest(), "schedule_id"),
    ("ListScheduleVersions", schedule_pb.ListScheduleVersionsRequest(), "schedule_id"),
    ("RollbackSchedule", schedule_pb.RollbackScheduleRequest(), "schedule_id"),
    ("RollbackSchedule", schedule_pb.RollbackScheduleRequest(schedule_id="s"), "version"),
]
OPTIONAL: Final = {
    *("AdminQueues", "AdminCleanup", "ListWorkers"),
    *("ListApiKeys", "ListAuditEvents", "ListSchedules"),
}
"""RPCs that accept an empty request."""


async def test_required_fields_are_named_when_they_are_empty(acme: Caller, admin: Admin) -> None:
    before = contents(admin)
    for rpc, request, path in REQUIRED:
        seen = await told(acme, rpc, request)
        assert seen == ("INVALID_ARGUMENT", "INVALID_FIELD", path)
    assert contents(admin) == before
    assert {
        rpc for rpc, request, _ in REQUIRED if not request.ByteSize()
    } == METHODS.keys() - OPTIONAL


@pytest.mark.parametrize("rpc", ["Claim", "StreamClaim"])
async def test_commands_are_checked_before_it_is_asked_whether_they_are_allowed(
    server: Server, rpc: str
) -> None:
    limited = server.caller("acme", "worker-of-render")
    make = {"Claim": claim, "StreamClaim": stream}[rpc]
    for commands, path in ((["OTHER"] * 33, "commands"), (["\n" * 100_000], "commands[0]")):
        seen = await told(limited, rpc, make(commands=commands))
        assert seen == ("INVALID_ARGUMENT", "INVALID_FIELD", path)


async def test_tasks_are_selected_by_ids_or_by_filter_never_both(acme: Caller) -> None:
    both = selector(task_ids=["x" * 18])
    limited = pb.TaskSelector(task_ids=["x" * 18], limit=1)
    paged = pb.TaskSelector(task_ids=["x" * 18], page_token="x")
    for rpc, make in (
        ("CancelTasks", pb.CancelTasksRequest),
        ("RedriveTasks", pb.RedriveTasksRequest),
        ("WatchTasks", pb.WatchTasksRequest),
    ):
        for chosen, name in ((both, "filter"), (limited, "limit"), (paged, "page_token")):
            seen = await told(acme, rpc, make(selector=chosen))
            assert seen == ("INVALID_ARGUMENT", "INVALID_FIELD", f"selector.{name}")


async def test_run_time_and_delay_exclude_each_other(acme: Caller) -> None:
    both = spec(delay=Duration())
    both.task.run_time.GetCurrentTime()
    seen = await told(acme, "Enqueue", both)
    assert seen == ("INVALID_ARGUMENT", "INVALID_FIELD", "task.delay")


async def test_unknown_fields_count_towards_the_size(acme: Caller, admin: Admin) -> None:
    """A newer producer's fields are kept, but no task is too large to be handed out again."""
    before = contents(admin)
    unknown = b"\xc2\x3e" + b"\x80\x80\xc0\x01" + bytes(3 << 20)  # field 1000, 3 MiB
    extended = task_pb2.Payload.FromString(unknown)
    seen = [
        await told(
            acme,
            "Enqueue",
            pb.EnqueueRequest(task=task_pb2.TaskSpec.FromString(b"\x0a\x01C" + unknown)),
        ),
        await told(acme, "Enqueue", spec(payload=extended)),
        await told(acme, "Complete", pb.CompleteRequest(lease=LEASE, result=extended)),
    ]
    assert seen == [
        ("INVALID_ARGUMENT", "PAYLOAD_TOO_LARGE", "task"),
        ("INVALID_ARGUMENT", "PAYLOAD_TOO_LARGE", "task.payload"),
        ("INVALID_ARGUMENT", "PAYLOAD_TOO_LARGE", "result"),
    ]
    error = task_pb2.TaskError.FromString(unknown)
    seen = [await told(acme, "Fail", pb.FailRequest(lease=LEASE, error=error))]
    assert seen == [("INVALID_ARGUMENT", "INVALID_FIELD", "error")]
    assert contents(admin) == before


INTERNAL: Final = {
    **dict.fromkeys(("SECOND", "MINUTE", "HOUR", "DAY"), "a unit"),
    **dict.fromkeys(("MESSAGE_BYTES", "METADATA_BYTES"), "of the transport: test_bad_bytes"),
    **dict.fromkeys(("BATCH_BYTES", "MORE_BYTES"), "of replies: test_claim, test_list_tasks"),
    **dict.fromkeys(("ERROR_BYTES", "HISTORY_BYTES"), "room kept: test_wire_leases, test_sizes"),
    **dict.fromkeys(("BULK_BATCH", "SCRIPT_BATCH"), "how work is cut: no caller sees it"),
    **dict.fromkeys(("HISTORY_ATTEMPTS", "HISTORY_MESSAGE_CHARS"), "of replies: test_attempts"),
    **dict.fromkeys(("HEALTH_CHECKS_PER_ADDRESS", "HEALTH_WATCHES"), "places: test_budgets"),
    "HEALTH_WATCHES_PER_ADDRESS": "places: test_budgets",
    **dict.fromkeys(("HEALTH_BYTES", "HEALTH_BYTES_PER_ADDRESS"), "room: test_budgets"),
    **dict.fromkeys(("API_KEYS", "API_KEY_KEPT_MS"), "how many and how long: store/test_api_keys"),
    **dict.fromkeys(
        ("REQUEST_KEY_MS", "FIRING_KEY_MS"), "of the store: store/test_calendar_firing"
    ),
    "FIRING_PLACE_BYTES": "of tokens: test_schedule_firings",
    "BACKFILLED": "of fire times: test_schedule_firings",
    "NEXT_TIMES": "of replies: test_schedules",
    "MISFIRE_GRACE_DEFAULT_MS": "a default: test_schedule_policies",
    "PREVIEW_DEFAULT": "a default: test_schedules",
    "WAIT_MAX_MS": "a test of its own above",
    "CLEANUP_DEFAULT": "a default: test_cleanup",
    "PAGE_DEFAULT": "a default: test_list_tasks",
    "PRIORITY_DEFAULT": "a default: test_queue_settings",
    "STREAM_BATCH_DEFAULT": "a default: test_sizes",
    "IDLE_INTERVAL_DEFAULT_MS": "a default: test_stream_claim",
}


def test_every_limit_of_the_code_is_in_the_table() -> None:
    """A limit that is new fails here until a case tries it."""
    folder = Path(__file__).parent
    tables = "".join(path.read_text() for path in folder.glob("limit_*.py"))
    tried = set(re.findall(r"limits\.([A-Z_]+)", tables))
    known = {name for name in vars(limits) if name.isupper()}
    assert known - tried == INTERNAL.keys()
