"""A request of every RPC with every field set, and ways to every one of its fields."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from codeq.v1 import codeq_service_pb2 as pb, task_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message

SERVICE: Final = pb.DESCRIPTOR.services_by_name["CodeQService"]
TIMES: Final = (Duration.DESCRIPTOR.full_name, Timestamp.DESCRIPTOR.full_name)
HEADER: Final = "traceparent"


class Field(NamedTuple):
    """One field of one request. `path` is how errors name it; `steps` lead to its message."""

    rpc: str
    request: Message
    path: str
    steps: tuple[tuple[str, int | None], ...]
    descriptor: FieldDescriptor

    def with_value(self, value: Any) -> Any:
        """A copy of the request in which the field has this value; a repeated one has it first."""
        request = copy.deepcopy(self.request)
        found: Any = request
        for name, index in self.steps:
            found = getattr(found, name) if index is None else getattr(found, name)[index]
        name = self.descriptor.name
        if self.descriptor.is_repeated:
            getattr(found, name)[0] = value
        elif self.descriptor.message_type is not None:
            getattr(found, name).CopyFrom(value)
        else:
            setattr(found, name, value)
        return request


def _spec() -> task_pb2.TaskSpec:
    return task_pb2.TaskSpec(
        command="RENDER",
        payload=task_pb2.Payload(data=b"data", content_type="text/plain"),
        priority=5,
        lease_duration=Duration(seconds=60),
        retry_policy=task_pb2.RetryPolicy(
            max_attempts=3,
            initial_backoff=Duration(seconds=1),
            max_backoff=Duration(seconds=60),
            backoff_multiplier=2,
            jitter=0.5,
        ),
        headers={HEADER: "00-1-2-01"},
    )


def _later(spec: task_pb2.TaskSpec) -> task_pb2.TaskSpec:
    spec.delay.seconds = 60
    return spec


def requests(lease: task_pb2.LeaseRef) -> Iterator[tuple[str, Message]]:
    """RPC and request; reports come once for each ending, specs with delay and with run_time."""
    minute = Duration(seconds=60)
    at = _spec()
    at.run_time.GetCurrentTime()
    yield "Enqueue", pb.EnqueueRequest(task=_later(_spec()))
    yield "Enqueue", pb.EnqueueRequest(task=at)
    yield "BatchEnqueue", pb.BatchEnqueueRequest(tasks=[_later(_spec())], atomic=True)
    yield "BatchEnqueue", pb.BatchEnqueueRequest(tasks=[at])
    yield (
        "Claim",
        pb.ClaimRequest(
            worker_id="w", commands=["RENDER"], max_tasks=1, lease_duration=minute, wait=Duration()
        ),
    )
    yield (
        "StreamClaim",
        pb.StreamClaimRequest(
            worker_id="w",
            commands=["RENDER"],
            max_outstanding=1,
            max_batch_size=1,
            lease_duration=minute,
            disconnect_policy=pb.DISCONNECT_POLICY_KEEP,
            idle_interval=minute,
        ),
    )
    heartbeat = pb.LeaseHeartbeat(lease=lease, extend=minute)
    yield "Heartbeat", pb.HeartbeatRequest(leases=[heartbeat])
    result = task_pb2.Payload(data=b"data", content_type="text/plain")
    complete = pb.CompleteRequest(lease=lease, result=result)
    error = task_pb2.TaskError(
        type="T", message="m", detail="d", non_retryable=True, retry_delay=minute
    )
    fail = pb.FailRequest(lease=lease, error=error)
    abandon = pb.AbandonRequest(lease=lease, delay=minute)
    yield "Complete", complete
    yield "Fail", fail
    yield "Abandon", abandon
    for outcome in (
        pb.Outcome(complete=complete),
        pb.Outcome(fail=fail),
        pb.Outcome(abandon=abandon),
    ):
        yield "Report", pb.ReportRequest(outcomes=[outcome])
    yield (
        "GetTask",
        pb.GetTaskRequest(task_id=lease.task_id, view=task_pb2.TASK_VIEW_FULL, wait=Duration()),
    )
    yield "AdminQueues", pb.AdminQueuesRequest(commands=["RENDER"])
    cleanup = pb.AdminCleanupRequest(limit=1, states=[task_pb2.TASK_STATE_COMPLETED])
    cleanup.before.GetCurrentTime()
    yield "AdminCleanup", cleanup


def _walk(
    rpc: str, request: Message, message: Message, path: str, steps: tuple[Any, ...]
) -> Iterator[Field]:
    for descriptor, value in message.ListFields():
        name = descriptor.name
        here = f"{path}.{name}" if path else name
        inner = descriptor.message_type
        if inner is not None and inner.GetOptions().map_entry:
            yield Field(rpc, request, here, steps, descriptor)
        elif inner is None or inner.full_name in TIMES:
            # An enumeration is refused as a whole, other lists name the entry.
            entry = f"{here}[0]" if descriptor.is_repeated and not descriptor.enum_type else here
            yield Field(rpc, request, entry, steps, descriptor)
        elif descriptor.is_repeated:
            yield from _walk(rpc, request, value[0], f"{here}[0]", (*steps, (name, 0)))
        else:
            yield from _walk(rpc, request, value, here, (*steps, (name, None)))


def fields(lease: task_pb2.LeaseRef) -> Iterator[Field]:
    """Every field of every request, messages within messages included."""
    for rpc, request in requests(lease):
        yield from _walk(rpc, request, request, "", ())
