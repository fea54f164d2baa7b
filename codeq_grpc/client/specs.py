"""Task specs from Python values."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypedDict

from google.protobuf.duration_pb2 import Duration

from codeq.v1.task_pb2 import RetryPolicy, TaskSpec
from codeq_grpc.client import names, options as keywords
from codeq_grpc.client.payloads import encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Unpack

    from google.protobuf.timestamp_pb2 import Timestamp

    from codeq.v1.task_pb2 import ConflictPolicy

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
    expire_time: datetime | None
    """Not after this aware time: then the task is EXPIRED, even while a worker has it."""
    lease_duration: Span | None
    """Lease of each attempt, 1 s to 24 h; the server's default is 300 s."""
    attempt_timeout: Span | None
    """Hard limit of one attempt, whatever the heartbeats, 1 s to 30 days."""
    retry_policy: RetryPolicy | None
    """Retries; the server's default is 5 attempts with growing pauses."""
    idempotency_key: str | None
    """One task per key and queue while the key lives; such an enqueue may be repeated."""
    idempotency_ttl: Span | None
    """How long the key lives, 1 s to 30 days; by default as long as the task is kept."""
    conflict_policy: ConflictPolicy | str | None
    """What a key that is taken means: "use_existing", the default, "fail" or "replace"."""
    concurrency_key: str | None
    """Tasks of one key run at once only as far as their queue allows."""
    depends_on: Iterable[str] | None
    """Ids of up to 100 tasks that must be COMPLETED first."""
    labels: Mapping[str, str] | None
    """For finding the task again, up to 16."""
    headers: Mapping[str, str] | None
    """Carried to the worker untouched."""


def duration(span: Span) -> Duration:
    """A span of time as a message, exact to the nanosecond.

    Raises:
        TypeError: It is neither a number of seconds nor a timedelta.
    """
    message = Duration()
    if isinstance(span, timedelta):
        message.FromTimedelta(span)
    elif isinstance(span, (int, float)):
        message.FromNanoseconds(round(span * 1_000_000_000))
    else:
        raise TypeError(f"a span of time is seconds or a timedelta, not {span!r}")
    return message


def seconds(span: Span) -> float:
    """A span of time in seconds."""
    return span.total_seconds() if isinstance(span, timedelta) else float(span)


def aware(field: str, at: datetime) -> datetime:
    """The time itself.

    Raises:
        ValueError: It is naive.
    """
    if at.tzinfo is None:
        raise ValueError(f"{field} must be aware; datetime.now(UTC) is, datetime.now() is not")
    return at


def spec(command: str, payload: object = b"", **options: Unpack[SpecOptions]) -> TaskSpec:
    """A task to enqueue: `command` names its queue, `payload` is what `encode` takes.

    Raises:
        TypeError: There is no such option, the payload has no JSON form, or `depends_on` is one
            text.
        ValueError: A time is naive, or the payload cannot be encoded.
    """
    keywords.check(options, SpecOptions)
    task = TaskSpec(
        command=command,
        priority=options.get("priority"),
        retry_policy=options.get("retry_policy"),
        idempotency_key=options.get("idempotency_key"),
        concurrency_key=options.get("concurrency_key"),
        labels=options.get("labels"),
        headers=options.get("headers"),
    )
    body = encode(payload, options.get("content_type"))
    if body.data or body.content_type:
        task.payload.CopyFrom(body)
    if (policy := options.get("conflict_policy")) is not None:
        task.conflict_policy = names.conflict_policy(policy)
    _set_dependencies(task, options.get("depends_on") or ())
    _set_times(task, options)
    _set_spans(task, options)
    return task


def _set_dependencies(task: TaskSpec, task_ids: Iterable[str]) -> None:
    if isinstance(task_ids, str):
        raise TypeError("depends_on is a list of task ids, not one of them")
    task.depends_on.extend(task_ids)


def _set_times(task: TaskSpec, options: SpecOptions) -> None:
    times: tuple[tuple[str, datetime | None, Timestamp], ...] = (
        ("run_time", options.get("run_time"), task.run_time),
        ("expire_time", options.get("expire_time"), task.expire_time),
    )
    for field, at, message in times:
        if at is not None:
            message.FromDatetime(aware(field, at))


def _set_spans(task: TaskSpec, options: SpecOptions) -> None:
    spans = (
        (options.get("delay"), task.delay),
        (options.get("lease_duration"), task.lease_duration),
        (options.get("attempt_timeout"), task.attempt_timeout),
        (options.get("idempotency_ttl"), task.idempotency_ttl),
    )
    for span, message in spans:
        if span is not None:
            message.CopyFrom(duration(span))
