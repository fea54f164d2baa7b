import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class QueueStats(_message.Message):
    __slots__ = ("command", "pending", "scheduled", "in_progress", "failed", "completed", "oldest_pending_age", "enqueued_total", "completed_total", "attempt_failed_total", "lease_expired_total", "read_time")
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_FIELD_NUMBER: _ClassVar[int]
    IN_PROGRESS_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    OLDEST_PENDING_AGE_FIELD_NUMBER: _ClassVar[int]
    ENQUEUED_TOTAL_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_TOTAL_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FAILED_TOTAL_FIELD_NUMBER: _ClassVar[int]
    LEASE_EXPIRED_TOTAL_FIELD_NUMBER: _ClassVar[int]
    READ_TIME_FIELD_NUMBER: _ClassVar[int]
    command: str
    pending: int
    scheduled: int
    in_progress: int
    failed: int
    completed: int
    oldest_pending_age: _duration_pb2.Duration
    enqueued_total: int
    completed_total: int
    attempt_failed_total: int
    lease_expired_total: int
    read_time: _timestamp_pb2.Timestamp
    def __init__(self, command: _Optional[str] = ..., pending: _Optional[int] = ..., scheduled: _Optional[int] = ..., in_progress: _Optional[int] = ..., failed: _Optional[int] = ..., completed: _Optional[int] = ..., oldest_pending_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., enqueued_total: _Optional[int] = ..., completed_total: _Optional[int] = ..., attempt_failed_total: _Optional[int] = ..., lease_expired_total: _Optional[int] = ..., read_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
