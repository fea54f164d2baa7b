"""Many streams that wait, spread over a few connections."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from bench.session import NotMeasured
from codeq_grpc.client import Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from bench.consuming import Consumer
    from bench.servers import Server
    from codeq.v1.codeq_service_pb2 import StreamClaimRequest

_OWN_CONNECTION: Final = (("grpc.use_local_subchannel_pool", 1),)
"""Else all channels of a process to one address would share a connection."""


@contextlib.asynccontextmanager
async def clients(server: Server, count: int) -> AsyncIterator[list[Client]]:
    """So many, each with a connection of its own."""
    async with contextlib.AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(
                Client(server.address, token=server.token, options=_OWN_CONNECTION)
            )
            for _ in range(count)
        ]
        yield opened


@contextlib.asynccontextmanager
async def streams(
    consumer: Consumer,
    through: Sequence[Client],
    requests: Sequence[StreamClaimRequest],
    *,
    timeout: float = 60.0,
) -> AsyncIterator[None]:
    """Opens a stream for each request, reports what arrives, closes all. What breaks one of them
    is raised.
    """
    tasks = [
        asyncio.create_task(consumer.stream(through[at % len(through)], request))
        for at, request in enumerate(requests)
    ]
    tasks.append(asyncio.create_task(consumer.report(through)))
    try:
        await _until_open(consumer, tasks, len(requests), timeout)
        yield
        _raise_failures(tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _until_open(
    consumer: Consumer, tasks: Sequence[asyncio.Task[None]], count: int, timeout: float
) -> None:
    try:
        async with asyncio.timeout(timeout):
            while consumer.opened < count:
                _raise_failures(tasks)
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise NotMeasured(f"only {consumer.opened} of {count} streams opened") from None


def _raise_failures(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done() and not task.cancelled():
            error = task.exception()
            raise NotMeasured(f"a stream ended: {error}") from error
