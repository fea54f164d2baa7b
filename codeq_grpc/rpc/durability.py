"""OK only when what a call has changed is as durable as the server promises.

Which calls that holds for stands here. Claims are not among them: one that a power cut undoes
leaves its task pending, and what its worker reports is refused, for no fence is given out twice.
Nor are heartbeats without a checkpoint: without the extension, a lease ends as it would have.
Reads tell what is there, durable or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import grpc

from codeq_grpc.core.errors import TaskExists
from codeq_grpc.rpc.context import rest, wait_seconds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from codeq.v1 import codeq_service_pb2 as pb
    from codeq_grpc.store.durability import Durability

    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]

_QUEUE: Final = "/codeq.v1.CodeQService/"
_ADMIN: Final = "/codeq.v1.AdminService/"
_SCHEDULES: Final = "/codeq.v1.ScheduleService/"


def _always(_: Any) -> bool:
    return True


def _keeps_a_checkpoint(request: pb.HeartbeatRequest) -> bool:
    return any(item.progress.HasField("checkpoint") for item in request.leases)


PROMISES: Final[dict[str, Callable[[Any], bool]]] = {
    f"{_QUEUE}Enqueue": _always,
    f"{_QUEUE}BatchEnqueue": _always,
    f"{_QUEUE}Heartbeat": _keeps_a_checkpoint,
    f"{_QUEUE}Complete": _always,
    f"{_QUEUE}Fail": _always,
    f"{_QUEUE}Abandon": _always,
    f"{_QUEUE}Report": _always,
    f"{_QUEUE}CancelTasks": _always,
    f"{_QUEUE}RedriveTasks": _always,
    f"{_QUEUE}AdminCleanup": _always,
    f"{_ADMIN}UpdateQueue": _always,
    f"{_ADMIN}PauseQueue": _always,
    f"{_ADMIN}ResumeQueue": _always,
    f"{_ADMIN}PurgeQueue": _always,
    f"{_ADMIN}CreateApiKey": _always,
    f"{_ADMIN}RevokeApiKey": _always,
    f"{_SCHEDULES}CreateSchedule": _always,
    f"{_SCHEDULES}UpdateSchedule": _always,
    f"{_SCHEDULES}DeleteSchedule": _always,
    f"{_SCHEDULES}BatchSchedules": _always,
    f"{_SCHEDULES}TriggerSchedule": _always,
    f"{_SCHEDULES}BackfillSchedule": _always,
    f"{_SCHEDULES}RollbackSchedule": _always,
}
"""RPC -> whether the answer to this request is a promise."""
NO_PROMISES: Final = frozenset(
    {
        *(f"{_QUEUE}Claim", f"{_QUEUE}StreamClaim", f"{_QUEUE}GetTask", f"{_QUEUE}ListTasks"),
        *(f"{_QUEUE}WatchTasks", f"{_QUEUE}AdminQueues"),
        *(f"{_ADMIN}GetQueue", f"{_ADMIN}ListWorkers", f"{_ADMIN}ListAuditEvents"),
        *(f"{_ADMIN}ListApiKeys", f"{_SCHEDULES}GetSchedule", f"{_SCHEDULES}ListSchedules"),
        *(f"{_SCHEDULES}PreviewSchedule", f"{_SCHEDULES}ListFirings"),
        f"{_SCHEDULES}ListScheduleVersions",
    }
)


class DurabilityInterceptor(grpc.aio.ServerInterceptor):
    """Holds back the answers that are promises. Below D3 there is none of it."""

    def __init__(self, durability: Durability) -> None:
        self._durability = durability
        self._wrapped: dict[str, tuple[Handler, Handler]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wraps the handlers of unary calls that promise something."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method not in PROMISES:
            return handler
        known = self._wrapped.get(method)
        if known is None or known[0] is not handler:
            known = self._wrapped[method] = (handler, self._wrap(handler, PROMISES[method]))
        return known[1]

    def _wrap(self, handler: Handler, promises: Callable[[Any], bool]) -> Handler:
        behaviour: Any = handler.unary_unary
        durability = self._durability

        async def reached(since: int, context: Context) -> None:
            rest()
            most = int(durability.timeout * 1000)
            await durability.reached(since, wait_seconds(most, context))

        async def unary(request: Any, context: Context) -> Any:
            since = durability.since()
            try:
                response = await behaviour(request, context)
            except TaskExists:
                # As good as OK to who repeats an Enqueue.
                await reached(since, context)
                raise
            if promises(request):
                await reached(since, context)
            return response

        return grpc.unary_unary_rpc_method_handler(
            unary, handler.request_deserializer, handler.response_serializer
        )
