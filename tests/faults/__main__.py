"""`python -m tests.faults`: many tasks under every kind of fault, and a table of what came of it.

Exit code 1 when a promise was broken, when a run has shown nothing, or when something took longer
than promised.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.faults.catalogue import FAULTS
from tests.faults.cluster import Cluster
from tests.faults.nemesis import schedule
from tests.faults.run import Plan, attack
from tests.faults.table import page, too_late
from tests.support.stores import engines

if TYPE_CHECKING:
    from tests.faults.nemesis import Step
    from tests.faults.run import Result
    from tests.support.stores import Engine

_ENGINES: Final = {engine.label: engine for engine in engines()}


def _arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make soak ARGS=...", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    parser.add_argument("--faults", default=",".join(FAULTS), help="names, by commas: F1,F13,cut")
    parser.add_argument("--tasks", type=int, default=500, help="acknowledged in each run")
    parser.add_argument("--rounds", type=int, default=2, help="how often a fault comes in a run")
    parser.add_argument("--scale", type=float, default=1.0, help="of the time that faults last")
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="begin anew until these are over"
    )
    parser.add_argument("--stores", default=",".join(_ENGINES), help="by turns")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds for all to end")
    parser.add_argument("--write", type=Path, help="a file for the results, as Markdown")
    parser.add_argument("--first", action="store_true", help="stop at the first broken promise")
    given = parser.parse_args(words)
    given.faults, given.stores = given.faults.split(","), given.stores.split(",")
    for unknown in {*given.faults, *given.stores} - {*FAULTS, *_ENGINES}:
        parser.error(f"unknown: {unknown}; there are {', '.join((*FAULTS, *_ENGINES))}")
    return given


async def _soak(given: argparse.Namespace) -> list[Result]:
    until = time.monotonic() + 60 * given.minutes
    results: list[Result] = []
    seed = given.seed
    while not results or time.monotonic() < until:
        steps = schedule(seed, given.faults)
        print(f"--seed {seed}: " + ", ".join(f"{s.fault} {s.seed}" for s in steps), flush=True)
        for i, label in enumerate(given.stores):
            results += await _run(given, steps[i :: len(given.stores)], _ENGINES[label])
        if given.first and not all(result.good for result in results):
            break
        seed += 1
    return results


async def _run(given: argparse.Namespace, steps: list[Step], engine: Engine) -> list[Result]:
    plan = Plan(
        tasks=given.tasks,
        rounds=given.rounds,
        scale=given.scale,
        before=min(100, given.tasks),
        after=50,
        pace=0.01,
        patience=given.patience,
    )
    results: list[Result] = []
    if not steps:
        return results
    async with Cluster(engine, seed=given.seed) as cluster:
        for step in steps:
            started = time.monotonic()
            result = await attack(cluster, FAULTS[step.fault], step.seed, plan)
            results.append(result)
            counts = result.counts
            print(
                f"{'kept ' if result.good else 'BROKEN'} {step.fault:8} --seed {step.seed:10}"
                f" {engine.label} {counts['acked']} acked {counts['operations']} operations"
                f" {counts['stale tried']} stale {time.monotonic() - started:.0f} s",
                flush=True,
            )
            if not result.good:
                path = Path(tempfile.mkdtemp(prefix="codeq-faults-")) / "history.jsonl"
                result.history.write(path)
                again = f"--faults {step.fault} --seed {step.seed} --stores {engine.label}"
                print(f"{result.report()}\n  history: {path}\n  again: {again}", flush=True)
                if given.first:
                    break
    return results


def main() -> int:
    """Runs it; 0 when all promises were kept."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends it, it cleans up
    given = _arguments()
    results = asyncio.run(_soak(given))
    stores = " and ".join(
        f"{_ENGINES[label].name} {_ENGINES[label].version}" for label in given.stores
    )
    text = page(results, given.seed, stores)
    print(text)
    if given.write is not None:
        given.write.write_text(text)
    if late := too_late(results):
        print(f"TOO LATE: {late}")
    return int(bool(late) or not all(result.good for result in results))


if __name__ == "__main__":
    sys.exit(main())
