"""One tenant's calls in an open loop: Enqueue, Claim and Complete, one call each."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import grpc

from bench.drivers.talking import job, say, told
from bench.numbered import check, payload
from codeq.v1 import codeq_service_pb2 as pb, codeq_service_pb2_grpc
from codeq_grpc.client import Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_LIMIT: Final = 10.0
"""Seconds that a call may take."""
_OWN_CONNECTION: Final = (("grpc.use_local_subchannel_pool", 1),)


class Cycles:
    """Cycles over some connections, how long each call and each whole cycle took."""

    def __init__(self, stubs: list[Any], work: Any) -> None:
        self._stubs = itertools.cycle(stubs)
        self._command = work.command
        self._metadata = (("authorization", f"Bearer {work.token}"),)
        self._numbers = itertools.count()
        self.start_over()

    def start_over(self) -> None:
        """Forgets the figures."""
        self.calls: list[float] = []
        self.cycles: list[float] = []
        self.failures: list[str] = []

    async def _call(self, method: Any, request: Any) -> Any:
        began = monotonic()
        answer = await method(request, metadata=self._metadata, timeout=_LIMIT)
        self.calls.append(monotonic() - began)
        return answer

    async def one(self, due: float) -> None:
        """A cycle, whose time counts from when it was due."""
        stub = next(self._stubs)
        spec = Client.spec(self._command, payload(next(self._numbers)))
        claim = pb.ClaimRequest(worker_id="bench", commands=[self._command], max_tasks=1)
        try:
            await self._call(stub.Enqueue, pb.EnqueueRequest(task=spec))
            (task,) = (await self._call(stub.Claim, claim)).tasks
            check(task.spec.payload.data)
            await self._call(stub.Complete, pb.CompleteRequest(lease=task.lease))
        except (grpc.RpcError, ValueError) as error:
            told_of = error.code().name if isinstance(error, grpc.RpcError) else str(error)
            self.failures.append(told_of)
        else:
            self.cycles.append(monotonic() - due)

    async def run(self, rate: float, seconds: float) -> int:
        """As many cycles a second, whatever becomes of those before; how many."""
        began, sent = monotonic(), 0
        async with asyncio.TaskGroup() as group:
            while (due := began + sent / rate) < began + seconds:
                if (pause := due - monotonic()) > 0:
                    await asyncio.sleep(pause)
                group.create_task(self.one(due))
                sent += 1
        return sent


@contextlib.asynccontextmanager
async def _stubs(work: Any) -> AsyncIterator[list[Any]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [
            codeq_service_pb2_grpc.CodeQServiceStub(
                await stack.enter_async_context(
                    grpc.aio.insecure_channel(work.address, options=_OWN_CONNECTION)
                )
            )
            for _ in range(work.connections)
        ]


async def main() -> None:
    """Warms up; then a phase for each line, of so many cycles a second and so many seconds."""
    work = job()
    if work.first:
        # What is measured is how long the server takes, not how long this process waits for a core.
        with contextlib.suppress(PermissionError):
            os.nice(-10)
    async with _stubs(work) as stubs:
        cycles = Cycles(stubs, work)
        await cycles.run(20, 1.0)
        gc.collect()
        gc.disable()
        say(ready=True)
        while True:
            rate, seconds = map(float, (await told()).split())
            cycles.start_over()
            sent = await cycles.run(rate, seconds)
            gc.collect()
            say(sent=sent, calls=cycles.calls, cycles=cycles.cycles, failures=cycles.failures)


if __name__ == "__main__":
    asyncio.run(main())
