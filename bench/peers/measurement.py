"""One measurement: workers made ready, the clock, and what was lost or doubled."""

from __future__ import annotations

import tempfile
import time
from array import array
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.peers import parts
from bench.peers.drivers.tasks import DAMAGED, WARM, WIDTH
from bench.peers.processes import Processes, Producer
from bench.peers.results import NotMeasured, Result

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.peers.catalog import Peer
    from bench.peers.stores import Beanstalkd, Valkey

_TICK: Final = 0.004
_LEAST: Final = 200
_WARM_ROUND: Final = 50
_WARM_WAIT: Final = 1.0
_STALLED: Final = 12.0  # what nobody has handled for so long is lost
_LATE: Final = 0.2  # a second handling may come a little after the first


class Journals:
    """The files in which handlers note numbers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def sizes(self) -> list[int]:
        """How many numbers each process has noted."""
        return [path.stat().st_size // WIDTH for path in self._folder.glob("seen.*")]

    def count(self) -> int:
        """How many all have noted."""
        return sum(self.sizes())

    def numbers(self) -> Counter[int]:
        """How often each number was noted."""
        seen: Counter[int] = Counter()
        for path in self._folder.glob("seen.*"):
            whole = path.read_bytes()
            seen.update(array("I", whole[: len(whole) // WIDTH * WIDTH]))
        if seen[DAMAGED]:
            raise NotMeasured(f"failed: {seen[DAMAGED]} payloads were damaged")
        return Counter({number: times for number, times in seen.items() if number < WARM})


@dataclass(frozen=True, slots=True)
class Bench:
    """What runs during one measurement."""

    peer: Peer
    tasks: int
    processes: Processes
    store: Valkey | Beanstalkd
    producer: Producer
    journals: Journals

    def left(self) -> int:
        """Tasks in the store that are not acknowledged."""
        return self.peer.left(self.store)

    def version(self) -> str:
        """What is measured."""
        return self.producer.version or self.store.version

    def warm(self) -> None:
        """Adds tasks until every worker process has handled some, and all are acknowledged."""
        total = 0
        while True:
            self.producer.say(f"warm {WARM + total} {_WARM_ROUND}")
            self.producer.hear()
            total += _WARM_ROUND
            until = time.monotonic() + _WARM_WAIT
            while time.monotonic() < until:
                self.processes.check()
                sizes = self.journals.sizes()
                ready = len(sizes) >= self.peer.handling and sum(sizes) >= total
                if ready and not self.left():
                    return
                time.sleep(_TICK)

    def cycles(self) -> float:
        """Runs the clock; the seconds until the last task was acknowledged, or else handled."""
        wanted = self.journals.count() + self.tasks
        began = grown = time.monotonic()
        last = 0
        self.producer.say("go")
        while True:
            self.processes.check()
            now, noted = time.monotonic(), self.journals.count()
            if noted > last:
                last, grown = noted, now
            if noted >= wanted and not self.left():
                ended = time.monotonic()
                if len(self.journals.numbers()) == self.tasks:
                    return ended - began
            if now - grown > _STALLED:
                break
            time.sleep(_TICK)
        if self.left() and len(self.journals.numbers()) == self.tasks:
            raise NotMeasured(f"failed: {self.left()} handled tasks were never acknowledged")
        return grown - began


@contextmanager
def _running(peer: Peer, tasks: int, *, workers: bool) -> Iterator[Bench]:
    parts.ensure(peer.part)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name,
        Processes(Path(name)) as processes,
    ):
        folder = Path(name)
        store = peer.store(processes)
        env = {"BENCH_PORT": str(store.port), "BENCH_FOLDER": name, "BENCH_TASKS": str(tasks)}
        env.update(peer.env)
        for index, command in enumerate(peer.workers if workers else ()):
            processes.start(f"worker{index}", command, env)
        producer = Producer(processes, peer.producer, env)
        yield Bench(peer, tasks, processes, store, producer, Journals(folder))


def _cycles(peer: Peer, tasks: int) -> Result:
    with _running(peer, tasks, workers=True) as bench:
        bench.warm()
        seconds = bench.cycles()
        time.sleep(_LATE)
        seen = bench.journals.numbers()
        return Result(
            name=peer.name,
            version=bench.version(),
            tasks=tasks,
            batch=peer.batch,
            cycles_per_second=len(seen) / seconds if seconds else 0.0,
            lost=tasks - len(seen),
            duplicates=seen.total() - len(seen),
            notes=peer.notes,
        )


def _adds(peer: Peer, tasks: int, in_flight: int) -> Result:
    with _running(peer, tasks, workers=False) as bench:
        began = time.monotonic()
        bench.producer.say(f"adds {in_flight}")
        bench.producer.hear()
        seconds = time.monotonic() - began
        return Result(
            name=f"{peer.name}-adds-{in_flight}",
            version=bench.version(),
            tasks=tasks,
            batch=f"1, {in_flight} in flight" if in_flight > 1 else "1, sequential",
            cycles_per_second=tasks / seconds,
            lost=tasks - bench.left(),
            duplicates=0,
            notes="adds a second, without workers",
        )


def measure(peer: Peer, scale: float) -> Iterator[Result]:
    """Full cycles, and single adds where the peer's entry asks for them."""
    tasks = max(_LEAST, round(peer.tasks * scale))
    yield _cycles(peer, tasks)
    for in_flight in peer.adds_in_flight:
        yield _adds(peer, tasks, in_flight)
