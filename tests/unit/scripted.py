"""A codeQ server that does what a test tells it, over a real connection, without a store."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc

from codeq.v1 import codeq_service_pb2 as pb, codeq_service_pb2_grpc as services, task_pb2
from codeq_grpc.client import Client
from codeq_grpc.wire.errors import DETAILS_KEY, to_item, to_status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from codeq_grpc.core.errors import CodeQError

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
        self.lost: set[int] = set()
        self.fail_calls: deque[CodeQError] = deque()
        """Raised by the next calls of Report and Heartbeat, one each."""
        self.fail_items: dict[int, CodeQError] = {}
        """Refuses reports of these fences."""
        self.refuse_streams: CodeQError | None = None
        self.idle_interval = 15.0
        self._fences = 0

    def offer(
        self, command: str, payload: bytes = b"", *, lease: float | None = None, attempt: int = 1
    ) -> int:
        """Makes a task claimable; returns the fence it will have."""
        self._fences += 1
        task = task_pb2.ClaimedTask(attempt=attempt, max_attempts=5)
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
        return pb.HeartbeatResponse(
            directives=[
                pb.Directive(lease=beat.lease, kind=pb.DIRECTIVE_KIND_LEASE_LOST, reason="LOST")
                for beat in request.leases
                if beat.lease.fence in self.lost
            ]
        )

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


async def _abort(context: Context, error: CodeQError) -> None:
    code, message, details = to_status(error)
    await context.abort(code, message, ((DETAILS_KEY, details),))


@asynccontextmanager
async def serving(scripted: Scripted) -> AsyncIterator[Client]:
    """A client of the scripted server."""
    server = grpc.aio.server()
    services.add_CodeQServiceServicer_to_server(scripted, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with Client(f"127.0.0.1:{port}", timeout=5) as client:
            yield client
    finally:
        await server.stop(None)


async def until(true: Callable[[], object], *, within: float = 5.0) -> None:
    """Waits until something is so."""
    async with asyncio.timeout(within):
        while not true():
            await asyncio.sleep(0.005)
