"""codeq.v1.CodeQService: check, ask the broker, translate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codeq.v1 import codeq_service_pb2 as pb, codeq_service_pb2_grpc
from codeq_grpc.broker import streams
from codeq_grpc.broker.streams import Subscription
from codeq_grpc.core import limits
from codeq_grpc.core.errors import CodeQError, InvalidField
from codeq_grpc.core.quotas import EVERYBODY
from codeq_grpc.core.task import TERMINAL
from codeq_grpc.rpc.batches import BatchEnqueuer
from codeq_grpc.rpc.context import permit, reach, rest, tenant, wait_seconds
from codeq_grpc.rpc.selections import SelectionServicer
from codeq_grpc.wire import checks, encoding, filters, leases, tasks
from codeq_grpc.wire.errors import to_item

if TYPE_CHECKING:
    import grpc

    from codeq_grpc.broker.reports import Applied
    from codeq_grpc.broker.streams import Message
    from codeq_grpc.core.quotas import Tenants
    from codeq_grpc.core.records import Outcome
    from codeq_grpc.rpc.brokers import Brokers
    from codeq_grpc.wire.specs import SpecChecker

    Context = grpc.aio.ServicerContext[Any, Any]


class CodeQServicer(SelectionServicer, codeq_service_pb2_grpc.CodeQServiceServicer):
    """The queue."""

    def __init__(
        self, checker: SpecChecker, brokers: Brokers, tenants: Tenants = EVERYBODY
    ) -> None:
        super().__init__(brokers)
        self._batches = BatchEnqueuer(checker, brokers.tasks, tenants)
        self._payload_bytes = checker.payload_bytes
        self._tasks = brokers.tasks
        self._claims = brokers.claims
        self._reports = brokers.reports
        self._streams = brokers.streams
        self._queues = brokers.queues
        self._presence = brokers.presence

    async def Enqueue(self, request: pb.EnqueueRequest, context: Context) -> bytes:
        """Adds one task."""
        return await self._batches.one(request.task)

    async def BatchEnqueue(self, request: pb.BatchEnqueueRequest, context: Context) -> bytes:
        """Adds many tasks."""
        return await self._batches.many(request)

    async def Claim(self, request: pb.ClaimRequest, context: Context) -> bytes:
        """Leases tasks."""
        worker_id = checks.check_worker_id(request.worker_id)
        commands = checks.check_commands(
            list(request.commands), "commands", limits.COMMANDS_PER_CLAIM
        )
        permit(*commands)
        want = checks.check_count(request.max_tasks, "max_tasks", limits.BATCH_TASKS, 1)
        lease_ms = _lease_ms(request)
        wait = _wait(request, context)
        with self._presence.claiming(tenant(), worker_id, commands, context.peer(), want):
            held = await self._claims.claim(
                tenant(), commands, worker_id, want=want, lease_ms=lease_ms, wait=wait
            )
        return encoding.claimed(held)

    async def StreamClaim(self, request: pb.StreamClaimRequest, context: Context) -> None:
        """Pushes leased tasks."""
        subscription = _subscription(request, context.peer())

        async def send(message: Message) -> None:
            await context.write(_stream_message(message, subscription))

        await self._streams.serve(subscription, send)

    async def Heartbeat(
        self, request: pb.HeartbeatRequest, context: Context
    ) -> pb.HeartbeatResponse:
        """Extends leases."""
        _check_batch(len(request.leases), "leases")
        checked = [leases.heartbeat(item, i) for i, item in enumerate(request.leases)]
        told = await self._reports.heartbeat(reach(), checked)
        return pb.HeartbeatResponse(directives=[leases.told(*one) for one in told])

    async def Complete(self, request: pb.CompleteRequest, context: Context) -> pb.CompleteResponse:
        """Ends one task well."""
        await self._report_one(leases.completed(request, self._payload_bytes))
        return pb.CompleteResponse()

    async def Fail(self, request: pb.FailRequest, context: Context) -> pb.FailResponse:
        """Ends one attempt badly."""
        applied = await self._report_one(leases.failed(request))
        response = pb.FailResponse(state=tasks.state_name(applied.state))
        if applied.state not in TERMINAL:
            response.run_time.FromMilliseconds(applied.time_ms)
        return response

    async def Abandon(self, request: pb.AbandonRequest, context: Context) -> pb.AbandonResponse:
        """Gives one lease back."""
        await self._report_one(leases.abandoned(request))
        return pb.AbandonResponse()

    async def _report_one(self, outcome: Outcome) -> Applied:
        (result,) = await self._reports.report(reach(), [outcome])
        if isinstance(result, CodeQError):
            raise result
        return result

    async def Report(self, request: pb.ReportRequest, context: Context) -> pb.ReportResponse:
        """Ends many attempts."""
        _check_batch(len(request.outcomes), "outcomes")
        response = pb.ReportResponse()
        checked: dict[int, Outcome] = {}
        for i, item in enumerate(request.outcomes):
            try:
                checked[i] = leases.outcome(item, i, self._payload_bytes)
            except InvalidField as error:
                response.failures.append(to_item(i, error))
        results = await self._reports.report(reach(), list(checked.values()))
        for i, result in zip(checked, results, strict=True):
            if isinstance(result, CodeQError):
                response.failures.append(to_item(i, result))
        response.failures.sort(key=lambda failure: failure.index)
        return response

    async def GetTask(self, request: pb.GetTaskRequest, context: Context) -> pb.GetTaskResponse:
        """Reads one task."""
        full = tasks.is_full(request.view)
        record = await self._tasks.get(
            reach(), request.task_id, full=full, wait=_wait(request, context)
        )
        return pb.GetTaskResponse(task=tasks.task_message(record, full=full))

    async def AdminQueues(
        self, request: pb.AdminQueuesRequest, context: Context
    ) -> pb.AdminQueuesResponse:
        """Counts."""
        commands = list(request.commands)
        if commands:
            checks.check_commands(commands, "commands", limits.COMMANDS_PER_ADMIN_QUEUES)
            permit(*commands)
        numbers = await self._queues.numbers(reach(), commands)
        return pb.AdminQueuesResponse(
            queues=[
                tasks.stats_message(command, counts._asdict(), idle)
                for command, counts, idle in numbers
            ]
        )

    async def AdminCleanup(
        self, request: pb.AdminCleanupRequest, context: Context
    ) -> pb.AdminCleanupResponse:
        """Deletes ended tasks."""
        limit = checks.check_count(
            request.limit, "limit", limits.CLEANUP_MAX, limits.CLEANUP_DEFAULT
        )
        before_ms = 0
        if request.HasField("before"):
            before_ms = max(1, checks.timestamp_ms(request.before, "before"))
        deleted, used = await self._tasks.cleanup(
            reach(),
            before_ms=before_ms,
            states=filters.states_of(request.states, "states", TERMINAL),
            limit=limit,
        )
        response = pb.AdminCleanupResponse(deleted=deleted, limit=limit)
        response.before.FromMilliseconds(used)
        return response


def _check_batch(size: int, path: str) -> None:
    if not 1 <= size <= limits.BATCH_TASKS:
        raise InvalidField.at(path, f"must have 1 to {limits.BATCH_TASKS} entries")


def _lease_ms(request: pb.ClaimRequest | pb.StreamClaimRequest) -> int:
    if not request.HasField("lease_duration"):
        return 0
    return checks.duration_ms(
        request.lease_duration, "lease_duration", limits.LEASE_MIN_MS, limits.LEASE_MAX_MS
    )


def _wait(request: pb.ClaimRequest | pb.GetTaskRequest, context: Context) -> float:
    if not request.HasField("wait"):
        return 0.0
    asked = checks.duration_ms(request.wait, "wait", 0, limits.WAIT_MAX_MS)
    if asked:
        rest()
    return wait_seconds(asked, context)


def _subscription(request: pb.StreamClaimRequest, peer: str) -> Subscription:
    if not 1 <= request.max_outstanding <= limits.MAX_OUTSTANDING:
        raise InvalidField.at("max_outstanding", f"must be 1 to {limits.MAX_OUTSTANDING}")
    idle_ms = limits.IDLE_INTERVAL_DEFAULT_MS
    if request.HasField("idle_interval"):
        idle_ms = checks.duration_ms(
            request.idle_interval,
            "idle_interval",
            limits.IDLE_INTERVAL_MIN_MS,
            limits.IDLE_INTERVAL_MAX_MS,
        )
    if request.disconnect_policy not in pb.DisconnectPolicy.values():
        raise InvalidField.at("disconnect_policy", "is not a known policy")
    commands = checks.check_commands(list(request.commands), "commands", limits.COMMANDS_PER_CLAIM)
    permit(*commands)
    return Subscription(
        tenant=tenant(),
        worker_id=checks.check_worker_id(request.worker_id),
        commands=tuple(commands),
        max_outstanding=request.max_outstanding,
        max_batch=checks.check_count(
            request.max_batch_size,
            "max_batch_size",
            limits.BATCH_TASKS,
            limits.STREAM_BATCH_DEFAULT,
        ),
        lease_ms=_lease_ms(request),
        idle_seconds=idle_ms / 1000,
        release=request.disconnect_policy == pb.DISCONNECT_POLICY_RELEASE,
        peer=peer,
    )


def _stream_message(message: Message, subscription: Subscription) -> bytes | pb.StreamClaimResponse:
    if isinstance(message, streams.Batch):
        return encoding.stream_batch(message.leases)
    response = pb.StreamClaimResponse()
    if isinstance(message, streams.Opened):
        response.opened.stream_id = message.stream_id
        response.opened.max_outstanding = subscription.max_outstanding
        response.opened.idle_interval.FromMilliseconds(int(subscription.idle_seconds * 1000))
    elif isinstance(message, streams.LeaseOver):
        response.directive.CopyFrom(
            leases.lease_lost(message.task_id, message.fence, "the lease expired")
        )
    elif isinstance(message, streams.CancelAsked):
        response.directive.CopyFrom(leases.cancel_asked(*message))
    elif isinstance(message, streams.Closing):
        response.drain.reconnect_delay.FromMilliseconds(0)
        response.drain.SetInParent()
    else:
        response.idle.SetInParent()
        if message.now_ms:
            response.idle.server_time.FromMilliseconds(message.now_ms)
    return response
