"""P3: how long a task waits for a worker that waits for it, idle and under load."""

from __future__ import annotations

import asyncio
import gc
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench import waiting
from bench.consuming import request
from bench.machine import store_version
from bench.servers import ENGINES, Server, started
from bench.session import quantile
from bench.tables import Table
from bench.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.session import Session

_TASKS: Final = 2_000
_PRODUCERS: Final = 4
_BATCH: Final = 20
_CREDIT: Final = 2_000
_FINDING: Final = 4.0
_LOAD: Final = 10.0
_SHARE: Final = 0.8
_COMMAND: Final = "latency"


def _row(table: Table, name: str, traffic: Traffic, rate: float | None) -> None:
    ms = [wait * 1_000 for wait in traffic.waits]
    late = quantile(traffic.late, 0.99) * 1_000
    table.add(
        *(name, len(ms), rate, quantile(ms, 0.5), quantile(ms, 0.99), max(ms, default=0.0), late),
        *(traffic.lost, traffic.duplicates),
    )
    if traffic.lost or traffic.duplicates:
        table.faults.append(f"{name}: {traffic.lost} lost, {traffic.duplicates} twice")


async def _measure(session: Session, server: Server, engine: str, table: Table) -> None:
    async with waiting.clients(server, 2) as (producing, working):
        traffic = Traffic(session.fault)
        requests = [request([_COMMAND], _CREDIT)]
        async with waiting.streams(traffic.consumer, [working], requests):
            await traffic.one_by_one(producing, [_COMMAND], 50)
            traffic.start_over()
            await traffic.one_by_one(producing, [_COMMAND], session.count(_TASKS, 50))
            _row(table, f"{engine}, idle", traffic, None)
            seconds = max(1.0, _FINDING * min(1.0, session.scale))
            most = await traffic.closed_loop(
                producing, _COMMAND, producers=_PRODUCERS, batch=_BATCH, seconds=seconds
            )
            traffic.start_over()
            rate = await traffic.open_loop(
                producing,
                _COMMAND,
                rate=_SHARE * most,
                batch=_BATCH,
                seconds=max(1.0, _LOAD * min(1.0, session.scale)),
            )
            _row(table, f"{engine}, {_SHARE:.0%} of {most:,.0f}/s", traffic, rate)


def run(session: Session) -> Iterator[Table]:
    """Both engines."""
    table = Table(
        "latency (P3): from just before Enqueue to the arrival by StreamClaim, ms; one run",
        ("load", "tasks", "tasks/s", "p50", "p99", "max", "p99 since due", "lost", "dup"),
    )
    for engine in ENGINES:
        session.say(f"latency: {engine}")
        with (
            tempfile.TemporaryDirectory() as folder,
            started(Path(folder), engine=engine) as server,
        ):
            session.store = session.store or store_version(server.store_url)
            gc.collect()
            gc.disable()  # what is measured is the server, not the pauses of this process
            asyncio.run(_measure(session, server, engine, table))
            gc.enable()
    table.notes.append(
        f"idle: one task at a time; load: {_BATCH} tasks a call, in an open loop at {_SHARE:.0%} of"
        f" what {_PRODUCERS} producers reach in a closed one; producers and worker are one process"
        " with one clock, whose own waiting is part of the figures"
    )
    yield table
