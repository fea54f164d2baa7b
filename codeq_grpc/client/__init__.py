"""The Python SDK for producers and operators; workers find theirs in `codeq_grpc.worker`."""

from __future__ import annotations

from codeq.v1.queue_pb2 import Queue
from codeq.v1.schedule_service_pb2 import (
    Firing,
    MisfirePolicy,
    OverlapPolicy,
    Schedule,
    ScheduleVersion,
)
from codeq.v1.task_pb2 import (
    ConflictPolicy,
    Payload,
    Progress,
    RetryPolicy,
    Task,
    TaskError,
    TaskSpec,
    TaskState,
)
from codeq_grpc.client.client import Client
from codeq_grpc.client.ends import ENDED
from codeq_grpc.client.errors import (
    CallFailed,
    DeadlineExceeded,
    ServerUnavailable,
    TaskCancelled,
    TaskExpired,
    TaskFailed,
    code_of,
)
from codeq_grpc.client.filters import FilterOptions
from codeq_grpc.client.payloads import decode, encode
from codeq_grpc.client.queues import QueueSettings
from codeq_grpc.client.rules import RuleOptions, ScheduleChanges, ScheduleOptions
from codeq_grpc.client.selections import CancelTotal, RedriveTotal
from codeq_grpc.client.specs import Span, SpecOptions, duration, spec
from codeq_grpc.client.sync import SyncClient
from codeq_grpc.client.tls import tls_credentials

__all__ = [
    "ENDED",
    "CallFailed",
    "CancelTotal",
    "Client",
    "ConflictPolicy",
    "DeadlineExceeded",
    "FilterOptions",
    "Firing",
    "MisfirePolicy",
    "OverlapPolicy",
    "Payload",
    "Progress",
    "Queue",
    "QueueSettings",
    "RedriveTotal",
    "RetryPolicy",
    "RuleOptions",
    "Schedule",
    "ScheduleChanges",
    "ScheduleOptions",
    "ScheduleVersion",
    "ServerUnavailable",
    "Span",
    "SpecOptions",
    "SyncClient",
    "Task",
    "TaskCancelled",
    "TaskError",
    "TaskExpired",
    "TaskFailed",
    "TaskSpec",
    "TaskState",
    "code_of",
    "decode",
    "duration",
    "encode",
    "spec",
    "tls_credentials",
]
