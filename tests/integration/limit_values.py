"""What the tables of limits are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from google.protobuf.duration_pb2 import Duration

from codeq.v1 import admin_service_pb2 as admin_pb, codeq_service_pb2 as pb, queue_pb2, task_pb2
from codeq_grpc.core import limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

LEASE: Final = task_pb2.LeaseRef(task_id="x" * 18, fence=1)
SMILE: Final = "\N{GRINNING FACE}"
"""One character, four bytes: limits of texts count characters."""


class Case(NamedTuple):
    """`make` gives a request from a value; `path` is that of the field, which refuses the bad."""

    rpc: str
    make: Callable[[Any], Message]
    good: tuple[Any, ...]
    bad: tuple[Any, ...]
    path: str


def upto(most: int, least: int | None = None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Values at the limits, and those just beyond."""
    if least is None:
        return (most,), (most + 1,)
    return (least, most), (least - 1, most + 1)


LEASE_MS: Final = upto(limits.LEASE_MAX_MS, limits.LEASE_MIN_MS)
BATCH: Final = upto(limits.BATCH_TASKS, 1)
COMMANDS: Final = upto(limits.COMMAND_CHARS, 1)


def ms(value: int) -> Duration:
    """A duration."""
    duration = Duration()
    duration.FromMilliseconds(value)
    return duration


def names(count: int) -> list[str]:
    """So many different commands."""
    return [f"C{i}" for i in range(count)]


def spec(**fields: Any) -> pb.EnqueueRequest:
    """Of one task."""
    return pb.EnqueueRequest(task=task_pb2.TaskSpec(**{"command": "C", **fields}))


def keyed(**fields: Any) -> pb.EnqueueRequest:
    """Of a task with an idempotency key."""
    return spec(**{"idempotency_key": "key", **fields})


def policy(**fields: Any) -> pb.EnqueueRequest:
    """Of a task with a retry policy."""
    return spec(retry_policy=task_pb2.RetryPolicy(**fields))


def claim(**fields: Any) -> pb.ClaimRequest:
    """Of one command."""
    return pb.ClaimRequest(**{"worker_id": "w", "commands": ["C"], **fields})


def stream(**fields: Any) -> pb.StreamClaimRequest:
    """Of one command."""
    given = {"worker_id": "w", "commands": ["C"], "max_outstanding": 1, **fields}
    return pb.StreamClaimRequest(**given)


def progress(**fields: Any) -> pb.HeartbeatRequest:
    """Of an unknown lease."""
    told = task_pb2.Progress(**fields)
    return pb.HeartbeatRequest(leases=[pb.LeaseHeartbeat(lease=LEASE, progress=told)])


def fail(**fields: Any) -> pb.FailRequest:
    """Of an unknown lease."""
    return pb.FailRequest(lease=LEASE, error=task_pb2.TaskError(**fields))


def complete(**fields: Any) -> pb.CompleteRequest:
    """Of an unknown lease."""
    return pb.CompleteRequest(lease=LEASE, result=task_pb2.Payload(**fields))


def selector(**fields: Any) -> pb.TaskSelector:
    """Of the tasks of one queue."""
    return pb.TaskSelector(filter=pb.TaskFilter(command="C"), **fields)


def listing(**fields: Any) -> pb.ListTasksRequest:
    """Of the tasks of one queue that match."""
    return pb.ListTasksRequest(filter=pb.TaskFilter(**{"command": "C", **fields}))


def update(**fields: Any) -> admin_pb.UpdateQueueRequest:
    """Of one queue."""
    return admin_pb.UpdateQueueRequest(queue=queue_pb2.Queue(**{"command": "C", **fields}))
