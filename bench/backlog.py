"""P5: what a backlog costs: claim times and bytes at a thousand to a million pending tasks."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from bench import waiting
from bench.machine import store_version
from bench.numbered import check, payload
from bench.servers import Server, started
from bench.session import NotMeasured, median, quantile
from bench.tables import Table
from codeq.v1 import codeq_service_pb2 as pb
from codeq_grpc.client import Client
from codeq_grpc.core.errors import CodeQError
from codeq_grpc.store.scripts import CLAIM

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from bench.session import Session

_LEVELS: Final = (1_000, 10_000, 100_000, 1_000_000)
_CLAIMS: Final = 300
_SIZES: Final = (1, 100)
_COMMAND: Final = "backlog"
_BATCH: Final = 1_000
_FLOWS: Final = 2


async def _fill(client: Client, first: int, last: int) -> None:
    """Makes tasks with the numbers from `first` on."""

    async def part(begin: int, end: int) -> None:
        specs = (Client.spec(_COMMAND, payload(number)) for number in range(begin, end))
        async for result in client.enqueue_many(specs, batch_size=_BATCH):
            if isinstance(result, CodeQError):
                raise NotMeasured(f"an enqueue was refused: {result}")

    share = -(-(last - first) // _FLOWS)
    async with asyncio.TaskGroup() as group:
        for at in range(_FLOWS):
            begin = first + at * share
            group.create_task(part(min(begin, last), min(begin + share, last)))


def _used(store: redis.Redis) -> int:
    """Bytes of data: without what the store keeps for its file and its connections."""
    facts: dict[str, Any] = store.info("memory")
    other = ("mem_aof_buffer", "mem_clients_normal", "mem_clients_slaves")
    return int(facts["used_memory"]) - sum(int(facts.get(name, 0)) for name in other)


class Found(NamedTuple):
    """Of claims of one size at one level: their milliseconds, the median of their scripts in
    microseconds; bytes of a pending task.
    """

    size: int
    took: list[float]
    script: float
    each: float


class Claims:
    """Claims and completes, and keeps the number of pending tasks where it is."""

    def __init__(self, client: Client, level: int) -> None:
        self._client = client
        self.level = level
        self._next = level
        self.seen: set[int] = set()
        self.ended = 0
        self.duplicates = 0

    async def times(self, size: int, claims: int) -> list[float]:
        """Milliseconds of each of so many unary claims."""
        took = []
        for _ in range(claims):
            await _fill(self._client, self._next, self._next + size)
            self._next += size
            began = perf_counter()
            claimed = (await self._client.claim([_COMMAND], worker_id="b", max_tasks=size)).tasks
            took.append((perf_counter() - began) * 1_000)
            if len(claimed) != size:
                raise NotMeasured(f"a claim of {size} gave {len(claimed)}")
            await self._end(claimed)
        return took

    async def _end(self, claimed: Any) -> None:
        numbers = {check(task.spec.payload.data) for task in claimed}
        self.duplicates += len(claimed) - len(numbers - self.seen)
        self.seen |= numbers
        response = await self._client.report(
            [pb.Outcome(complete=pb.CompleteRequest(lease=task.lease)) for task in claimed]
        )
        self.ended += len(claimed) - len(response.failures)

    async def check(self) -> list[str]:
        """What does not add up."""
        (queue,) = (await self._client.queues([_COMMAND])).queues
        found = []
        if queue.pending != self.level or queue.in_progress or queue.completed != self.ended:
            found.append(
                f"{queue.pending} pending, {queue.in_progress} in progress, {queue.completed}"
                f" completed, not {self.level}, 0 and {self.ended}"
            )
        if self.duplicates:
            found.append(f"{self.duplicates} claimed twice")
        return found


def _script_times(store: redis.Redis) -> list[float]:
    """Microseconds of each claim script since the log was reset."""
    return [
        float(entry["duration"])
        for entry in store.slowlog_get(100_000)
        if CLAIM.sha in entry["command"]
    ]


async def _level(server: Server, level: int, claims: int) -> list[Found]:
    """What each size of claims finds, on a queue that has exactly `level` pending tasks."""
    found = []
    async with waiting.clients(server, 1) as (client,):
        with server.store() as store:
            await client.enqueue("other")  # scripts are loaded, connections open
            empty = _used(store)
            await _fill(client, 0, level)
            each = (_used(store) - empty) / level
            (queue,) = (await client.queues([_COMMAND])).queues
            if queue.pending != level:
                raise NotMeasured(f"{queue.pending} tasks pending, not {level}")
            worker = Claims(client, level)
            store.config_set("slowlog-max-len", 100_000)
            for size in _SIZES:
                await worker.times(size, 20)
                store.config_set("slowlog-log-slower-than", 0)
                store.slowlog_reset()
                took = await worker.times(size, claims)
                scripts = _script_times(store)
                store.config_set("slowlog-log-slower-than", 10_000)
                if len(scripts) < claims:
                    raise NotMeasured(f"the slow log has {len(scripts)} of {claims} claims")
                found.append(Found(size, took, median(scripts), each))
            faults = await worker.check()
    if faults:
        raise NotMeasured(f"at {level}: {'; '.join(faults)}")
    return found


def _at(session: Session, level: int, claims: int) -> list[Found]:
    """One level, on a server of its own."""
    with tempfile.TemporaryDirectory() as folder, started(Path(folder), engine="native") as server:
        session.store = session.store or store_version(server.store_url)
        return asyncio.run(_level(server, level, claims))


def run(session: Session) -> Iterator[Table]:
    """One level after the other."""
    table = Table(
        f"backlog (P5): unary claims with so many pending, native; {_CLAIMS} claims each",
        (
            *("pending", "claim of", "p50 ms", "p99 ms", "x first", "script us", "x first"),
            "bytes/task",
        ),
    )
    first: dict[int, tuple[float, float]] = {}
    claims = session.count(_CLAIMS, 50)
    for wanted in _LEVELS:
        level = max(200, round(wanted * min(1.0, session.scale)))
        session.say(f"backlog: {level} pending")
        for found in _at(session, level, claims):
            p50 = quantile(found.took, 0.5)
            base = first.setdefault(found.size, (p50, found.script))
            table.add(
                *(level, found.size, p50, quantile(found.took, 0.99), p50 / base[0]),
                *(found.script, found.script / base[1], found.each),
            )
    table.notes.append(
        "as many are enqueued as are claimed, so that the backlog stays; script: median of the"
        " store's slow log; bytes: used_memory without the buffers of file and connections, by"
        " tasks of 100 B"
    )
    yield table
