"""Flows of operators: settings of queues, pauses, workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypedDict

from google.protobuf.field_mask_pb2 import FieldMask

from codeq.v1 import admin_service_pb2 as pb
from codeq.v1.queue_pb2 import Queue
from codeq.v1.task_pb2 import RetryPolicy
from codeq_grpc.client import options as keywords
from codeq_grpc.client.flows import call
from codeq_grpc.client.specs import Span, duration

if TYPE_CHECKING:
    from typing import Unpack

    from codeq_grpc.client.flows import Flow

_SPANS: Final[tuple[Literal["lease_duration", "retention"], ...]] = ("lease_duration", "retention")


class QueueSettings(TypedDict, total=False):
    """Settings of a queue; None goes back to the server's default."""

    default_priority: int | None
    """Priority of tasks that do not say, 0 to 9."""
    retry_policy: RetryPolicy | None
    """Retries of tasks that do not say: what is set in it changes, the rest stays."""
    lease_duration: Span | None
    """Lease of tasks that do not say, 1 s to 24 h."""
    max_claims_per_second: float | None
    """Claims per second over all workers; 0 is no limit."""
    max_in_progress: int | None
    """Leases at once over all workers; 0 is no limit."""
    max_in_progress_per_key: int | None
    """Leases at once per concurrency key; 0 is no limit."""
    max_backlog: int | None
    """Tasks not yet ended; above it an enqueue is refused; 0 is no limit."""
    retention: Span | None
    """How long ended tasks are kept, 1 s to 366 days."""
    retain_payload: bool | None
    """Keep the payload of completed tasks, too."""
    payload_schema: str | None
    """JSON Schema, draft 2020-12, that payloads must satisfy; at most 64 KiB."""


def get_queue(command: str, *, only_set: bool) -> Flow[Queue]:
    """Reads the settings."""
    request = pb.GetQueueRequest(command=command, only_set=only_set)
    return (yield from call("GetQueue", request, pb.GetQueueResponse)).queue


def update_queue(command: str, **settings: Unpack[QueueSettings]) -> Flow[Queue]:
    """Changes what is named."""
    request = update_request(command, **settings)
    return (yield from call("UpdateQueue", request, pb.UpdateQueueResponse)).queue


def purge_queue(command: str) -> Flow[int]:
    """Cancels what is not leased."""
    request = pb.PurgeQueueRequest(command=command)
    return (yield from call("PurgeQueue", request, pb.PurgeQueueResponse)).purged_count


def workers(command: str) -> Flow[list[pb.Worker]]:
    """Lists those of one queue, or all."""
    request = pb.ListWorkersRequest(command=command)
    return list((yield from call("ListWorkers", request, pb.ListWorkersResponse)).workers)


def update_request(command: str, **settings: Unpack[QueueSettings]) -> pb.UpdateQueueRequest:
    """The request that changes these settings.

    Raises:
        TypeError: There is no such setting.
        ValueError: There is nothing to change.
    """
    keywords.check(settings, QueueSettings)
    values: dict[str, object] = dict(settings)
    for name in _SPANS:
        if (span := settings.get(name)) is not None:
            values[name] = duration(span)
    paths = [path for name, value in settings.items() for path in _paths(name, value)]
    if not paths:
        raise ValueError("which settings? there is nothing to change")
    queue = Queue(command=command, **values)  # type: ignore[arg-type]  # protobuf checks them
    return pb.UpdateQueueRequest(queue=queue, update_mask=FieldMask(paths=paths))


def _paths(name: str, value: object) -> list[str]:
    if name != "retry_policy":
        return [name]
    if isinstance(value, RetryPolicy):
        return [f"{name}.{field.name}" for field, _ in value.ListFields()]
    return [f"{name}.{field}" for field in RetryPolicy.DESCRIPTOR.fields_by_name]
