"""The limit: the same scripts and the same checks without gRPC, one process beside the store."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import redis

from bench import cpu
from bench.machine import store_version
from bench.programs import driver
from bench.session import NotMeasured, Session, median
from bench.tables import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME: Final = "limit"
TASKS: Final = 80_000
FLOWS: Final = 2
"""Calls of a kind in flight. One queue's calls of a kind join, so more of them change little."""
_PHASES: Final = ("enqueue", "claim", "report")


@dataclass(frozen=True, slots=True)
class Limit:
    """Cycles a second; CPU of the driver and of the store, and of each script by the store's own
    count, all in microseconds a task.
    """

    rate: float
    lost: int
    duplicates: int
    driver: float
    store: float
    scripts: tuple[float, ...] = ()


def _job(session: Session, url: str, batch: int, **more: Any) -> dict[str, Any]:
    tasks = session.count(TASKS, 2_000)
    job = {"store": url, "tasks": tasks, "batch": batch, "flows": FLOWS, "fault": session.fault}
    return {**job, "phases": False, **more}


@contextlib.contextmanager
def _store() -> Iterator[tuple[str, int]]:
    """A store of its own: its address and its process."""
    with tempfile.TemporaryDirectory() as folder, driver("hold", {"folder": folder}) as holding:
        told = holding.hear(30)
        yield told["url"], told["pid"]


def _mixed(session: Session, url: str, pid: int, batch: int) -> Limit:
    job = _job(session, url, batch, queue="mixed")
    with driver("direct", job, limit=90) as direct:
        direct.hear(30)
        before = cpu.seconds([pid])
        direct.tell("go")
        done = direct.hear(80)
        used = cpu.seconds([pid]) - before
    if not done["acknowledged"]:
        raise NotMeasured("no task came to its end")
    return Limit(
        rate=done["acknowledged"] / done["seconds"],
        lost=done["lost"],
        duplicates=done["duplicates"],
        driver=done["cpu"] * 1e6 / job["tasks"],
        store=used * 1e6 / job["tasks"],
    )


def _scripts(session: Session, url: str, batch: int) -> tuple[float, ...]:
    """Microseconds a task that the store says each script has taken."""
    job = _job(session, url, batch, queue="phases", phases=True)
    found = []
    with redis.Redis.from_url(url) as store, driver("direct", job, limit=90) as direct:
        direct.hear(30)
        for _ in _PHASES:
            store.config_resetstat()
            direct.tell("go")
            direct.hear(80)
            stats = store.info("commandstats")
            took = sum(
                stats.get(f"cmdstat_{name}", {}).get("usec", 0) for name in ("evalsha", "eval")
            )
            found.append(took / job["tasks"])
    return tuple(found)


def _measured(session: Session, batch: int) -> Limit:
    runs: list[Limit] = []
    scripts: tuple[float, ...] = ()
    for at in range(session.runs):
        with _store() as (url, pid):
            session.store = session.store or store_version(url)
            if at == 0:
                scripts = _scripts(session, url, batch)
            runs.append(_mixed(session, url, pid, batch))
    return Limit(
        rate=median(run.rate for run in runs),
        lost=sum(run.lost for run in runs),
        duplicates=sum(run.duplicates for run in runs),
        driver=median(run.driver for run in runs),
        store=median(run.store for run in runs),
        scripts=scripts,
    )


def rate(session: Session) -> float:
    """Cycles a second with batches of 500; measured now if it was not yet."""
    if NAME not in session.figures:
        session.say("limit, to compare with")
        session.figures[NAME] = _measured(session, 500).rate
    return session.figures[NAME]


def run(session: Session) -> Iterator[Table]:
    """Measures two sizes of batches."""
    table = Table(
        f"limit: the scripts without gRPC, one process beside the store; median of {session.runs}",
        (
            *("batch", "tasks", "cycles/s", "lost", "dup", "CPU us/task: driver", "store"),
            *(f"script us/task: {_PHASES[0]}", *_PHASES[1:], "store alone could"),
        ),
    )
    for batch in (500, 100):
        session.say(f"limit: batch {batch}")
        found = _measured(session, batch)
        if batch == 500:
            session.figures[NAME] = found.rate
        table.add(
            *(batch, session.count(TASKS, 2_000), found.rate, found.lost, found.duplicates),
            *(found.driver, found.store, *found.scripts, 1e6 / sum(found.scripts)),
        )
        if found.lost:
            table.faults.append(f"batch {batch}: {found.lost} tasks lost")
    table.notes.append(
        f"{FLOWS} calls of a kind in flight; the store's count of a script has neither reading"
        " its arguments nor writing its reply; the last column is 10^6 / their sum"
    )
    yield table
