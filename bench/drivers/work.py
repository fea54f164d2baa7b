"""The worker: checks numbered tasks and ends them, by the SDK's Worker or by bare streams."""

from __future__ import annotations

import asyncio
import contextlib
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from bench import waiting
from bench.consuming import Consumer, request
from bench.drivers.talking import cpu_seconds, job, say, told
from bench.numbered import Book, Damaged
from bench.servers import Server
from codeq_grpc.client import Client
from codeq_grpc.worker import Reject, Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from codeq_grpc.worker import TaskContext
    from codeq_grpc.worker.reports import Ended

_STALLED: Final = 8.0
"""Seconds without news after which what is missing counts as lost."""
_LATE: Final = 0.2
"""Seconds in which second deliveries of tasks may still come."""
_CHANNELS: Final = 100
"""Streams of one connection."""


class Tally:
    """The book, and when it last changed."""

    def __init__(self, work: Any) -> None:
        self.book = Book(work.tasks)
        self.hang = work.tasks // 2 if work.fault == "hang" else -1
        self.changed = monotonic()
        self.moved = asyncio.Event()

    def ended(self, number: int) -> None:
        """The server has taken the end of a task."""
        self.book.end(number)
        if self.book.acknowledged in {0, self.book.count}:
            self.moved.set()
        self.changed = monotonic()

    async def warm(self, count: int) -> None:
        """Waits for the end of so many tasks that do not count."""
        async with asyncio.timeout(30):
            while self.book.warm < count:
                self.moved.clear()
                await self.moved.wait()

    async def whole(self) -> float:
        """Waits for the end of all; the time of the last."""
        self.changed = monotonic()
        while not self.book.whole:
            self.moved.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await self.moved.wait()
            if monotonic() - self.changed > _STALLED:
                break
        return self.changed


@contextlib.asynccontextmanager
async def _sdk(client: Client, tally: Tally, work: Any) -> AsyncIterator[None]:
    """The SDK's worker."""
    book, hang = tally.book, tally.hang

    async def handle(task: TaskContext) -> None:
        try:
            number = book.handle(task.payload)
        except Damaged as error:
            raise Reject(str(error)) from error
        if number == hang:
            await asyncio.sleep(3_600)

    def ended(end: Ended) -> None:
        if end.outcome is not None and end.outcome.WhichOneof("outcome") == "complete":
            tally.ended(int.from_bytes(end.context.payload[:8], "big"))

    worker = Worker(
        client,
        dict.fromkeys(work.commands, handle),
        concurrency=work.concurrency,
        prefetch=work.prefetch,
        on_ended=ended,
    )
    running = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait([running])


@contextlib.asynccontextmanager
async def _bare(client: Client, tally: Tally, work: Any) -> AsyncIterator[None]:
    """So many streams, each on all queues, with the same credit in all."""

    def arrived(data: bytes, _: float) -> int | None:
        try:
            number = tally.book.handle(data)
        except Damaged:
            return None
        return None if number == tally.hang else number

    consumer = Consumer(arrived, tally.ended)
    server = Server(work.address, work.token, "")
    count = -(-work.streams // _CHANNELS) - 1
    credit = max(10, work.credit // work.streams)
    # Each queue has a stream, each stream a queue, as far as that goes.
    each = [
        work.commands[at :: work.streams] or [work.commands[at % len(work.commands)]]
        for at in range(work.streams)
    ]
    requests = [request(commands[:32], credit) for commands in each]
    async with (
        waiting.clients(server, count) as more,
        waiting.streams(consumer, [client, *more], requests),
    ):
        yield


async def main() -> None:
    """Works until all is done or nothing comes any more."""
    work = job()
    tally = Tally(work)
    kind = _bare if work.streams else _sdk
    async with (
        Client(work.address, token=work.token) as client,
        kind(client, tally, work),
    ):
        await tally.warm(work.warm)
        used = cpu_seconds()
        say(ready=True)
        ended = await tally.whole()
        spent = cpu_seconds() - used
        await asyncio.sleep(_LATE)
        say(ended=ended, cpu=spent, **tally.book.verdict())
        await told()


if __name__ == "__main__":
    asyncio.run(main())
