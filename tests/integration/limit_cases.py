"""The table of limits: for each field values at its limits, and values just beyond."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from google.protobuf.duration_pb2 import Duration

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from codeq_grpc.core import limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

LEASE: Final = task_pb2.LeaseRef(task_id="x" * 18, fence=1)
SMILE: Final = "\N{GRINNING FACE}"
"""One character, four bytes: limits of texts count characters."""


def ms(value: int) -> Duration:
    """A duration."""
    duration = Duration()
    duration.FromMilliseconds(value)
    return duration


def spec(**fields: Any) -> pb.EnqueueRequest:
    """Of one task."""
    return pb.EnqueueRequest(task=task_pb2.TaskSpec(**{"command": "C", **fields}))


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


def fail(**fields: Any) -> pb.FailRequest:
    """Of an unknown lease."""
    return pb.FailRequest(lease=LEASE, error=task_pb2.TaskError(**fields))


def complete(**fields: Any) -> pb.CompleteRequest:
    """Of an unknown lease."""
    return pb.CompleteRequest(lease=LEASE, result=task_pb2.Payload(**fields))


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


def names(count: int) -> list[str]:
    """So many different commands."""
    return [f"C{i}" for i in range(count)]


LEASE_MS = upto(limits.LEASE_MAX_MS, limits.LEASE_MIN_MS)
BATCH = upto(limits.BATCH_TASKS, 1)
WAITS = ((0, limits.WAIT_MAX_MS), (-1, limits.WAIT_MAX_MS + 1))
COMMANDS = upto(limits.COMMAND_CHARS, 1)
BAD_COMMANDS = ("a b", "a/b", "a{b}", "a*", "\x00", "a\n", "é", "A\u0301", "a\u202e", " ", "a,b")

CASES: Final = [
    Case("Enqueue", lambda n: spec(command="c" * n), *COMMANDS, "task.command"),
    Case("Enqueue", lambda c: spec(command=c), ("aZ09._:-",), BAD_COMMANDS, "task.command"),
    Case(
        "BatchEnqueue",
        lambda n: pb.BatchEnqueueRequest(tasks=[{"command": "c" * n}]),
        *COMMANDS,
        "tasks[0].command",
    ),
    Case(
        "Claim",
        lambda n: claim(commands=["C", "c" * n]),
        (2, limits.COMMAND_CHARS),
        (0, limits.COMMAND_CHARS + 1),
        "commands[1]",
    ),
    Case(
        "AdminQueues",
        lambda n: pb.AdminQueuesRequest(commands=["c" * n]),
        *COMMANDS,
        "commands[0]",
    ),
    Case(
        "Enqueue",
        lambda n: spec(payload={"data": bytes(n)}),
        (0, limits.PAYLOAD_BYTES),
        (limits.PAYLOAD_BYTES + 1,),
        "task.payload.data",
    ),
    Case(
        "Enqueue",
        lambda n: spec(payload={"content_type": SMILE * n}),
        *upto(limits.CONTENT_TYPE_CHARS),
        "task.payload.content_type",
    ),
    Case(
        "Enqueue",
        lambda text: spec(payload={"content_type": text}),
        ("", "text/plain; charset=utf-8"),
        ("a\nb", "\x00", "\x7f", "\u2028"),
        "task.payload.content_type",
    ),
    Case(
        "Enqueue",
        lambda n: spec(priority=n),
        *upto(limits.PRIORITY_MAX, 0),
        "task.priority",
    ),
    Case("Enqueue", lambda n: spec(delay=ms(n)), *upto(limits.DELAY_MAX_MS, 0), "task.delay"),
    Case("Enqueue", lambda n: spec(lease_duration=ms(n)), *LEASE_MS, "task.lease_duration"),
    Case("Claim", lambda n: claim(lease_duration=ms(n)), *LEASE_MS, "lease_duration"),
    Case("StreamClaim", lambda n: stream(lease_duration=ms(n)), *LEASE_MS, "lease_duration"),
    Case(
        "Heartbeat",
        lambda n: pb.HeartbeatRequest(leases=[{"lease": LEASE, "extend": ms(n)}]),
        *LEASE_MS,
        "leases[0].extend",
    ),
    Case(
        "Enqueue",
        lambda n: policy(max_attempts=n),
        *upto(limits.ATTEMPTS_MAX, 1),
        "task.retry_policy.max_attempts",
    ),
    Case(
        "Enqueue",
        lambda n: policy(initial_backoff=ms(n)),
        *upto(limits.BACKOFF_MAX_MS, 0),
        "task.retry_policy.initial_backoff",
    ),
    Case(
        "Enqueue",
        lambda n: policy(max_backoff=ms(n)),
        *upto(limits.BACKOFF_MAX_MS, 0),
        "task.retry_policy.max_backoff",
    ),
    Case(
        "Enqueue",
        lambda x: policy(backoff_multiplier=x),
        (1.0, limits.MULTIPLIER_MAX),
        (math.nextafter(1, 0), math.nextafter(limits.MULTIPLIER_MAX, math.inf), 0.0),
        "task.retry_policy.backoff_multiplier",
    ),
    Case(
        "Enqueue",
        lambda x: policy(jitter=x),
        (0.0, 1.0, -0.0),
        (math.nextafter(0, -1), math.nextafter(1, 2)),
        "task.retry_policy.jitter",
    ),
    Case(
        "Enqueue",
        lambda n: spec(headers={f"k{i}": "" for i in range(n)}),
        *upto(limits.HEADERS),
        "task.headers",
    ),
    Case(
        "Enqueue",
        lambda n: spec(headers={SMILE * n: ""}),
        *upto(limits.HEADER_KEY_CHARS, 1),
        "task.headers",
    ),
    Case(
        "Enqueue",
        lambda n: spec(headers={"key": SMILE * n}),
        (0, limits.HEADER_VALUE_CHARS),
        (limits.HEADER_VALUE_CHARS + 1,),
        "task.headers[key]",
    ),
    Case(
        "BatchEnqueue",
        lambda n: pb.BatchEnqueueRequest(tasks=[{"command": "C"}] * n),
        *BATCH,
        "tasks",
    ),
    Case(
        "BatchEnqueue",
        lambda n: pb.BatchEnqueueRequest(tasks=[{"command": "C"}] * n, atomic=True),
        *BATCH,
        "tasks",
    ),
    Case(
        "Heartbeat",
        lambda n: pb.HeartbeatRequest(leases=[{"lease": LEASE}] * n),
        *BATCH,
        "leases",
    ),
    Case(
        "Report",
        lambda n: pb.ReportRequest(outcomes=[{"abandon": {"lease": LEASE}}] * n),
        *BATCH,
        "outcomes",
    ),
    Case(
        "Claim",
        lambda n: claim(worker_id=SMILE * n),
        *upto(limits.WORKER_ID_CHARS, 1),
        "worker_id",
    ),
    Case(
        "Claim",
        lambda t: claim(worker_id=t),
        (" ",),
        ("a\nb", "\x1b[1m", "\x00"),
        "worker_id",
    ),
    Case(
        "StreamClaim",
        lambda n: stream(worker_id=SMILE * n),
        *upto(limits.WORKER_ID_CHARS, 1),
        "worker_id",
    ),
    Case(
        "Claim",
        lambda n: claim(commands=names(n)),
        *upto(limits.COMMANDS_PER_CLAIM, 1),
        "commands",
    ),
    Case(
        "Claim",
        lambda c: claim(commands=c),
        (["A", "a"],),
        (["A", "B", "A"],),
        "commands",
    ),
    Case(
        "StreamClaim",
        lambda n: stream(commands=names(n)),
        *upto(limits.COMMANDS_PER_CLAIM, 1),
        "commands",
    ),
    Case("StreamClaim", lambda c: stream(commands=c), (), (["A", "A"],), "commands"),
    Case(
        "AdminQueues",
        lambda n: pb.AdminQueuesRequest(commands=names(n)),
        *upto(limits.COMMANDS_PER_ADMIN_QUEUES),
        "commands",
    ),
    Case(
        "Claim",
        lambda n: claim(max_tasks=n),
        (0, limits.BATCH_TASKS),
        (-1, limits.BATCH_TASKS + 1),
        "max_tasks",
    ),
    Case(
        "StreamClaim",
        lambda n: stream(max_outstanding=n),
        *upto(limits.MAX_OUTSTANDING, 1),
        "max_outstanding",
    ),
    Case(
        "StreamClaim",
        lambda n: stream(max_batch_size=n),
        (0, limits.BATCH_TASKS),
        (-1, limits.BATCH_TASKS + 1),
        "max_batch_size",
    ),
    Case(
        "StreamClaim",
        lambda n: stream(idle_interval=ms(n)),
        *upto(limits.IDLE_INTERVAL_MAX_MS, limits.IDLE_INTERVAL_MIN_MS),
        "idle_interval",
    ),
    Case(
        "Complete",
        lambda n: complete(data=bytes(n)),
        (0, limits.PAYLOAD_BYTES),
        (limits.PAYLOAD_BYTES + 1,),
        "result.data",
    ),
    Case(
        "Complete",
        lambda n: complete(content_type=SMILE * n),
        *upto(limits.CONTENT_TYPE_CHARS),
        "result.content_type",
    ),
    Case(
        "Fail",
        lambda n: fail(type=SMILE * n),
        *upto(limits.ERROR_TYPE_CHARS),
        "error.type",
    ),
    Case(
        "Fail",
        lambda n: fail(message=SMILE * n),
        *upto(limits.ERROR_MESSAGE_CHARS),
        "error.message",
    ),
    Case(
        "Fail",
        lambda n: fail(detail=SMILE * n),
        *upto(limits.ERROR_DETAIL_CHARS),
        "error.detail",
    ),
    Case(
        "Fail",
        lambda n: fail(retry_delay=ms(n)),
        *upto(limits.RETRY_DELAY_MAX_MS, 0),
        "error.retry_delay",
    ),
    Case(
        "Abandon",
        lambda n: pb.AbandonRequest(lease=LEASE, delay=ms(n)),
        *upto(limits.RETRY_DELAY_MAX_MS, 0),
        "delay",
    ),
    Case(
        "Abandon",
        lambda n: pb.AbandonRequest(lease={"task_id": "x" * 18, "fence": n}),
        *upto((1 << 53) - 1, 1),
        "lease.fence",
    ),
    Case(
        "AdminCleanup",
        lambda n: pb.AdminCleanupRequest(limit=n),
        (0, 1, limits.CLEANUP_MAX),
        (-1, limits.CLEANUP_MAX + 1),
        "limit",
    ),
    Case(
        "AdminCleanup",
        lambda states: pb.AdminCleanupRequest(states=states),
        ([], [5], [6], [5, 6, 5]),
        ([2], [3], [4], [0], [5, 4]),
        "states",
    ),
]
