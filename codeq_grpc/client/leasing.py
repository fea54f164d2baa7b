"""What workers call; `codeq_grpc.worker` does it for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from codeq_grpc.client.connection import Connection
from codeq_grpc.client.flows import call
from codeq_grpc.client.payloads import encode
from codeq_grpc.client.specs import Span, duration, seconds

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence


class Leasing(Connection):
    """Claims tasks, keeps their leases alive, reports how attempts ended."""

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
        return await self._run(call("Claim", request, pb.ClaimResponse, wait=seconds(wait)))

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
        progress: Sequence[task_pb2.Progress | None] | task_pb2.Progress | None = None,
        timeout: float | None = None,
    ) -> pb.HeartbeatResponse:
        """Extends up to 1000 leases by `extend` from now, by default the length they had.

        `progress` tells how far the work is: one for all, or one for each lease, in their
        order, None for no news.

        The response names the leases to stop working on. Those that are lost were not
        extended; those that are to be cancelled were, like all others.

        Raises:
            ValueError: There are not as many progresses as leases.
        """
        span = None if extend is None else duration(extend)
        refs = list(leases)
        if progress is None or isinstance(progress, task_pb2.Progress):
            progress = [progress] * len(refs)
        request = pb.HeartbeatRequest(
            leases=[
                pb.LeaseHeartbeat(lease=lease, extend=span, progress=told)
                for lease, told in zip(refs, progress, strict=True)
            ]
        )
        return await self._run(call("Heartbeat", request, pb.HeartbeatResponse, timeout=timeout))

    async def complete(
        self, lease: task_pb2.LeaseRef, result: object = b"", *, content_type: str | None = None
    ) -> None:
        """Ends a task well. The result is what `encode` takes, 1 MiB at most.

        Raises:
            LeaseLost: The lease is no longer yours; nothing was changed.
        """
        request = pb.CompleteRequest(lease=lease, result=encode(result, content_type))
        await self._run(call("Complete", request, pb.CompleteResponse))

    async def fail(self, lease: task_pb2.LeaseRef, error: task_pb2.TaskError) -> pb.FailResponse:
        """Ends an attempt badly; the response tells what the retry policy made of it.

        Raises:
            LeaseLost: The lease is no longer yours; nothing was changed.
        """
        request = pb.FailRequest(lease=lease, error=error)
        return await self._run(call("Fail", request, pb.FailResponse))

    async def abandon(self, lease: task_pb2.LeaseRef, *, delay: Span = 0.0) -> None:
        """Gives a lease back; the attempt does not count. `delay` keeps the task back.

        Raises:
            LeaseLost: The lease is no longer yours; nothing was changed.
        """
        request = pb.AbandonRequest(lease=lease, delay=duration(delay))
        await self._run(call("Abandon", request, pb.AbandonResponse))

    async def report(
        self, outcomes: Iterable[pb.Outcome], *, timeout: float | None = None
    ) -> pb.ReportResponse:
        """Ends up to 1000 attempts, each its way.

        The response lists the refused ones; `from_item` of `codeq_grpc.wire.errors` makes
        exceptions of them. May be repeated: the same end under the same fence is no error.
        """
        request = pb.ReportRequest(outcomes=outcomes)
        return await self._run(call("Report", request, pb.ReportResponse, timeout=timeout))
