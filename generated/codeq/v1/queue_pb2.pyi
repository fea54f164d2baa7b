import datetime

from codeq.v1 import task_pb2 as _task_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Queue(_message.Message):
    __slots__ = ("command", "default_priority", "retry_policy", "lease_duration", "max_claims_per_second", "max_in_progress", "max_in_progress_per_key", "max_backlog", "retention", "retain_payload", "paused", "pause_reason", "payload_schema")
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_PRIORITY_FIELD_NUMBER: _ClassVar[int]
    RETRY_POLICY_FIELD_NUMBER: _ClassVar[int]
    LEASE_DURATION_FIELD_NUMBER: _ClassVar[int]
    MAX_CLAIMS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    MAX_IN_PROGRESS_FIELD_NUMBER: _ClassVar[int]
    MAX_IN_PROGRESS_PER_KEY_FIELD_NUMBER: _ClassVar[int]
    MAX_BACKLOG_FIELD_NUMBER: _ClassVar[int]
    RETENTION_FIELD_NUMBER: _ClassVar[int]
    RETAIN_PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    PAUSE_REASON_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    command: str
    default_priority: int
    retry_policy: _task_pb2.RetryPolicy
    lease_duration: _duration_pb2.Duration
    max_claims_per_second: float
    max_in_progress: int
    max_in_progress_per_key: int
    max_backlog: int
    retention: _duration_pb2.Duration
    retain_payload: bool
    paused: bool
    pause_reason: str
    payload_schema: str
    def __init__(self, command: _Optional[str] = ..., default_priority: _Optional[int] = ..., retry_policy: _Optional[_Union[_task_pb2.RetryPolicy, _Mapping]] = ..., lease_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_claims_per_second: _Optional[float] = ..., max_in_progress: _Optional[int] = ..., max_in_progress_per_key: _Optional[int] = ..., max_backlog: _Optional[int] = ..., retention: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., retain_payload: _Optional[bool] = ..., paused: _Optional[bool] = ..., pause_reason: _Optional[str] = ..., payload_schema: _Optional[str] = ...) -> None: ...

class QueueStats(_message.Message):
    __slots__ = ("command", "pending", "scheduled", "blocked", "in_progress", "failed", "completed", "oldest_pending_age", "enqueued_total", "completed_total", "attempt_failed_total", "lease_expired_total", "idle_credit", "paused", "read_time", "cancelled", "expired", "enqueue_rate", "complete_rate", "attempt_fail_rate")
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_FIELD_NUMBER: _ClassVar[int]
    BLOCKED_FIELD_NUMBER: _ClassVar[int]
    IN_PROGRESS_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    OLDEST_PENDING_AGE_FIELD_NUMBER: _ClassVar[int]
    ENQUEUED_TOTAL_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_TOTAL_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FAILED_TOTAL_FIELD_NUMBER: _ClassVar[int]
    LEASE_EXPIRED_TOTAL_FIELD_NUMBER: _ClassVar[int]
    IDLE_CREDIT_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    READ_TIME_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_FIELD_NUMBER: _ClassVar[int]
    ENQUEUE_RATE_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_RATE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FAIL_RATE_FIELD_NUMBER: _ClassVar[int]
    command: str
    pending: int
    scheduled: int
    blocked: int
    in_progress: int
    failed: int
    completed: int
    oldest_pending_age: _duration_pb2.Duration
    enqueued_total: int
    completed_total: int
    attempt_failed_total: int
    lease_expired_total: int
    idle_credit: int
    paused: bool
    read_time: _timestamp_pb2.Timestamp
    cancelled: int
    expired: int
    enqueue_rate: float
    complete_rate: float
    attempt_fail_rate: float
    def __init__(self, command: _Optional[str] = ..., pending: _Optional[int] = ..., scheduled: _Optional[int] = ..., blocked: _Optional[int] = ..., in_progress: _Optional[int] = ..., failed: _Optional[int] = ..., completed: _Optional[int] = ..., oldest_pending_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., enqueued_total: _Optional[int] = ..., completed_total: _Optional[int] = ..., attempt_failed_total: _Optional[int] = ..., lease_expired_total: _Optional[int] = ..., idle_credit: _Optional[int] = ..., paused: _Optional[bool] = ..., read_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cancelled: _Optional[int] = ..., expired: _Optional[int] = ..., enqueue_rate: _Optional[float] = ..., complete_rate: _Optional[float] = ..., attempt_fail_rate: _Optional[float] = ...) -> None: ...
