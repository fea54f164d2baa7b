"""The producer: enqueues numbered tasks through the SDK."""

from __future__ import annotations

import asyncio
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Any

from bench.drivers.talking import cpu_seconds, job, say, told
from bench.numbered import WARM, payloads
from codeq_grpc.client import Client
from codeq_grpc.core.errors import CodeQError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codeq.v1.task_pb2 import TaskSpec


def _specs(data: Iterator[bytes], commands: list[str], batch: int) -> Iterator[TaskSpec]:
    """Specs, each batch for the next queue."""
    at = 0
    while part := list(islice(data, batch)):
        command = commands[at % len(commands)]
        for one in part:
            yield Client.spec(command, one)
        at += 1


async def _enqueue(client: Client, data: Iterator[bytes], work: Any) -> tuple[int, int]:
    """How many tasks the server has taken and made, and how many it refused."""
    specs, found = _specs(data, work.commands, work.batch), {True: 0, False: 0}

    async def calls() -> None:
        while batch := list(islice(specs, work.batch)):
            async for result in client.enqueue_many(batch, batch_size=work.batch):
                found[not isinstance(result, CodeQError) and result.created] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(work.calls):
            group.create_task(calls())
    return found[True], found[False]


async def main() -> None:
    """Warms up, waits for the start, enqueues."""
    work = job()
    async with Client(work.address, token=work.token) as client:
        if work.warm:
            await _enqueue(client, payloads(WARM, work.warm), work)
        say(ready=True)
        await told()
        used, began = cpu_seconds(), monotonic()
        made, refused = await _enqueue(client, payloads(0, work.tasks, fault=work.fault), work)
        ended = monotonic()
        say(began=began, ended=ended, made=made, refused=refused, cpu=cpu_seconds() - used)
        await told()


if __name__ == "__main__":
    asyncio.run(main())
