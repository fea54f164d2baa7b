"""Reads calls that stream in the background and keeps what came."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import grpc
from google.protobuf.message import Message

from codeq.v1 import codeq_service_pb2 as pb
from codeq.v1.task_pb2 import TaskState
from tests.integration.calling import start
from tests.integration.refusals import Refusal, read_refusal
from tests.support.server import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from codeq.v1.task_pb2 import ClaimedTask, Task
    from tests.support.server import Caller

_Message = TypeVar("_Message", bound=Message)


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


class Reader(Generic[_Message]):
    """One open call that streams: `async with` opens it, waits for its first message or its end,
    and cancels it at the end.
    """

    def __init__(self, caller: Caller, rpc: str, request: Message) -> None:
        self._call = start(caller, rpc, request, timeout=None)
        self._news = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self.messages: list[_Message] = []
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

    async def until(self, check: Callable[[Self], object], within: float = TIMEOUT) -> None:
        """Returns once `check` holds of what came."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not check(self):
                    self._news.clear()
                    await self._news.wait()
        assert check(self), f"within {within} s came only {self.messages}, {self.refusal}"

    async def close(self) -> None:
        """Cancels the call, as a client that goes away."""
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


class StreamReader(Reader[pb.StreamClaimResponse]):
    """An open StreamClaim."""

    def __init__(self, caller: Caller, request: pb.StreamClaimRequest) -> None:
        super().__init__(caller, "StreamClaim", request)

    @property
    def kinds(self) -> list[str]:
        """Which messages came, in order."""
        return [message.WhichOneof("message") or "" for message in self.messages]

    @property
    def tasks(self) -> list[ClaimedTask]:
        """All tasks that came, in order."""
        return [task for message in self.messages for task in message.batch.tasks]

    @property
    def directives(self) -> list[pb.Directive]:
        """All directives that came, in order."""
        return [m.directive for m in self.messages if m.HasField("directive")]

    @property
    def lost(self) -> list[tuple[str, int]]:
        """Task id and fence of every directive."""
        return [(one.lease.task_id, one.lease.fence) for one in self.directives]

    async def take(self, count: int, within: float = TIMEOUT) -> list[ClaimedTask]:
        """All tasks that came, once they are at least `count`."""
        await self.until(lambda reader: len(reader.tasks) >= count, within)
        return self.tasks


class WatchReader(Reader[pb.WatchTasksResponse]):
    """An open WatchTasks."""

    def __init__(self, caller: Caller, selector: pb.TaskSelector) -> None:
        super().__init__(caller, "WatchTasks", pb.WatchTasksRequest(selector=selector))

    @property
    def tasks(self) -> list[Task]:
        """Every task that was told of, in order."""
        return [task for message in self.messages for task in message.tasks]

    @property
    def gaps(self) -> int:
        """How often changes were skipped."""
        return sum(message.gap for message in self.messages)

    def states(self, task_id: str) -> list[str]:
        """The states in which a task was told of, in order, without what all names share."""
        found = [task.state for task in self.tasks if task.task_id == task_id]
        return [TaskState.Name(state).removeprefix("TASK_STATE_") for state in found]

    async def sees(self, task_id: str, state: str, within: float = TIMEOUT) -> None:
        """Returns once a task was told of in this state, the latest."""
        await self.until(lambda reader: reader.states(task_id)[-1:] == [state], within)
