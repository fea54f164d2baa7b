"""A request of every RPC with every field set, and ways to every one of its fields."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from codeq.v1 import admin_service_pb2 as admin_pb, codeq_service_pb2 as pb, queue_pb2, task_pb2
from codeq_grpc.core.clock import now
from tests.integration.requests_of_schedules import of_schedules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor, FieldDescriptor
    from google.protobuf.message import Message

TIMES: Final = (Duration.DESCRIPTOR.full_name, Timestamp.DESCRIPTOR.full_name)
MINUTE: Final = Duration(seconds=60)


class Field(NamedTuple):
    """One field of one request. `path` is how errors name it; `steps` lead to its message."""

    rpc: str
    request: Message
    path: str
    steps: tuple[tuple[str, int | None], ...]
    descriptor: FieldDescriptor

    @property
    def plain_path(self) -> str:
        """The path without places in lists."""
        return ".".join(part.partition("[")[0] for part in self.path.split("."))

    @property
    def is_map(self) -> bool:
        """Whether it holds keys and values."""
        return is_map(self.descriptor)

    def with_value(self, value: Any) -> Any:
        """A copy of the request in which the field has this value; a repeated one has it first, a
        map has nothing else.
        """
        request = copy.deepcopy(self.request)
        found: Any = request
        for name, index in self.steps:
            found = getattr(found, name) if index is None else getattr(found, name)[index]
        name = self.descriptor.name
        if self.is_map:
            found.ClearField(name)
            getattr(found, name).update(value)
        elif self.descriptor.is_repeated and self.descriptor.message_type is not None:
            getattr(found, name)[0].CopyFrom(value)
        elif self.descriptor.is_repeated:
            getattr(found, name)[0] = value
        elif self.descriptor.message_type is not None:
            getattr(found, name).CopyFrom(value)
        else:
            setattr(found, name, value)
        return request


def is_map(descriptor: FieldDescriptor) -> bool:
    """Whether a field holds keys and values."""
    inner = descriptor.message_type
    return inner is not None and bool(inner.GetOptions().map_entry)


def leaves(descriptor: Descriptor, path: str = "") -> Iterator[tuple[str, FieldDescriptor]]:
    """Plain path and descriptor of every field, those of messages within included."""
    for field in descriptor.fields:
        here = f"{path}.{field.name}" if path else field.name
        inner = field.message_type
        if inner is None or is_map(field) or inner.full_name in TIMES:
            yield here, field
        else:
            yield from leaves(inner, here)


def _later(seconds: int) -> Timestamp:
    return Timestamp(seconds=int(now().timestamp()) + seconds)


def _policy() -> task_pb2.RetryPolicy:
    return task_pb2.RetryPolicy(
        max_attempts=3,
        initial_backoff=Duration(seconds=1),
        max_backoff=MINUTE,
        backoff_multiplier=2,
        jitter=0.5,
        non_retryable_error_types=["Fatal"],
    )


def _spec(lease: task_pb2.LeaseRef, **when: Any) -> task_pb2.TaskSpec:
    return task_pb2.TaskSpec(
        command="RENDER",
        payload=task_pb2.Payload(data=b'"data"', content_type="application/json"),
        priority=5,
        lease_duration=MINUTE,
        attempt_timeout=MINUTE,
        expire_time=_later(86_400),
        retry_policy=_policy(),
        idempotency_key="key",
        idempotency_ttl=MINUTE,
        conflict_policy=task_pb2.CONFLICT_POLICY_USE_EXISTING,
        concurrency_key="key",
        depends_on=[lease.task_id],
        labels={"label": "value"},
        headers={"traceparent": "00-1-2-01"},
        **when,
    )


def _filter(*states: task_pb2.TaskState) -> pb.TaskFilter:
    return pb.TaskFilter(
        command="RENDER",
        states=states or [task_pb2.TASK_STATE_FAILED],
        labels={"label": "value"},
        worker_id="w",
        create_time_after=_later(-60),
        create_time_before=_later(60),
        error_type="T",
    )


def _queue() -> queue_pb2.Queue:
    return queue_pb2.Queue(
        command="RENDER",
        default_priority=5,
        retry_policy=_policy(),
        lease_duration=MINUTE,
        max_claims_per_second=1_000,
        max_in_progress=1_000,
        max_in_progress_per_key=1_000,
        max_backlog=1_000_000,
        retention=MINUTE,
        retain_payload=True,
        paused=True,
        pause_reason="why",
        payload_schema="true",
    )


def _of_producers(lease: task_pb2.LeaseRef) -> Iterator[tuple[str, Message]]:
    for spec in (_spec(lease, delay=MINUTE), _spec(lease, run_time=_later(0))):
        yield "Enqueue", pb.EnqueueRequest(task=spec)
        yield "BatchEnqueue", pb.BatchEnqueueRequest(tasks=[spec])
        yield "BatchEnqueue", pb.BatchEnqueueRequest(tasks=[spec], atomic=True)
    view = task_pb2.TASK_VIEW_FULL
    yield "GetTask", pb.GetTaskRequest(task_id=lease.task_id, view=view, wait=Duration())


def _of_workers(lease: task_pb2.LeaseRef) -> Iterator[tuple[str, Message]]:
    given: dict[str, Any] = {"worker_id": "w", "commands": ["RENDER"], "lease_duration": MINUTE}
    yield "Claim", pb.ClaimRequest(max_tasks=1, wait=Duration(), **given)
    yield (
        "StreamClaim",
        pb.StreamClaimRequest(
            max_outstanding=1,
            max_batch_size=1,
            disconnect_policy=pb.DISCONNECT_POLICY_KEEP,
            idle_interval=MINUTE,
            **given,
        ),
    )
    payload = task_pb2.Payload(data=b"data", content_type="text/plain")
    progress = task_pb2.Progress(fraction=0.5, message="m", checkpoint=payload)
    beat = pb.LeaseHeartbeat(lease=lease, extend=MINUTE, progress=progress)
    yield "Heartbeat", pb.HeartbeatRequest(leases=[beat])
    error = task_pb2.TaskError(
        type="T", message="m", detail="d", non_retryable=True, retry_delay=MINUTE
    )
    complete = pb.CompleteRequest(lease=lease, result=payload)
    fail = pb.FailRequest(lease=lease, error=error)
    abandon = pb.AbandonRequest(lease=lease, delay=MINUTE)
    yield "Complete", complete
    yield "Fail", fail
    yield "Abandon", abandon
    for outcome in (
        pb.Outcome(complete=complete),
        pb.Outcome(fail=fail),
        pb.Outcome(abandon=abandon),
    ):
        yield "Report", pb.ReportRequest(outcomes=[outcome])


def _of_operators(lease: task_pb2.LeaseRef) -> Iterator[tuple[str, Message]]:
    view = task_pb2.TASK_VIEW_FULL
    yield "ListTasks", pb.ListTasksRequest(filter=_filter(), page_size=1, view=view)
    by_ids = pb.TaskSelector(task_ids=[lease.task_id])
    yield "WatchTasks", pb.WatchTasksRequest(selector=by_ids)
    yield "WatchTasks", pb.WatchTasksRequest(selector=pb.TaskSelector(filter=_filter()))
    pending = pb.TaskSelector(filter=_filter(task_pb2.TASK_STATE_PENDING), limit=1)
    failed = pb.TaskSelector(filter=_filter(), limit=1)
    yield "CancelTasks", pb.CancelTasksRequest(selector=by_ids, reason="why")
    yield "CancelTasks", pb.CancelTasksRequest(selector=pending, reason="why")
    yield "RedriveTasks", pb.RedriveTasksRequest(selector=by_ids, spread=MINUTE)
    yield "RedriveTasks", pb.RedriveTasksRequest(selector=failed, spread=MINUTE)
    yield "AdminQueues", pb.AdminQueuesRequest(commands=["RENDER"])
    ended = [task_pb2.TASK_STATE_COMPLETED]
    yield "AdminCleanup", pb.AdminCleanupRequest(limit=1, states=ended, before=_later(0))
    names = [field.name for field, _ in _queue().ListFields() if field.name != "command"]
    yield "UpdateQueue", admin_pb.UpdateQueueRequest(queue=_queue())
    yield "UpdateQueue", admin_pb.UpdateQueueRequest(queue=_queue(), update_mask={"paths": names})
    yield "GetQueue", admin_pb.GetQueueRequest(command="RENDER", only_set=True)
    yield "PauseQueue", admin_pb.PauseQueueRequest(command="RENDER", reason="why")
    yield "ResumeQueue", admin_pb.ResumeQueueRequest(command="RENDER")
    yield "PurgeQueue", admin_pb.PurgeQueueRequest(command="RENDER")
    yield "ListWorkers", admin_pb.ListWorkersRequest(command="RENDER")
    yield "ListAuditEvents", admin_pb.ListAuditEventsRequest(page_size=1)


def of_keys() -> Iterator[tuple[str, Message]]:
    """Those of API keys; the first one makes one."""
    key = admin_pb.ApiKey(name="ci", scopes=["tasks.read"], commands=["RENDER"])
    yield "CreateApiKey", admin_pb.CreateApiKeyRequest(key=key, ttl=MINUTE, roles=["worker"])
    yield "ListApiKeys", admin_pb.ListApiKeysRequest(page_size=1)
    yield "RevokeApiKey", admin_pb.RevokeApiKeyRequest(key_id="x" * 12, reason="why")


def requests(lease: task_pb2.LeaseRef) -> Iterator[tuple[str, Message]]:
    """RPC and request, several where one cannot have every field set. The lease must be held, or
    its task be unknown.
    """
    yield from _of_producers(lease)
    yield from _of_workers(lease)
    yield from _of_operators(lease)
    yield from of_keys()
    yield from of_schedules(_policy())


def _walk(
    rpc: str, request: Message, message: Message, path: str, steps: tuple[Any, ...]
) -> Iterator[Field]:
    for descriptor, value in message.ListFields():
        name = descriptor.name
        here = f"{path}.{name}" if path else name
        inner = descriptor.message_type
        if is_map(descriptor):
            yield Field(rpc, request, here, steps, descriptor)
        elif inner is None or inner.full_name in TIMES:
            entry = f"{here}[0]" if descriptor.is_repeated else here
            yield Field(rpc, request, entry, steps, descriptor)
        elif descriptor.is_repeated:
            yield from _walk(rpc, request, value[0], f"{here}[0]", (*steps, (name, 0)))
        else:
            yield from _walk(rpc, request, value, here, (*steps, (name, None)))


def fields(lease: task_pb2.LeaseRef) -> Iterator[Field]:
    """Every field that these requests set, messages within messages included."""
    for rpc, request in requests(lease):
        yield from _walk(rpc, request, request, "", ())
