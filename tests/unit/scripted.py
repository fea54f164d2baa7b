"""codeQ servers that do what a test tells them, over a real connection, without a store."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc

from codeq.v1 import (
    admin_service_pb2_grpc as admin_services,
    codeq_service_pb2 as pb,
    codeq_service_pb2_grpc as services,
    schedule_service_pb2_grpc as schedule_services,
    task_pb2,
)
from codeq_grpc.client import Client
from codeq_grpc.client.channel import SERVICE_OF
from codeq_grpc.core.errors import CodeQError
from codeq_grpc.wire.errors import DETAILS_KEY, to_item, to_status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from google.protobuf.message import Message

    Context = grpc.aio.ServicerContext[Any, Any]


class Stream:
    """One StreamClaim as the server sees it."""

    def __init__(self, request: pb.StreamClaimRequest) -> None:
        self.request = request
        self.held: set[int] = set()
        self.say: asyncio.Queue[pb.StreamClaimResponse | CodeQError | None] = asyncio.Queue()
        self.open = True

    @property
    def credit(self) -> int:
        return self.request.max_outstanding


class Scripted(services.CodeQServiceServicer):
    """Keeps tasks in memory and what it was told in lists."""

    def __init__(self) -> None:
        self.waiting: deque[task_pb2.ClaimedTask] = deque()
        self.streams: list[Stream] = []
        self.outcomes: list[pb.Outcome] = []
        self.reports: list[int] = []
        self.beats: list[list[int]] = []
        self.batches: list[pb.BatchEnqueueRequest] = []
        self.progress: list[tuple[int, task_pb2.Progress]] = []
        """Of heartbeats that were not made to fail, with the fence."""
        self.lost: set[int] = set()
        self.withdrawn: dict[int, str] = {}
        """Fence -> reason; told in heartbeats."""
        self.fail_calls: deque[CodeQError] = deque()
        """Raised by the next calls of Report and Heartbeat, one each."""
        self.fail_items: dict[int, CodeQError] = {}
        """Refuses reports of these fences."""
        self.refuse_streams: CodeQError | None = None
        self.idle_interval = 15.0
        self._fences = 0

    def offer(
        self,
        command: str,
        payload: bytes = b"",
        *,
        lease: float | None = None,
        checkpoint: task_pb2.Payload | None = None,
    ) -> int:
        """Makes a task claimable; returns the fence it will have."""
        self._fences += 1
        task = task_pb2.ClaimedTask(attempt=1, max_attempts=5, checkpoint=checkpoint)
        task.lease.task_id = f"t{self._fences}"
        task.lease.fence = self._fences
        task.spec.command = command
        task.spec.payload.data = payload
        if lease is not None:
            task.spec.lease_duration.FromMilliseconds(int(lease * 1000))
        self.waiting.append(task)
        self._push()
        return self._fences

    def ends(self) -> dict[int, str]:
        """Fence -> how it ended."""
        ends = {}
        for outcome in self.outcomes:
            kind = outcome.WhichOneof("outcome") or ""
            ends[getattr(outcome, kind).lease.fence] = kind
        return ends

    def open_streams(self) -> list[Stream]:
        return [stream for stream in self.streams if stream.open]

    def _push(self) -> None:
        for stream in self.open_streams():
            batch = pb.ClaimedTasks()
            while self.waiting and len(stream.held) < stream.credit:
                task = self.waiting.popleft()
                stream.held.add(task.lease.fence)
                batch.tasks.append(task)
            if batch.tasks:
                stream.say.put_nowait(pb.StreamClaimResponse(batch=batch))

    async def StreamClaim(self, request: pb.StreamClaimRequest, context: Context) -> None:
        if self.refuse_streams is not None:
            await _abort(context, self.refuse_streams)
        stream = Stream(request)
        self.streams.append(stream)
        opened = pb.StreamOpened(stream_id="s", max_outstanding=request.max_outstanding)
        opened.idle_interval.FromMilliseconds(int(self.idle_interval * 1000))
        try:
            await context.write(pb.StreamClaimResponse(opened=opened))
            self._push()
            while (message := await stream.say.get()) is not None:
                if isinstance(message, Exception):
                    await _abort(context, message)
                await context.write(message)
        finally:
            stream.open = False

    async def Heartbeat(
        self, request: pb.HeartbeatRequest, context: Context
    ) -> pb.HeartbeatResponse:
        self.beats.append([beat.lease.fence for beat in request.leases])
        if self.fail_calls:
            await _abort(context, self.fail_calls.popleft())
        response = pb.HeartbeatResponse()
        for beat in request.leases:
            fence = beat.lease.fence
            if beat.HasField("progress"):
                self.progress.append((fence, beat.progress))
            if fence in self.lost:
                response.directives.append(_lost(beat.lease))
            elif fence in self.withdrawn:
                response.directives.append(cancel(fence, self.withdrawn[fence]))
        return response

    async def Report(self, request: pb.ReportRequest, context: Context) -> pb.ReportResponse:
        self.reports.append(len(request.outcomes))
        if self.fail_calls:
            await _abort(context, self.fail_calls.popleft())
        response = pb.ReportResponse()
        for at, outcome in enumerate(request.outcomes):
            fence = getattr(outcome, outcome.WhichOneof("outcome") or "").lease.fence
            if fence in self.fail_items:
                response.failures.append(to_item(at, self.fail_items.pop(fence)))
                continue
            self.outcomes.append(outcome)
            for stream in self.streams:
                stream.held.discard(fence)
        self._push()
        return response

    async def BatchEnqueue(
        self, request: pb.BatchEnqueueRequest, context: Context
    ) -> pb.BatchEnqueueResponse:
        self.batches.append(request)
        return pb.BatchEnqueueResponse(
            results=[pb.EnqueueResponse(task_id=spec.command) for spec in request.tasks]
        )


class Answering(
    services.CodeQServiceServicer,
    admin_services.AdminServiceServicer,
    schedule_services.ScheduleServiceServicer,
):
    """Answers unary calls from lists, one reply each, and keeps the requests.

    A reply is a message, an error, a bare status as from no codeQ server, or a function.
    """

    def __init__(self, **replies: list[Any]) -> None:
        self.requests: dict[str, list[Any]] = defaultdict(list)
        self._replies = {method: deque(listed) for method, listed in replies.items()}

    def next_reply(self, method: str, request: Message) -> Any:
        self.requests[method].append(request)
        return self._replies[method].popleft()


def _answers(method: str) -> Callable[..., Awaitable[Message]]:
    async def answer(self: Answering, request: Message, context: Context) -> Message:
        reply = self.next_reply(method, request)
        if isinstance(reply, CodeQError):
            await _abort(context, reply)
        if isinstance(reply, grpc.StatusCode):
            await context.abort(reply, "said by nobody")
        found: Message = await reply(request) if callable(reply) else reply
        return found

    return answer


for _method in SERVICE_OF:
    if _method not in {"StreamClaim", "WatchTasks"}:
        setattr(Answering, _method, _answers(_method))


def cancel(fence: int, reason: str = "") -> pb.Directive:
    """An order to cancel a task of `Scripted.offer`."""
    ref = task_pb2.LeaseRef(task_id=f"t{fence}", fence=fence)
    return pb.Directive(lease=ref, kind=pb.DIRECTIVE_KIND_CANCEL, reason=reason)


def _lost(ref: task_pb2.LeaseRef) -> pb.Directive:
    return pb.Directive(lease=ref, kind=pb.DIRECTIVE_KIND_LEASE_LOST, reason="LOST")


async def _abort(context: Context, error: CodeQError) -> None:
    code, message, details = to_status(error)
    await context.abort(code, message, ((DETAILS_KEY, details),))


@asynccontextmanager
async def serving(
    scripted: services.CodeQServiceServicer, *, timeout: float = 5
) -> AsyncIterator[Client]:
    """A client of the scripted server."""
    server = grpc.aio.server()
    services.add_CodeQServiceServicer_to_server(scripted, server)
    if isinstance(scripted, Answering):
        admin_services.add_AdminServiceServicer_to_server(scripted, server)
        schedule_services.add_ScheduleServiceServicer_to_server(scripted, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with Client(f"127.0.0.1:{port}", timeout=timeout) as client:
            yield client
    finally:
        await server.stop(None)


async def until(true: Callable[[], object], *, within: float = 5.0) -> None:
    """Waits until something is so."""
    async with asyncio.timeout(within):
        while not true():
            await asyncio.sleep(0.005)
