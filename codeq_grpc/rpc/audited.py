"""The one table from RPC to what the audit trail has of it. A test holds it against the
descriptors.
"""

from __future__ import annotations

import enum
import itertools
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from codeq.v1 import codeq_service_pb2 as pb, schedule_service_pb2 as schedule_pb
from codeq_grpc.core import limits
from codeq_grpc.wire import audit as told

if TYPE_CHECKING:
    from collections.abc import Callable

    from codeq.v1 import admin_service_pb2 as admin_pb

    Tell = Callable[[Any, Any], str]


class When(enum.Enum):
    """Which calls have an event."""

    ALWAYS = "every call"
    """What operators change."""
    DATA = "denials; every call where the setting asks for it"
    """What producers and workers change, thousands of times a second."""
    DENIALS = "denials"
    """Reads."""
    NEVER = "no call"
    """Nobody is denied these."""


class Audited(NamedTuple):
    """`tell` says what a call was about, of its request and its response, None if there is none;
    the request may be anything that can be parsed.
    """

    when: When
    tell: Tell = lambda _request, _response: ""


def _denials() -> Audited:
    return Audited(When.DENIALS)


def _command(request: Any, _: Any) -> str:
    return str(request.command)


def _enqueue(request: pb.EnqueueRequest, response: bytes | None) -> str:
    made = f": {pb.EnqueueResponse.FromString(response).task_id}" if response else ""
    return request.task.command + made


def _batch_enqueue(request: pb.BatchEnqueueRequest, response: bytes | None) -> str:
    count = len(request.tasks)
    if response:
        count -= len(pb.BatchEnqueueResponse.FromString(response).failures)
    # It may be a request that is refused because there are far too many.
    specs = itertools.islice(request.tasks, limits.BATCH_TASKS)
    commands = dict.fromkeys(spec.command for spec in specs)
    return told.counted(told.some(commands), count)


def _claim(request: pb.ClaimRequest, response: bytes | None) -> str:
    commands = told.some(request.commands)
    if response is None:
        return commands
    return told.counted(commands, len(pb.ClaimResponse.FromString(response).tasks))


def _stream_claim(request: pb.StreamClaimRequest, _: None) -> str:
    return told.some(request.commands)


def _heartbeat(request: pb.HeartbeatRequest, _: Any) -> str:
    return told.tasks(request.leases, lambda item: item.lease.task_id)


def _lease(request: pb.CompleteRequest | pb.FailRequest | pb.AbandonRequest, _: Any) -> str:
    return request.lease.task_id


def _report(request: pb.ReportRequest, _: Any) -> str:
    return told.tasks(request.outcomes, _task_of)


def _task_of(outcome: pb.Outcome) -> str:
    kind = outcome.WhichOneof("outcome")
    return getattr(outcome, kind).lease.task_id if kind else ""


def _cancel(request: pb.CancelTasksRequest, response: pb.CancelTasksResponse | None) -> str:
    chosen = told.selected(request.selector)
    if response is None:
        return chosen
    return told.counted(chosen, response.cancelled_count + response.requested_count)


def _redrive(request: pb.RedriveTasksRequest, response: pb.RedriveTasksResponse | None) -> str:
    chosen = told.selected(request.selector)
    return chosen if response is None else told.counted(chosen, response.redriven_count)


def _cleanup(request: pb.AdminCleanupRequest, response: pb.AdminCleanupResponse | None) -> str:
    chosen = told.states(request.states) or "all that ended"
    return chosen if response is None else told.counted(chosen, response.deleted)


def _update(request: admin_pb.UpdateQueueRequest, _: Any) -> str:
    names = list(request.update_mask.paths) or [
        field.name for field, _ in request.queue.ListFields() if field.name != "command"
    ]
    return f"{request.queue.command} ({told.some(names)})" if names else request.queue.command


def _purge(
    request: admin_pb.PurgeQueueRequest, response: admin_pb.PurgeQueueResponse | None
) -> str:
    if response is None:
        return request.command
    return told.counted(request.command, response.purged_count)


def _create_key(
    request: admin_pb.CreateApiKeyRequest, response: admin_pb.CreateApiKeyResponse | None
) -> str:
    name = request.key.name
    return name if response is None else f"{response.key.key_id} ({name})"


def _revoke_key(request: admin_pb.RevokeApiKeyRequest, _: Any) -> str:
    return request.key_id


_OPERATIONS: Final[dict[int, str]] = {
    schedule_pb.SCHEDULE_OPERATION_PAUSE: "PAUSE",
    schedule_pb.SCHEDULE_OPERATION_RESUME: "RESUME",
    schedule_pb.SCHEDULE_OPERATION_DELETE: "DELETE",
}


def _create_schedule(
    request: schedule_pb.CreateScheduleRequest,
    response: schedule_pb.CreateScheduleResponse | None,
) -> str:
    return (response or request).schedule.schedule_id


def _update_schedule(request: schedule_pb.UpdateScheduleRequest, _: Any) -> str:
    schedule_id, names = request.schedule.schedule_id, list(request.update_mask.paths)
    return f"{schedule_id} ({told.some(names)})" if names else schedule_id


def _schedule(request: Any, _: Any) -> str:
    return str(request.schedule_id)


def _batch_schedules(
    request: schedule_pb.BatchSchedulesRequest,
    response: schedule_pb.BatchSchedulesResponse | None,
) -> str:
    operation = _OPERATIONS.get(request.operation, "")
    what = f"{operation} {told.some(request.schedule_ids)}".strip()
    if response is None:
        return what
    return f"{what}: {len(request.schedule_ids) - len(response.failures)} schedules"


def _trigger(
    request: schedule_pb.TriggerScheduleRequest,
    response: schedule_pb.TriggerScheduleResponse | None,
) -> str:
    made = response.firing.task_id or response.firing.skip_reason if response else ""
    return f"{request.schedule_id}: {made}" if made else request.schedule_id


def _backfill(
    request: schedule_pb.BackfillScheduleRequest,
    response: schedule_pb.BackfillScheduleResponse | None,
) -> str:
    if response is None:
        return request.schedule_id
    return told.counted(request.schedule_id, response.fired_count)


def _rollback(request: schedule_pb.RollbackScheduleRequest, _: Any) -> str:
    return f"{request.schedule_id} (to version {request.version})"


_QUEUE: Final = "/codeq.v1.CodeQService/"
_ADMIN: Final = "/codeq.v1.AdminService/"
_SCHEDULES: Final = "/codeq.v1.ScheduleService/"
_HEALTH: Final = "/grpc.health.v1.Health/"

AUDITED: Final[dict[str, Audited]] = {
    f"{_QUEUE}Enqueue": Audited(When.DATA, _enqueue),
    f"{_QUEUE}BatchEnqueue": Audited(When.DATA, _batch_enqueue),
    f"{_QUEUE}Claim": Audited(When.DATA, _claim),
    f"{_QUEUE}StreamClaim": Audited(When.DATA, _stream_claim),
    f"{_QUEUE}Heartbeat": Audited(When.DATA, _heartbeat),
    f"{_QUEUE}Complete": Audited(When.DATA, _lease),
    f"{_QUEUE}Fail": Audited(When.DATA, _lease),
    f"{_QUEUE}Abandon": Audited(When.DATA, _lease),
    f"{_QUEUE}Report": Audited(When.DATA, _report),
    f"{_QUEUE}GetTask": _denials(),
    f"{_QUEUE}ListTasks": _denials(),
    f"{_QUEUE}WatchTasks": _denials(),
    f"{_QUEUE}CancelTasks": Audited(When.ALWAYS, _cancel),
    f"{_QUEUE}RedriveTasks": Audited(When.ALWAYS, _redrive),
    f"{_QUEUE}AdminQueues": _denials(),
    f"{_QUEUE}AdminCleanup": Audited(When.ALWAYS, _cleanup),
    f"{_ADMIN}GetQueue": _denials(),
    f"{_ADMIN}UpdateQueue": Audited(When.ALWAYS, _update),
    f"{_ADMIN}PauseQueue": Audited(When.ALWAYS, _command),
    f"{_ADMIN}ResumeQueue": Audited(When.ALWAYS, _command),
    f"{_ADMIN}PurgeQueue": Audited(When.ALWAYS, _purge),
    f"{_ADMIN}ListWorkers": _denials(),
    f"{_ADMIN}CreateApiKey": Audited(When.ALWAYS, _create_key),
    f"{_ADMIN}ListApiKeys": _denials(),
    f"{_ADMIN}RevokeApiKey": Audited(When.ALWAYS, _revoke_key),
    f"{_ADMIN}ListAuditEvents": _denials(),
    f"{_SCHEDULES}CreateSchedule": Audited(When.ALWAYS, _create_schedule),
    f"{_SCHEDULES}GetSchedule": _denials(),
    f"{_SCHEDULES}ListSchedules": _denials(),
    f"{_SCHEDULES}UpdateSchedule": Audited(When.ALWAYS, _update_schedule),
    f"{_SCHEDULES}DeleteSchedule": Audited(When.ALWAYS, _schedule),
    f"{_SCHEDULES}BatchSchedules": Audited(When.ALWAYS, _batch_schedules),
    f"{_SCHEDULES}TriggerSchedule": Audited(When.ALWAYS, _trigger),
    f"{_SCHEDULES}BackfillSchedule": Audited(When.ALWAYS, _backfill),
    f"{_SCHEDULES}PreviewSchedule": _denials(),
    f"{_SCHEDULES}ListFirings": _denials(),
    f"{_SCHEDULES}ListScheduleVersions": _denials(),
    f"{_SCHEDULES}RollbackSchedule": Audited(When.ALWAYS, _rollback),
    f"{_HEALTH}Check": Audited(When.NEVER),
    f"{_HEALTH}Watch": Audited(When.NEVER),
    f"{_HEALTH}List": Audited(When.NEVER),
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": _denials(),
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": _denials(),
}
