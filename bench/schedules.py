"""How schedules grow: what calls cost, and how late tasks are, the more of them are stored."""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc

from bench.servers import ENGINES, Server, started
from bench.session import NotMeasured, quantile
from bench.tables import Table
from codeq.v1 import (
    codeq_service_pb2 as pb,
    codeq_service_pb2_grpc as services,
    schedule_service_pb2 as sb,
    schedule_service_pb2_grpc as schedule_services,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    import redis

    from bench.session import Session

STORED: Final = (1_000, 10_000, 100_000)
AT_ONCE: Final = 1_000
"""Schedules that fire in one second, at each size."""
CROWD: Final = 10_000
"""The same, at the end."""
_SAMPLES: Final = 300
_CALLERS: Final = 32
_LATE: Final = 10.0
"""Seconds from the making of schedules until they fire, with some for a slow machine."""
_PATIENCE: Final = 120.0
_MONTH: Final = 30 * 86_400
"""Seconds until those fire that are only stored."""


@dataclass(slots=True)
class _Calls:
    """Of one server."""

    schedules: Any
    tasks: Any
    metadata: tuple[tuple[str, str], ...]
    store: redis.Redis

    async def make(self, name: str, at_ms: int | None = None, label: str = "stored") -> None:
        """One that fires once, or every day at some time."""
        made = sb.Schedule(schedule_id=name, labels={"bench": label})
        made.task.command = "FIRE"
        made.task.payload.data = b"x" * 100
        if at_ms is None:
            number = hash(name)
            made.spec.crons.append(f"{number % 60} {number // 60 % 24} * * *")
            made.spec.time_zone = "Europe/Berlin"
            made.spec.start_time.FromSeconds(int(time.time()) + _MONTH)
        else:
            made.spec.times.add().FromMilliseconds(at_ms)
        request = sb.CreateScheduleRequest(schedule=made)
        await self.schedules.CreateSchedule(request, timeout=30, metadata=self.metadata)

    async def many(self, names: Sequence[str], at_ms: int | None = None, label: str = "") -> None:
        """Some at a time."""
        left = iter(names)

        async def one() -> None:
            for name in left:
                await self.make(name, at_ms, label or "stored")

        async with asyncio.TaskGroup() as group:
            for _ in range(_CALLERS):
                group.create_task(one())

    async def timed(self, call: Callable[[int], Awaitable[Any]]) -> float:
        """The median in ms of such calls, one after the other."""
        took = []
        for i in range(_SAMPLES):
            began = time.perf_counter()
            await call(i)
            took.append((time.perf_counter() - began) * 1_000)
        return quantile(took, 0.5)

    def another(self, stored: int) -> Callable[[int], Awaitable[Any]]:
        """Makes one more."""

        async def call(i: int) -> None:
            await self.make(f"x{stored}-{i}", None, "extra")

        return call

    def get(self, stored: int) -> Callable[[int], Awaitable[Any]]:
        """Reads one or another."""

        async def call(i: int) -> None:
            name = f"s{i * 7_919 % stored:06}"
            request = sb.GetScheduleRequest(schedule_id=name)
            await self.schedules.GetSchedule(request, timeout=30, metadata=self.metadata)

        return call

    async def page(self, _: int) -> None:
        """A page of 50 by a label that all have."""
        request = sb.ListSchedulesRequest(page_size=50, labels={"bench": "stored"})
        found = await self.schedules.ListSchedules(request, timeout=30, metadata=self.metadata)
        if len(found.schedules) != 50:
            raise NotMeasured(f"a page of {len(found.schedules)}")

    async def fire(self, label: str, count: int) -> tuple[float, float]:
        """So many at one moment: seconds from then until half and all of their tasks were made."""
        lead = _LATE + count / 500
        at_ms = (int(time.time() + lead) + 1) * 1_000
        await self.many([f"{label}-{i:05}" for i in range(count)], at_ms, label)
        if time.time() * 1_000 > at_ms:
            raise NotMeasured(f"{count} schedules were not made within {lead:.0f} s")
        made = sorted([task - at_ms for task in await self._made(at_ms, count)])
        return made[len(made) // 2] / 1_000, made[-1] / 1_000

    async def _made(self, at_ms: int, count: int) -> list[int]:
        """When tasks were made: by claiming all of them."""
        found: list[int] = []
        ids: set[str] = set()
        claim = pb.ClaimRequest(worker_id="bench", commands=["FIRE"], max_tasks=500)
        claim.wait.FromSeconds(1)
        until = at_ms / 1_000 + _PATIENCE
        while len(found) < count and time.time() < until:
            given = await self.tasks.Claim(claim, timeout=30, metadata=self.metadata)
            reports = pb.ReportRequest()
            for one in given.tasks:
                found.append(one.create_time.ToMilliseconds())
                ids.add(one.lease.task_id)
                reports.outcomes.add().complete.lease.CopyFrom(one.lease)
            if given.tasks:
                await self.tasks.Report(reports, timeout=30, metadata=self.metadata)
        if len(found) != count or len(ids) != count or min(found) < at_ms:
            raise NotMeasured(f"{len(found)} tasks of {count}, {len(ids)} ids")
        return found

    def used(self) -> int:
        """Bytes of the store."""
        info: Any = self.store.info("memory")
        return int(info["used_memory"])


async def _measure(session: Session, server: Server, table: Table, engine: str) -> None:
    metadata = (("authorization", f"Bearer {server.token}"),)
    async with grpc.aio.insecure_channel(server.address) as channel:
        with server.store() as store:
            calls = _Calls(
                schedule_services.ScheduleServiceStub(channel),
                services.CodeQServiceStub(channel),
                metadata,
                store,
            )
            stored, before = 0, calls.used()
            for size in STORED:
                wanted = session.count(size, 200)
                session.say(f"schedules: {engine}, {wanted:,} stored")
                began, first = time.perf_counter(), stored
                await calls.many([f"s{i:06}" for i in range(stored, wanted)])
                took, stored = time.perf_counter() - began, wanted
                bytes_each = (calls.used() - before) / stored
                half, last = await calls.fire(f"at{size}", session.count(AT_ONCE, 100))
                table.add(
                    *(engine, stored, (stored - first) / took, bytes_each),
                    await calls.timed(calls.another(stored)),
                    await calls.timed(calls.get(stored)),
                    await calls.timed(calls.page),
                    *(half, last),
                )
            crowd = session.count(CROWD, 200)
            session.say(f"schedules: {engine}, {crowd:,} at one moment")
            half, last = await calls.fire("crowd", crowd)
            table.notes.append(
                f"{engine}: {crowd:,} in one second, with these stored: half of the tasks made"
                f" {half:.2f} s after it, the last {last:.2f} s"
            )


def run(session: Session) -> Iterator[Table]:
    """Both engines."""
    at_once = session.count(AT_ONCE, 100)
    table = Table(
        "schedules: what they cost with more of them stored",
        (
            *("engine", "stored", "created/s", "bytes each"),
            *("create ms", "get ms", "list 50 ms"),
            *(f"{at_once:,} at once: half after s", "all after s"),
        ),
        notes=[
            f"{_CALLERS} callers on one connection; payloads of 100 bytes, one label",
            f"calls: median of {_SAMPLES}, one after the other",
        ],
    )
    for engine in ENGINES:
        with (
            tempfile.TemporaryDirectory() as folder,
            started(Path(folder), engine=engine) as server,
        ):
            asyncio.run(_measure(session, server, table, engine))
    yield table
