"""Reads a StreamClaim in the background and keeps what came."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

import grpc

from codeq.v1 import codeq_service_pb2 as pb
from tests.integration.refusals import Refusal, read_refusal
from tests.support.server import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from codeq.v1.task_pb2 import ClaimedTask
    from tests.support.server import Caller


def stream_request(
    *commands: str,
    credit: int = 10,
    lease: float | None = None,
    idle: float | None = None,
    worker: str = "w",
    **more: Any,
) -> pb.StreamClaimRequest:
    """Times in seconds; `credit` is max_outstanding."""
    request = pb.StreamClaimRequest(
        worker_id=worker, commands=commands or ("RENDER",), max_outstanding=credit, **more
    )
    if lease is not None:
        request.lease_duration.FromTimedelta(timedelta(seconds=lease))
    if idle is not None:
        request.idle_interval.FromTimedelta(timedelta(seconds=idle))
    return request


class StreamReader:
    """One open stream: `async with` opens it, waits for `opened`, and cancels it at the end."""

    def __init__(self, caller: Caller, request: pb.StreamClaimRequest) -> None:
        self._call = caller.start("StreamClaim", request, timeout=None)
        self._news = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self.messages: list[pb.StreamClaimResponse] = []
        self.ended = False
        self.refusal: Refusal | None = None

    async def _read(self) -> None:
        try:
            async for message in self._call:
                self.messages.append(message)
                self._news.set()
        except grpc.aio.AioRpcError as error:
            self.refusal = read_refusal(error)
        except asyncio.CancelledError:
            pass
        self.ended = True
        self._news.set()

    @property
    def kinds(self) -> list[str]:
        """Which messages came, in order."""
        return [message.WhichOneof("message") or "" for message in self.messages]

    @property
    def tasks(self) -> list[ClaimedTask]:
        """All tasks that came, in order."""
        return [task for message in self.messages for task in message.batch.tasks]

    @property
    def lost(self) -> list[tuple[str, int]]:
        """Task id and fence of every directive."""
        leases = [m.directive.lease for m in self.messages if m.HasField("directive")]
        return [(lease.task_id, lease.fence) for lease in leases]

    async def until(self, check: Callable[[Self], object], within: float = TIMEOUT) -> None:
        """Returns once `check` holds of what came."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not check(self):
                    self._news.clear()
                    await self._news.wait()
        assert check(self), f"within {within} s came only {self.kinds}, {len(self.tasks)} tasks"

    async def take(self, count: int, within: float = TIMEOUT) -> list[ClaimedTask]:
        """All tasks that came, once they are at least `count`."""
        await self.until(lambda reader: len(reader.tasks) >= count, within)
        return self.tasks

    async def close(self) -> None:
        """Cancels the stream, as a client that goes away."""
        self._call.cancel()
        if self._reading is not None:
            await asyncio.wait([self._reading])

    async def __aenter__(self) -> Self:
        self._reading = asyncio.create_task(self._read())
        await self.until(lambda reader: reader.messages or reader.ended)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
