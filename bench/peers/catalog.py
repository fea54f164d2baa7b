"""The peers: how each is started, when nothing is left in its store, and what to know of it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from bench.peers import parts
from bench.peers.stores import Beanstalkd, Valkey

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Command: TypeAlias = tuple[str, ...]

_DRIVERS: Final = "bench.peers.drivers"
_BIN: Final = parts.VENV / "bin"
_PYTHON: Final = str(_BIN / "python")
_PYTHON_ARQ: Final = str(parts.VENV_ARQ / "bin" / "python")
_NODE: Final = ("node", str(parts.BULLMQ))
_LATE: Final = "acknowledged after the work"


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to run a peer."""

    name: str
    part: str  # of `bench.peers.parts`
    tasks: int
    batch: str
    notes: str
    producer: Command
    workers: tuple[Command, ...]
    handling: int  # processes that handle tasks: a command may start several
    left: Callable[[Any], int]  # tasks its store has that are not acknowledged
    store: type[Valkey | Beanstalkd] = Valkey
    env: Mapping[str, str] = field(default_factory=dict)
    adds_in_flight: tuple[int, ...] = ()  # single adds are measured too, with so many calls


def _module(name: str, python: str = _PYTHON) -> Command:
    return (python, "-m", f"{_DRIVERS}.{name}")


def _lists(*keys: str) -> Callable[[Valkey], int]:
    """Sums the lengths of keys, of whatever type."""
    script = """
    local left = 0
    for _, key in ipairs(KEYS) do
        local kind = redis.call('TYPE', key).ok
        local length = {list = 'LLEN', hash = 'HLEN', zset = 'ZCARD', set = 'SCARD'}
        if length[kind] then left = left + redis.call(length[kind], key) end
    end
    return left"""
    return lambda store: int(store.client.eval(script, len(keys), *keys))


def _stream(store: Valkey) -> int:
    """Entries a consumer group has not acknowledged, or not seen."""
    groups = store.client.xinfo_groups("bench")
    return sum(group["pending"] + (group["lag"] or 0) for group in groups)


def _celery(name: str, kept: str, results: str) -> Peer:
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "error")
    app = (str(_BIN / "celery"), "-A", f"{_DRIVERS}.celery_app", "worker", *quiet, "-P", "solo")
    return Peer(
        name=name,
        part="python",
        tasks=6_000,
        batch="1 (no bulk call)",
        notes=f"2 solo workers (prefork 2: about 3/4), prefetch 64, acks_late, {kept}; {_LATE}",
        producer=_module("celery_app"),
        workers=((*app, "-n", "one@%h"), (*app, "-n", "two@%h")),
        handling=2,
        left=_lists("celery", "unacked"),
        env={"BENCH_RESULTS": results},
    )


_FOUND: Final = (
    Peer(
        name="bullmq",
        part="node",
        tasks=40_000,
        batch="400 (addBulk)",
        notes=f"1 process, concurrency 100, completed jobs removed; {_LATE}",
        producer=(_NODE[0], f"{_NODE[1]}/produce.cjs"),
        workers=((_NODE[0], f"{_NODE[1]}/work.cjs"),),
        handling=1,
        left=_lists("bull:bench:wait", "bull:bench:active", "bull:bench:prioritized"),
        env={"NODE_PATH": str(parts.NODE_MODULES)},
        adds_in_flight=(1, 100),
    ),
    _celery("celery", "no results", "0"),
    _celery("celery-results", "results kept in the store", "1"),
    Peer(
        name="rq",
        part="python",
        tasks=4_000,
        batch="400 (enqueue_many)",
        notes=f"2 processes of SimpleWorker, which does not fork for a job; no results; {_LATE}",
        producer=_module("rq_app"),
        workers=((*_module("rq_app"), "work"),) * 2,
        handling=2,
        left=_lists("rq:queue:bench", "rq:queue:bench:intermediate", "rq:wip:bench"),
    ),
    Peer(
        name="dramatiq",
        part="python",
        tasks=20_000,
        batch="1, 2 threads (no bulk call)",
        notes=f"2 processes of 8 threads, prefetch 400; {_LATE}",
        producer=_module("dramatiq_app"),
        workers=((str(_BIN / "dramatiq"), f"{_DRIVERS}.dramatiq_app", "-p", "2", "-t", "8"),),
        handling=2,
        left=_lists("dramatiq:bench", "dramatiq:bench.msgs"),
        env={"dramatiq_queue_prefetch": "400"},  # else it sleeps when threads have two each
    ),
    Peer(
        name="taskiq",
        part="python",
        tasks=15_000,
        batch="1, 100 in flight (no bulk call)",
        notes=f"RedisStreamBroker, 2 processes, 100 tasks each, uvloop, no results; {_LATE}",
        producer=_module("taskiq_app"),
        workers=(
            (
                *(str(_BIN / "taskiq"), "worker", f"{_DRIVERS}.taskiq_app:broker"),
                *("--workers", "2", "--ack-type", "when_executed", "--log-level", "WARNING"),
            ),
        ),
        handling=2,
        left=_stream,
    ),
    Peer(
        name="arq",
        part="arq",
        tasks=10_000,
        batch="1, 30 in flight (no bulk call)",
        notes=f"1 process, 10 jobs, uvloop, polls every 10 ms not 500, no results; {_LATE}",
        producer=_module("arq_app", _PYTHON_ARQ),
        workers=((*_module("arq_app", _PYTHON_ARQ), "work"),),
        handling=1,
        left=_lists("arq:queue"),
    ),
    Peer(
        name="beanstalkd",
        part="beanstalkd",
        tasks=100_000,
        batch="100 (pipelined puts)",
        notes=f"1 process, 16 reserves a message; log synced every second; {_LATE}",
        producer=_module("beanstalkd_app", sys.executable),
        workers=((*_module("beanstalkd_app", sys.executable), "work"),),
        handling=1,
        left=Beanstalkd.left,
        store=Beanstalkd,
    ),
    Peer(
        name="asynq",
        part="go",
        tasks=60_000,
        batch="1, 50 goroutines (no bulk call)",
        notes=f"1 process, concurrency 100, check interval 10 ms; {_LATE}",
        producer=(str(parts.ASYNQ_PROGRAM),),
        workers=((str(parts.ASYNQ_PROGRAM), "work"),),
        handling=1,
        left=_lists("asynq:{default}:pending", "asynq:{default}:active"),
    ),
)

PEERS: Final = {peer.name: peer for peer in _FOUND}
