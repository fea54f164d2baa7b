"""P6: the server's memory: with many streams, with many leases, and over time under load."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final

from bench import cpu, waiting
from bench.consuming import Consumer, request
from bench.machine import store_version
from bench.numbered import Book, payloads
from bench.servers import Server, started
from bench.session import NotMeasured
from bench.tables import Table
from bench.traffic import Traffic
from codeq_grpc.client import Client
from codeq_grpc.core.errors import CodeQError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.session import Session

_STREAMS: Final = 1_000
_CHANNELS: Final = 20
_LEASED: Final = 100_000
_RATE: Final = 1_000.0
_BATCH: Final = 20
_EVERY: Final = 0.5
_RETENTION: Final = 2.0
_MB: Final = 1e6


async def _grown(server: Server) -> float:
    """Megabytes of the server when they do not grow any more, or after some seconds."""
    last = 0.0
    for _ in range(10):
        await asyncio.sleep(0.5)
        now = cpu.resident(server.processes) / _MB
        if abs(now - last) < 0.1:
            break
        last = now
    return cpu.resident(server.processes) / _MB


async def _lease(session: Session, server: Server, table: Table) -> None:
    """Rows of streams and of leases."""
    leased = session.count(_LEASED, _STREAMS)
    book = Book(leased)
    consumer = Consumer(lambda data, _: book.handle(data), book.end)
    consumer.reports = False
    empty = await _grown(server)
    table.add("started", None, empty, None)
    requests = [request(["memory"], -(-leased // _STREAMS) + 10)] * _STREAMS
    async with (
        waiting.clients(server, _CHANNELS) as through,
        waiting.streams(consumer, through, requests),
    ):
        opened = await _grown(server)
        kb = (opened - empty) * 1_000 / _STREAMS
        name = f"{_STREAMS:,} streams, {_CHANNELS} connections"
        table.add(name, _STREAMS, opened, f"{kb:.1f} kB a stream")
        # The same path without anything leased, so that buffers of calls do not count.
        await _enqueue(through[0], "other", leased)
        before = await _grown(server)
        table.add(f"{leased:,} tasks enqueued", leased, before, None)
        await _enqueue(through[0], "memory", leased)
        await _until_all_came(book)
        (queue,) = (await through[0].queues(["memory"])).queues
        if queue.in_progress != leased:
            raise NotMeasured(f"{queue.in_progress} of {leased} tasks are leased")
        after = await _grown(server)
        each = f"{(after - before) * _MB / leased:.0f} B a lease"
        table.add(f"{leased:,} tasks leased", leased, after, each)


async def _until_all_came(book: Book) -> None:
    for _ in range(300):
        await asyncio.sleep(0.1)
        if not book.handled.count(0):
            return
    raise NotMeasured(f"{book.handled.count(0)} tasks did not come")


async def _enqueue(client: Client, command: str, count: int) -> None:
    specs = (Client.spec(command, data) for data in payloads(0, count))
    async for result in client.enqueue_many(specs, batch_size=500):
        if isinstance(result, CodeQError):
            raise NotMeasured(f"an enqueue was refused: {result}")


async def _load(session: Session, server: Server, table: Table) -> None:
    """A row of growth."""
    seconds = session.minutes * 60
    traffic = Traffic(session.fault)
    samples: list[tuple[float, float]] = []

    async def watch() -> None:
        while True:
            samples.append((monotonic() / 60, cpu.resident(server.processes) / _MB))
            await asyncio.sleep(_EVERY)

    async with waiting.clients(server, 2) as (producing, working):
        await producing.update_queue("steady", retention=_RETENTION)
        async with waiting.streams(traffic.consumer, [working], [request(["steady"], 2_000)]):
            watching = asyncio.create_task(watch())
            rate = await traffic.open_loop(
                producing, "steady", rate=_RATE, batch=_BATCH, seconds=seconds
            )
            watching.cancel()
    steady = samples[len(samples) // 3 :]  # caches and buffers have filled
    slope, _ = statistics.linear_regression(*zip(*steady, strict=True))
    table.add(
        f"{seconds:.0f} s of {rate:,.0f} tasks/s",
        traffic.ended,
        steady[-1][1],
        f"{slope:+.2f} MB a minute",
    )
    if traffic.lost or traffic.duplicates:
        table.faults.append(f"load: {traffic.lost} lost, {traffic.duplicates} twice")


def run(session: Session) -> Iterator[Table]:
    """Two servers: one that is filled, one that works."""
    table = Table(
        "memory (P6): resident memory of the server, native", ("after", "count", "MB", "each")
    )
    for measure in (_lease, _load):
        session.say(f"memory: {measure.__name__.strip('_')}")
        with (
            tempfile.TemporaryDirectory() as folder,
            started(Path(folder), engine="native", limit=300 + session.minutes * 60) as server,
        ):
            session.store = session.store or store_version(server.store_url)
            asyncio.run(measure(session, server, table))
    table.notes.append(
        "a lease: the growth from when as many tasks had been enqueued to another queue; the"
        " slope: least squares over the last two thirds of the load"
    )
    yield table
