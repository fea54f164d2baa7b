"""The one table from RPC to scope. What is not in it is denied; a test holds it against the
descriptors.
"""

from __future__ import annotations

import enum
from typing import Final

from codeq_grpc.core.principal import Scope


class Access(enum.Enum):
    """Access that is not a matter of scopes."""

    OPEN = "open"
    """Anybody."""
    ANY_CREDENTIAL = "any credential"
    """Whoever has a valid credential."""


_QUEUE: Final = "/codeq.v1.CodeQService/"
_ADMIN: Final = "/codeq.v1.AdminService/"
_SCHEDULES: Final = "/codeq.v1.ScheduleService/"
_HEALTH: Final = "/grpc.health.v1.Health/"

PERMISSIONS: Final[dict[str, Scope | Access]] = {
    f"{_QUEUE}Enqueue": Scope.TASKS_ENQUEUE,
    f"{_QUEUE}BatchEnqueue": Scope.TASKS_ENQUEUE,
    f"{_QUEUE}Claim": Scope.LEASES_CLAIM,
    f"{_QUEUE}StreamClaim": Scope.LEASES_CLAIM,
    f"{_QUEUE}Heartbeat": Scope.LEASES_CLAIM,
    f"{_QUEUE}Complete": Scope.LEASES_CLAIM,
    f"{_QUEUE}Fail": Scope.LEASES_CLAIM,
    f"{_QUEUE}Abandon": Scope.LEASES_CLAIM,
    f"{_QUEUE}Report": Scope.LEASES_CLAIM,
    f"{_QUEUE}GetTask": Scope.TASKS_READ,
    f"{_QUEUE}ListTasks": Scope.TASKS_READ,
    f"{_QUEUE}WatchTasks": Scope.TASKS_READ,
    f"{_QUEUE}CancelTasks": Scope.TASKS_CANCEL,
    f"{_QUEUE}RedriveTasks": Scope.QUEUES_ADMIN,
    f"{_QUEUE}AdminQueues": Scope.QUEUES_READ,
    f"{_QUEUE}AdminCleanup": Scope.QUEUES_ADMIN,
    f"{_ADMIN}GetQueue": Scope.QUEUES_READ,
    f"{_ADMIN}UpdateQueue": Scope.QUEUES_ADMIN,
    f"{_ADMIN}PauseQueue": Scope.QUEUES_ADMIN,
    f"{_ADMIN}ResumeQueue": Scope.QUEUES_ADMIN,
    f"{_ADMIN}PurgeQueue": Scope.QUEUES_ADMIN,
    f"{_ADMIN}ListWorkers": Scope.QUEUES_READ,
    f"{_ADMIN}CreateApiKey": Scope.KEYS_ADMIN,
    f"{_ADMIN}ListApiKeys": Scope.KEYS_ADMIN,
    f"{_ADMIN}RevokeApiKey": Scope.KEYS_ADMIN,
    f"{_ADMIN}ListAuditEvents": Scope.AUDIT_READ,
    f"{_SCHEDULES}CreateSchedule": Scope.SCHEDULES_WRITE,
    f"{_SCHEDULES}GetSchedule": Scope.SCHEDULES_READ,
    f"{_SCHEDULES}ListSchedules": Scope.SCHEDULES_READ,
    f"{_SCHEDULES}UpdateSchedule": Scope.SCHEDULES_WRITE,
    f"{_SCHEDULES}DeleteSchedule": Scope.SCHEDULES_WRITE,
    f"{_SCHEDULES}BatchSchedules": Scope.SCHEDULES_WRITE,
    f"{_SCHEDULES}TriggerSchedule": Scope.SCHEDULES_TRIGGER,
    f"{_SCHEDULES}BackfillSchedule": Scope.SCHEDULES_TRIGGER,
    f"{_SCHEDULES}PreviewSchedule": Scope.SCHEDULES_READ,
    f"{_SCHEDULES}ListFirings": Scope.SCHEDULES_READ,
    f"{_SCHEDULES}ListScheduleVersions": Scope.SCHEDULES_READ,
    f"{_SCHEDULES}RollbackSchedule": Scope.SCHEDULES_WRITE,
    f"{_HEALTH}Check": Access.OPEN,
    f"{_HEALTH}Watch": Access.OPEN,
    f"{_HEALTH}List": Access.OPEN,
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": Access.ANY_CREDENTIAL,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Access.ANY_CREDENTIAL,
}

ALSO: Final[dict[str, Scope]] = {
    f"{_SCHEDULES}CreateSchedule": Scope.TASKS_ENQUEUE,
    f"{_SCHEDULES}UpdateSchedule": Scope.TASKS_ENQUEUE,
    f"{_SCHEDULES}RollbackSchedule": Scope.TASKS_ENQUEUE,
}
"""A second scope that an RPC asks for: who says what a schedule enqueues may enqueue it."""
