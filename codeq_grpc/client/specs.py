"""Task specs from Python values."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypedDict

from google.protobuf.duration_pb2 import Duration

from codeq.v1.task_pb2 import RetryPolicy, TaskSpec
from codeq_grpc.client.payloads import encode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Unpack

Span = float | timedelta
"""A duration: seconds, or a timedelta."""


class SpecOptions(TypedDict, total=False):
    """What a producer may ask for besides command and payload; limits in `core.limits`."""

    content_type: str | None
    """Media type of the payload."""
    priority: int | None
    """0 to 9, higher first; the server's default is 5."""
    run_time: datetime | None
    """Not before this aware time. Excludes `delay`."""
    delay: Span | None
    """Not before now + delay, by the store's clock. Excludes `run_time`."""
    lease_duration: Span | None
    """Lease of each attempt, 1 s to 24 h; the server's default is 300 s."""
    retry_policy: RetryPolicy | None
    """Retries; the server's default is 5 attempts with growing pauses."""
    headers: Mapping[str, str] | None
    """Carried to the worker untouched."""


def duration(span: Span) -> Duration:
    """A span of time as a message, exact to the nanosecond."""
    message = Duration()
    if isinstance(span, timedelta):
        message.FromTimedelta(span)
    else:
        message.FromNanoseconds(round(span * 1_000_000_000))
    return message


def seconds(span: Span) -> float:
    """A span of time in seconds."""
    return span.total_seconds() if isinstance(span, timedelta) else float(span)


def spec(command: str, payload: object = b"", **options: Unpack[SpecOptions]) -> TaskSpec:
    """A task to enqueue: `command` names its queue, `payload` is what `encode` takes.

    Raises:
        TypeError: The payload has no JSON form.
        ValueError: `run_time` is naive, or the payload cannot be encoded.
    """
    task = TaskSpec(command=command, headers=options.get("headers"))
    body = encode(payload, options.get("content_type"))
    if body.data or body.content_type:
        task.payload.CopyFrom(body)
    _set_times(task, options)
    if (priority := options.get("priority")) is not None:
        task.priority = priority
    if (policy := options.get("retry_policy")) is not None:
        task.retry_policy.CopyFrom(policy)
    return task


def _set_times(task: TaskSpec, options: SpecOptions) -> None:
    run_time = options.get("run_time")
    if run_time is not None:
        if run_time.tzinfo is None:
            raise ValueError("run_time must be aware; datetime.now(UTC) is, datetime.now() is not")
        task.run_time.FromDatetime(run_time)
    if (delay := options.get("delay")) is not None:
        task.delay.CopyFrom(duration(delay))
    if (lease := options.get("lease_duration")) is not None:
        task.lease_duration.CopyFrom(duration(lease))
