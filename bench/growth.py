"""How costs grow: more streams on one queue, more queues, more processes."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench import cycling, waiting
from bench.consuming import request
from bench.cycling import Variant
from bench.servers import Server, started, takes_processes
from bench.session import quantile
from bench.tables import Table
from bench.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.session import Session

_TASKS: Final = 30_000
_PICKED: Final = 300
_STREAMS: Final = (1, 10, 100, 1_000)
_QUEUES: Final = (1, 10, 100)
_OF_MANY: Final = 100
"""Streams where the number of queues grows: every queue has one at least."""
_RUNS: Final = 3
_PER_CONNECTION: Final = 100


@dataclass(frozen=True, slots=True)
class Case:
    """One row."""

    queues: int
    streams: int
    processes: int = 1


def _cases() -> list[Case]:
    cases = [Case(1, streams) for streams in _STREAMS]
    cases += [Case(queues, _OF_MANY) for queues in _QUEUES if queues > 1]
    if takes_processes():
        cases += [Case(1, 10, 2), Case(1, 100, 2)]
    return cases


async def _picked(
    server: Server, commands: Sequence[str], streams: int, times: int, fault: str
) -> Traffic:
    traffic = Traffic(fault)
    requests = [request([commands[at % len(commands)]], 10) for at in range(streams)]
    count = max(2, -(-streams // _PER_CONNECTION))
    async with (
        waiting.clients(server, 1) as (producing,),
        waiting.clients(server, count) as working,
        waiting.streams(traffic.consumer, working, requests),
    ):
        await traffic.one_by_one(producing, commands, 20)
        traffic.start_over()
        await traffic.one_by_one(producing, commands, times)
    return traffic


def _pick_up(session: Session, case: Case, variant: Variant) -> Traffic:
    times = session.count(_PICKED, 30)
    with (
        tempfile.TemporaryDirectory() as folder,
        started(Path(folder), engine="native", processes=case.processes) as server,
    ):
        return asyncio.run(_picked(server, variant.commands(), case.streams, times, session.fault))


def run(session: Session) -> Iterator[Table]:
    """One case after the other."""
    session = replace(session, runs=min(session.runs, _RUNS))
    table = Table(
        f"growth: streams, queues, processes; native, median of {session.runs}",
        (
            *("queues", "streams", "processes", "cycles/s", "lost", "dup"),
            *("CPU us/task: server", "store", "pick-up p50 ms", "p99 ms"),
        ),
    )
    for case in _cases():
        name = f"{case.queues} queues, {case.streams} streams, {case.processes} processes"
        session.say(f"growth: {name}")
        variant = Variant(
            session.count(_TASKS, 2_000),
            queues=case.queues,
            streams=case.streams,
            processes=case.processes,
        )
        found, picked = cycling.measured(session, variant), _pick_up(session, case, variant)
        waits = [wait * 1_000 for wait in picked.waits]
        table.add(
            *(case.queues, case.streams, case.processes, found.rate),
            *(found.lost + picked.lost, found.duplicates + picked.duplicates),
            *(found.cpu[1], found.cpu[2], quantile(waits, 0.5), quantile(waits, 0.99)),
        )
        table.faults += [f"{name}: {fault}" for fault in found.faults]
        if picked.lost or picked.duplicates:
            table.faults.append(f"{name}: {picked.lost} lost, {picked.duplicates} twice")
    table.notes.append(
        f"worker: bare streams in one process with a credit of {Variant(1).credit:,} in all, 10 at"
        " least; batches of 500 go to the queues in turn; pick-up: one task at a time"
    )
    yield table
