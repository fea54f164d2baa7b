"""The client: one typed method for each call of the API, asynchronous, over one channel."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Self

import grpc

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from codeq_grpc.client import batches, channel as channels
from codeq_grpc.client.calls import Calls
from codeq_grpc.client.errors import DeadlineExceeded, ServerUnavailable
from codeq_grpc.client.payloads import encode
from codeq_grpc.client.specs import Span, duration, seconds, spec
from codeq_grpc.core import clock, limits
from codeq_grpc.core.errors import Draining, StoreUnavailable
from codeq_grpc.wire.errors import from_item

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Sequence
    from datetime import datetime
    from types import TracebackType
    from typing import Unpack

    from codeq_grpc.client.specs import SpecOptions
    from codeq_grpc.core.errors import CodeQError

DEFAULT_TARGET: Final = "127.0.0.1:50051"
ENDED: Final = frozenset({task_pb2.TASK_STATE_COMPLETED, task_pb2.TASK_STATE_FAILED})
_WAIT_MAX: Final = limits.WAIT_MAX_MS / 1000
_NOT_OPEN: Final = "the client is not open: use `async with Client(...) as client`"
_OUTAGE_PAUSE: Final = 0.5
_POLL_PAUSE: Final = 0.05
"""Against a server that answers at once, as one does that is about to stop."""


class Client:
    """Speaks to a codeQ server; an asynchronous context manager.

    ```python
    async with Client("127.0.0.1:50051", token="cq_...") as client:
        task_id = (await client.enqueue("greet", {"name": "Ada"})).task_id
        task = await client.wait_for_end(task_id, timeout=60)
        print(decode(task.result))
    ```

    `timeout` is the deadline of a call in seconds; `credentials` are those of TLS, without
    them the connection is plain text; `wait_for_ready` makes calls wait for a server that is
    not there yet instead of failing; `options` are gRPC channel options on top of ours.

    Every method raises `CodeQError`: the classes of `codeq_grpc.core.errors` for what the
    server refused, those of `codeq_grpc.client.errors` for calls it did not answer.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        token: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        timeout: float = 30.0,
        wait_for_ready: bool | None = None,
        options: Sequence[tuple[str, str | int]] = (),
    ) -> None:
        self.target = target
        self._token = token
        self._credentials = credentials
        self._timeout = timeout
        self._wait_for_ready = wait_for_ready
        self._options = options
        self._channel: grpc.aio.Channel | None = None
        self._calls: Calls | None = None

    async def __aenter__(self) -> Self:
        # Here and not in __init__: a channel belongs to the running loop.
        self._channel = channels.open_channel(self.target, self._credentials, self._options)
        self._calls = Calls(
            self._channel,
            token=self._token,
            timeout=self._timeout,
            wait_for_ready=self._wait_for_ready,
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the channel; calls in flight are cancelled."""
        channel, self._channel, self._calls = self._channel, None, None
        if channel is not None:
            await channel.close()

    async def ready(self, timeout: Span) -> None:
        """Waits until there is a connection.

        Raises:
            ServerUnavailable: There is none within `timeout`.
        """
        if self._channel is None:
            raise RuntimeError(_NOT_OPEN)
        try:
            async with asyncio.timeout(seconds(timeout)):
                await self._channel.channel_ready()
        except TimeoutError:
            raise ServerUnavailable(f"no server answers at {self.target}") from None

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        if self._channel is None:
            return False
        return self._channel.get_state() is grpc.ChannelConnectivity.READY

    @property
    def _call(self) -> Calls:
        if self._calls is None:
            raise RuntimeError(_NOT_OPEN)
        return self._calls

    async def enqueue(
        self, command: str, payload: object = b"", **options: Unpack[SpecOptions]
    ) -> pb.EnqueueResponse:
        """Adds one task and returns its id and state; arguments as in `spec`.

        Not repeated by itself: after `ServerUnavailable` or `DeadlineExceeded` the task may
        exist.

        Raises:
            InvalidField: The server refuses a field; `fields` names it.
            StoreFull: The store is out of memory.
        """
        return await self.enqueue_spec(spec(command, payload, **options))

    async def enqueue_spec(self, task: task_pb2.TaskSpec) -> pb.EnqueueResponse:
        """As `enqueue`, for a spec that was made before."""
        request = pb.EnqueueRequest(task=task)
        return await self._call.unary("Enqueue", request, pb.EnqueueResponse)

    async def enqueue_many(
        self,
        specs: Iterable[task_pb2.TaskSpec] | AsyncIterable[task_pb2.TaskSpec],
        *,
        atomic: bool = False,
        batch_size: int = batches.DEFAULT_TASKS,
    ) -> AsyncIterator[pb.EnqueueResponse | CodeQError]:
        """Adds many tasks; yields for each spec, in order, its response or its error.

        Specs are taken as calls are made, at most `batch_size` (1 to 1000) and 3 MiB each, so
        that the flow may be longer than memory. `atomic` adds all or none, in one call, all of
        one command.

        Raises:
            CodeQError: A whole call failed. What was yielded before stands; of the batch under
                way, up to `batch_size` tasks, it is not known unless the server refused it.
            ValueError: `atomic`, and the specs do not fit in one call.
        """
        if atomic:
            batch = await batches.whole(specs)
            for result in await self._enqueue_batch(batch, atomic=True) if batch else ():
                yield result
            return
        async for batch in batches.cut(specs, tasks=batch_size):
            for result in await self._enqueue_batch(batch, atomic=False):
                yield result

    async def _enqueue_batch(
        self, batch: list[task_pb2.TaskSpec], *, atomic: bool
    ) -> list[pb.EnqueueResponse | CodeQError]:
        if (error := batches.oversize(batch[0])) is not None:
            return [error]  # `cut` sends such a spec alone
        request = pb.BatchEnqueueRequest(tasks=batch, atomic=atomic)
        response = await self._call.unary("BatchEnqueue", request, pb.BatchEnqueueResponse)
        failures = {item.index: from_item(item) for item in response.failures}
        return [failures.get(at, result) for at, result in enumerate(response.results)]

    async def claim(
        self,
        commands: Sequence[str],
        *,
        worker_id: str,
        max_tasks: int = 1,
        lease_duration: Span | None = None,
        wait: Span = 0.0,
    ) -> pb.ClaimResponse:
        """Leases up to `max_tasks` of these queues, in order of preference.

        Waits up to `wait` (60 s at most) for the first one; an empty response means that none
        came. A call that is cancelled gives its leases back.
        """
        request = pb.ClaimRequest(worker_id=worker_id, commands=commands, max_tasks=max_tasks)
        if lease_duration is not None:
            request.lease_duration.CopyFrom(duration(lease_duration))
        request.wait.CopyFrom(duration(wait))
        return await self._call.unary("Claim", request, pb.ClaimResponse, wait=seconds(wait))

    def stream_claim(
        self, request: pb.StreamClaimRequest
    ) -> AsyncGenerator[pb.StreamClaimResponse]:
        """Opens a stream of leased tasks, for as long as it is read; see `codeq_grpc.worker`.

        Ignore kinds of messages that you do not know. Close the iterator (`aclosing`) to end
        the stream at a chosen time.
        """
        return self._call.stream("StreamClaim", request, pb.StreamClaimResponse)

    async def heartbeat(
        self,
        leases: Iterable[task_pb2.LeaseRef],
        *,
        extend: Span | None = None,
        timeout: float | None = None,
    ) -> pb.HeartbeatResponse:
        """Extends up to 1000 leases by `extend` from now, by default the length they had.

        The response names the leases to stop working on; every other one was extended.
        """
        span = None if extend is None else duration(extend)
        request = pb.HeartbeatRequest(
            leases=[pb.LeaseHeartbeat(lease=lease, extend=span) for lease in leases]
        )
        return await self._call.unary("Heartbeat", request, pb.HeartbeatResponse, timeout=timeout)

    async def complete(
        self, lease: task_pb2.LeaseRef, result: object = b"", *, content_type: str | None = None
    ) -> None:
        """Ends a task well. The result is what `encode` takes, 1 MiB at most.

        Raises:
            LeaseLost: The lease is no longer yours; nothing was changed.
        """
        request = pb.CompleteRequest(lease=lease, result=encode(result, content_type))
        await self._call.unary("Complete", request, pb.CompleteResponse)

    async def fail(self, lease: task_pb2.LeaseRef, error: task_pb2.TaskError) -> pb.FailResponse:
        """Ends an attempt badly; the response tells what the retry policy made of it.

        Raises:
            LeaseLost: The lease is no longer yours; nothing was changed.
        """
        request = pb.FailRequest(lease=lease, error=error)
        return await self._call.unary("Fail", request, pb.FailResponse)

    async def abandon(self, lease: task_pb2.LeaseRef, *, delay: Span = 0.0) -> None:
        """Gives a lease back; the attempt does not count. `delay` keeps the task back.

        Raises:
            LeaseLost: The lease is no longer yours; nothing was changed.
        """
        request = pb.AbandonRequest(lease=lease, delay=duration(delay))
        await self._call.unary("Abandon", request, pb.AbandonResponse)

    async def report(
        self, outcomes: Iterable[pb.Outcome], *, timeout: float | None = None
    ) -> pb.ReportResponse:
        """Ends up to 1000 attempts, each its way.

        The response lists the refused ones; `from_item` of `codeq_grpc.wire.errors` makes
        exceptions of them. May be repeated: the same end under the same fence is no error.
        """
        request = pb.ReportRequest(outcomes=outcomes)
        return await self._call.unary("Report", request, pb.ReportResponse, timeout=timeout)

    async def get_task(
        self, task_id: str, *, full: bool = False, wait: Span | None = None
    ) -> task_pb2.Task:
        """Reads a task; `full` adds payload and result, `wait` (60 s at most) waits for its end.

        Raises:
            TaskNotFound: There is no such task, or it is another tenant's.
        """
        view = task_pb2.TASK_VIEW_FULL if full else task_pb2.TASK_VIEW_BASIC
        request = pb.GetTaskRequest(task_id=task_id, view=view)
        if wait is not None:
            request.wait.CopyFrom(duration(wait))
        held = 0.0 if wait is None else seconds(wait)
        response = await self._call.unary("GetTask", request, pb.GetTaskResponse, wait=held)
        return response.task

    async def wait_for_end(
        self, task_id: str, timeout: Span | None = None, *, full: bool = True
    ) -> task_pb2.Task:
        """Waits until a task is COMPLETED or FAILED and returns it.

        An outage of the server or its store shorter than the client's timeout goes unnoticed.

        Raises:
            DeadlineExceeded: It has not ended within `timeout`.
            TaskNotFound: There is no such task, or it is another tenant's.
        """
        limit = None if timeout is None else seconds(timeout)
        try:
            async with asyncio.timeout(limit):
                while True:
                    task = await self._outlast(task_id, full=full)
                    if task.state in ENDED:
                        return task
                    await asyncio.sleep(_POLL_PAUSE)
        except TimeoutError:
            raise DeadlineExceeded(f"task {task_id} has not ended within {limit:g} s") from None

    async def _outlast(self, task_id: str, *, full: bool) -> task_pb2.Task:
        """Asks once, again and again through an outage."""
        patience = clock.monotonic() + self._timeout
        while True:
            try:
                return await self.get_task(task_id, full=full, wait=_WAIT_MAX)
            except (Draining, ServerUnavailable, StoreUnavailable):
                if clock.monotonic() >= patience:
                    raise
            await asyncio.sleep(_OUTAGE_PAUSE)

    async def queues(self, commands: Iterable[str] = ()) -> pb.AdminQueuesResponse:
        """Counts and health of the tenant's queues: these, or all."""
        request = pb.AdminQueuesRequest(commands=commands)
        return await self._call.unary("AdminQueues", request, pb.AdminQueuesResponse)

    async def cleanup(
        self,
        *,
        limit: int | None = None,
        before: datetime | None = None,
        states: Iterable[task_pb2.TaskState] = (),
    ) -> pb.AdminCleanupResponse:
        """Deletes up to `limit` (default 1000) tasks that ended before an aware time.

        Call it again while the response says that `limit` were deleted.
        """
        request = pb.AdminCleanupRequest(limit=limit, states=states)
        if before is not None:
            if before.tzinfo is None:
                raise ValueError("before must be aware")
            request.before.FromDatetime(before)
        return await self._call.unary("AdminCleanup", request, pb.AdminCleanupResponse)

    spec = staticmethod(spec)
