"""One run of producer, server, store and worker, each a process of its own, all at once."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.machine import store_version
from bench.programs import driver
from bench.servers import Server, started
from bench.session import NotMeasured, Session, median
from codeq_grpc.client import Client

if TYPE_CHECKING:
    from collections.abc import Sequence

WARM: Final = 2_000
_LIMIT: Final = 120.0


@dataclass(frozen=True, slots=True)
class Variant:
    """What differs between runs. The producer has `calls` under way at a time. With `streams` the
    worker is bare streams, with so much `credit` in all; else it is the SDK's.
    """

    tasks: int
    batch: int = 500
    calls: int = 4
    engine: str = "native"
    processes: int = 1
    queues: int = 1
    streams: int = 0
    credit: int = 2_000
    concurrency: int = 500
    prefetch: int = 1_500
    fault: str = ""

    def commands(self) -> list[str]:
        """The queues."""
        return [f"bench-{at}" for at in range(self.queues)]


@dataclass(frozen=True, slots=True)
class Cycles:
    """What a run has found. CPU in microseconds a task: producer, server, store, worker."""

    rate: float
    enqueue_rate: float
    lost: int
    duplicates: int
    cpu: tuple[float, float, float, float]
    faults: tuple[str, ...]


def measured(session: Session, variant: Variant) -> Cycles:
    """The medians of several runs; the sums of what was lost and doubled."""
    variant = replace(variant, fault=session.fault)
    runs = [_run(session, variant) for _ in range(session.runs)]
    return Cycles(
        rate=median(run.rate for run in runs),
        enqueue_rate=median(run.enqueue_rate for run in runs),
        lost=sum(run.lost for run in runs),
        duplicates=sum(run.duplicates for run in runs),
        cpu=(
            median(run.cpu[0] for run in runs),
            median(run.cpu[1] for run in runs),
            median(run.cpu[2] for run in runs),
            median(run.cpu[3] for run in runs),
        ),
        faults=tuple(fault for run in runs for fault in run.faults),
    )


def _run(session: Session, variant: Variant) -> Cycles:
    """One run on a server of its own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        started(Path(folder), engine=variant.engine, processes=variant.processes) as server,
    ):
        session.store = session.store or store_version(server.store_url)
        return _on(server, variant)


def _job(server: Server, variant: Variant, warm: int) -> dict[str, Any]:
    return {
        "address": server.address,
        "token": server.token,
        "commands": variant.commands(),
        "tasks": variant.tasks,
        "warm": warm,
        "batch": variant.batch,
        "calls": variant.calls,
        "streams": variant.streams,
        "credit": variant.credit,
        "concurrency": variant.concurrency,
        "prefetch": variant.prefetch,
        "fault": variant.fault,
    }


def _on(server: Server, variant: Variant) -> Cycles:
    warm = max(WARM, variant.batch * variant.queues)
    job = _job(server, variant, warm)
    with (
        driver("work", job, limit=_LIMIT) as worker,
        driver("produce", job, limit=_LIMIT) as producer,
    ):
        producer.hear(30)
        worker.hear(60)
        before = server.cpu_seconds()
        producer.tell("go")
        made = producer.hear(90)
        done = worker.hear(90)
        after = server.cpu_seconds()
        kept = asyncio.run(_ended(server, variant.commands()))
    seconds = done["ended"] - made["began"]
    if not done["acknowledged"] or seconds <= 0:
        raise NotMeasured("no task came to its end")
    each = 1e6 / variant.tasks
    return Cycles(
        rate=done["acknowledged"] / seconds,
        enqueue_rate=made["made"] / (made["ended"] - made["began"]),
        lost=max(done["lost"], variant.tasks + warm - kept[0]),
        duplicates=done["duplicates"],
        cpu=(
            made["cpu"] * each,
            (after[0] - before[0]) * each,
            (after[1] - before[1]) * each,
            done["cpu"] * each,
        ),
        faults=tuple(_faults(variant, made, done, kept, warm)),
    )


async def _ended(server: Server, commands: Sequence[str]) -> tuple[int, int]:
    """How many tasks the server says are completed, and how many are anything else."""
    async with Client(server.address, token=server.token) as client:
        queues = (await client.queues(commands)).queues
    other = sum(q.pending + q.scheduled + q.blocked + q.in_progress + q.failed for q in queues)
    return sum(queue.completed for queue in queues), other


def _faults(
    variant: Variant, made: dict[str, Any], done: dict[str, Any], kept: tuple[int, int], warm: int
) -> list[str]:
    """What must not be, in words."""
    found = []
    if made["refused"] or made["made"] != variant.tasks:
        found.append(f"{made['made']} of {variant.tasks} tasks made, {made['refused']} refused")
    if kept != (variant.tasks + warm, 0):
        found.append(
            f"the server has {kept[0]} completed tasks and {kept[1]} others,"
            f" not {variant.tasks + warm} and 0"
        )
    found += [f"{done[name]} {name}" for name in ("lost", "damaged", "strange") if done[name]]
    return found
