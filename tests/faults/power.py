"""Cuts the store's power under load: `python -m tests.faults.power --level D2 --cuts 20`.

Prints what was told OK and was gone afterwards. At D2 and D3 that must be nothing; at D1 it is what
came in since the last sync, and the time from the first such OK to the cut is the window.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.faults.power_load import Load, Witness
from tests.faults.power_store import PowerStore
from tests.support.server import running_server
from tests.support.stores import engines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.stores import Engine

FSYNC: Final = {"D1": "everysec", "D2": "always", "D3": "always"}
_PRODUCERS: Final = 32
_WORKERS: Final = 4


@dataclass(slots=True)
class Tally:
    """What a run has shown."""

    level: str
    store: str
    seed: int
    cuts: int = 0
    acked: int = 0
    lost: int = 0
    completed: int = 0
    reverted: int = 0
    results_changed: int = 0
    completed_twice: int = 0
    claims: int = 0
    fences_twice: int = 0
    damaged: int = 0
    bytes_gone: int = 0
    windows: list[float] = field(default_factory=list)
    """Seconds from the first lost OK to the cut, of each cut that lost one."""
    repeated: dict[str, int] = field(default_factory=dict)

    @property
    def kept(self) -> bool:
        """Whether everything promised at D2 and D3 is true."""
        return not (
            self.lost or self.reverted or self.results_changed or self.completed_twice
        ) and not (self.fences_twice or self.damaged)

    def text(self) -> str:
        """For people."""
        windows = "none"
        if self.windows:
            middle, most = statistics.median(self.windows), max(self.windows)
            windows = f"{len(self.windows)} cuts, median {middle:.2f} s, longest {most:.2f} s"
        return (
            f"{self.level} on {self.store}, seed {self.seed}: {self.cuts} power cuts,"
            f" {self.bytes_gone} bytes gone with them\n"
            f"  enqueues told OK {self.acked}, lost {self.lost}; window: {windows}\n"
            f"  completions told OK {self.completed}, undone {self.reverted},"
            f" results changed {self.results_changed}, completed twice {self.completed_twice}\n"
            f"  claims {self.claims}, fences given twice {self.fences_twice};"
            f" payloads damaged {self.damaged}; calls repeated {self.repeated}"
        )


@contextlib.asynccontextmanager
async def _running(load: Load) -> AsyncIterator[None]:
    """The load, all of whose tasks are done in the end."""
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run())
        try:
            yield
        finally:
            load.stop()


async def _enough(load: Load, since: int, wanted: int) -> None:
    async with asyncio.timeout(120):
        while len(load.acked) < since + wanted or len(load.completed) < since:
            await asyncio.sleep(0.01)


async def cut_power(engine: Engine, level: str, *, cuts: int, each: int, seed: int) -> Tally:
    """Cuts `cuts` times, each after `each` more enqueues were told OK and up to a second more."""
    luck = random.Random(seed)
    tally = Tally(level, f"{engine.name} {engine.version}", seed)
    store = PowerStore(engine, fsync=FSYNC[level])
    with store:
        async with running_server(store, durability=level) as server:
            witness = Witness(store.url)
            load = Load(server.caller(), seed, _PRODUCERS, _WORKERS)
            async with _running(load):
                for _ in range(cuts):
                    await _enough(load, len(load.acked), each)
                    await asyncio.sleep(luck.random())
                    await _cut(store, load, witness, tally)
            await _judge(load, witness, tally)
            await witness.close()
    return tally


async def _cut(store: PowerStore, load: Load, witness: Witness, tally: Tally) -> None:
    at = time.monotonic()
    tally.bytes_gone += await asyncio.to_thread(store.cut)
    await asyncio.to_thread(store.start)
    tally.cuts += 1
    found = await witness.look(load)
    tally.lost += len(found.lost)
    tally.reverted += len(found.reverted)
    if found.lost:
        tally.windows.append(at - min(load.acked[task] for task in found.lost))
    # What is known to be lost is not to be lost again.
    tally.acked += len(found.lost)
    for task in found.lost:
        del load.acked[task]
    for task in {*found.lost, *found.reverted}:
        tally.completed += load.completed.pop(task, None) is not None
        load.accepted.pop(task, None)


async def _judge(load: Load, witness: Witness, tally: Tally) -> None:
    found = await witness.look(load)
    fences = [fence for _, fence in load.claims]
    tally.acked += len(load.acked)
    tally.completed += len(load.completed)
    tally.lost += len(found.lost) + len(load.acked.keys() - load.completed.keys())
    tally.reverted += len(found.reverted)
    tally.results_changed = len(await witness.changed_results(load))
    tally.completed_twice = sum(len(of) > 1 for of in load.accepted.values())
    tally.claims = len(fences)
    tally.fences_twice = len(fences) - len(set(fences))
    tally.damaged = len(load.damaged)
    tally.repeated = dict(load.repeated)


def main() -> None:
    """Runs as asked for; exit code 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.power", description=__doc__)
    parser.add_argument("--level", choices=FSYNC, action="append", help="default: each of them")
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--each", type=int, default=1_000, help="enqueues before a cut")
    parser.add_argument("--store", choices=["valkey", "redis"], default="valkey")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    options = parser.parse_args()
    engine = next((one for one in engines() if one.name == options.store), None)
    if engine is None:
        parser.error(f"{options.store} is not installed")
    broken = False
    for level in options.level or FSYNC:
        tally = asyncio.run(
            cut_power(engine, level, cuts=options.cuts, each=options.each, seed=options.seed)
        )
        sys.stdout.write(f"{tally.text()}\n")
        sys.stdout.flush()
        broken = broken or (level != "D1" and not tally.kept)
    sys.exit(broken)


if __name__ == "__main__":
    main()
