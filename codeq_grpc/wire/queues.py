"""Queues as messages: settings, counts, workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from google.protobuf.field_mask_pb2 import FieldMask

from codeq.v1 import admin_service_pb2 as pb, queue_pb2, task_pb2
from codeq_grpc.core import limits
from codeq_grpc.core.errors import InvalidField
from codeq_grpc.core.queues import QueueSettings
from codeq_grpc.wire.checks import check_number, check_text, duration_ms
from codeq_grpc.wire.retries import fill_defaults, retry_wishes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from google.protobuf.duration_pb2 import Duration

    from codeq_grpc.core.retry import RetryPolicy


def settings_of(queue: queue_pb2.Queue, path: str) -> QueueSettings:
    """Checked settings as the store keeps to them."""

    def span(name: str, value: Duration, least: int, most: int) -> int:
        if not value.seconds and not value.nanos and not queue.HasField(name):
            return 0
        return duration_ms(value, f"{path}.{name}", least, most)

    def count(name: str, most: int) -> int:
        return int(check_number(getattr(queue, name), f"{path}.{name}", 0, most))

    priority = queue.default_priority if queue.HasField("default_priority") else None
    if priority is not None:
        check_number(priority, f"{path}.default_priority", 0, limits.PRIORITY_MAX)
    check_text(queue.pause_reason, f"{path}.pause_reason", limits.PAUSE_REASON_CHARS)
    return QueueSettings(
        default_priority=priority,
        retry=retry_wishes(queue.retry_policy, f"{path}.retry_policy"),
        lease_ms=span(
            "lease_duration", queue.lease_duration, limits.LEASE_MIN_MS, limits.LEASE_MAX_MS
        ),
        max_claims_per_second=check_number(
            queue.max_claims_per_second, f"{path}.max_claims_per_second", 0, limits.CLAIM_RATE_MAX
        ),
        max_in_progress=count("max_in_progress", limits.IN_PROGRESS_MAX),
        max_in_progress_per_key=count("max_in_progress_per_key", limits.IN_PROGRESS_PER_KEY_MAX),
        max_backlog=count("max_backlog", limits.BACKLOG_MAX),
        retention_ms=span(
            "retention", queue.retention, limits.RETENTION_MIN_MS, limits.RETENTION_MAX_MS
        ),
        retain_payload=queue.retain_payload,
        paused=queue.paused,
        payload_schema=_schema(queue.payload_schema, f"{path}.payload_schema"),
    )


def _schema(text: str, path: str) -> str:
    if len(text.encode()) > limits.SCHEMA_BYTES:
        raise InvalidField.at(path, f"must have at most {limits.SCHEMA_BYTES} bytes")
    return text


def payload_schema(stored: bytes) -> str:
    """The payload schema among stored settings, empty if there is none."""
    return queue_pb2.Queue.FromString(stored).payload_schema


def changed(
    update: queue_pb2.Queue, mask: FieldMask
) -> Callable[[bytes], tuple[bytes, QueueSettings]]:
    """What an update makes of the settings that are stored. Raises InvalidField."""
    known = {field.name for field in queue_pb2.Queue.DESCRIPTOR.fields} - {"command"}
    known |= {f"retry_policy.{f.name}" for f in task_pb2.RetryPolicy.DESCRIPTOR.fields}
    for i, name in enumerate(mask.paths):
        if name not in known:
            raise InvalidField.at(
                f"update_mask.paths[{i}]", f"{name!r} is not a setting of a queue"
            )
    if any(name.startswith("retry_policy.") for name in mask.paths):
        update.retry_policy.SetInParent()  # or a field of it would not be reset
    if not mask.paths:
        mask = FieldMask(paths=[field.name for field, _ in update.ListFields()])
    if any(name.startswith("retry_policy.") for name in mask.paths):
        # Merging passes over what is in a message that is not set, and does not clear it.
        update.retry_policy.SetInParent()

    def change(stored: bytes) -> tuple[bytes, QueueSettings]:
        queue = queue_pb2.Queue.FromString(stored)
        mask.MergeMessage(update, queue, replace_message_field=True, replace_repeated_field=True)
        queue.ClearField("command")
        settings = settings_of(queue, "queue")
        return queue.SerializeToString(), settings

    # What is wrong is told before a queue is made for it.
    change(b"")
    return change


def set_message(command: str, stored: bytes) -> queue_pb2.Queue:
    """Stored settings, and nothing else."""
    queue = queue_pb2.Queue.FromString(stored)
    queue.command = command
    return queue


def queue_message(
    command: str, stored: bytes, *, retry: RetryPolicy, lease_ms: int, retention_ms: int
) -> queue_pb2.Queue:
    """Stored settings, and the defaults where nothing is set."""
    queue = set_message(command, stored)
    if not queue.HasField("default_priority"):
        queue.default_priority = limits.PRIORITY_DEFAULT
    if not queue.HasField("lease_duration"):
        queue.lease_duration.FromMilliseconds(lease_ms)
    if not queue.HasField("retention"):
        queue.retention.FromMilliseconds(retention_ms)
    fill_defaults(queue.retry_policy, retry)
    return queue


class _Worker(Protocol):
    worker_id: str
    commands: Sequence[str]
    in_progress: int
    max_outstanding: int
    peer: str
    server_id: str
    connected_ms: int


def worker_messages(workers: Iterable[_Worker]) -> list[pb.Worker]:
    """Live workers, as many as fit into a message."""
    messages = []
    room = limits.BATCH_BYTES
    for worker in workers:
        message = pb.Worker(
            worker_id=worker.worker_id,
            commands=worker.commands,
            in_progress=worker.in_progress,
            max_outstanding=worker.max_outstanding,
            peer=worker.peer,
            server_id=worker.server_id,
        )
        message.connect_time.FromMilliseconds(worker.connected_ms)
        room -= message.ByteSize()
        if room < 0:
            break
        messages.append(message)
    return messages
