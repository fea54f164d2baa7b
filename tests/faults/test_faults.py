"""Every kind of fault once, briefly; `make soak` does the same for long.

The promises are those of docs/guarantees.md; how they are checked is in checkers.py. A failure
prints its seed; `make soak ARGS="--faults F13 --seed 7"` tries it again.
"""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.faults.catalogue import FAULTS
from tests.faults.cluster import Cluster
from tests.faults.run import Plan, attack
from tests.support.stores import engines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.support.stores import Engine

pytestmark = pytest.mark.asyncio(loop_scope="module")

_ENGINES = engines()
_TURNS = len(_ENGINES)
_RUNS = [(e, name) for i, e in enumerate(_ENGINES) for name in list(FAULTS)[i::_TURNS]]
"""Each fault meets one of the stores; `make soak` lets them meet both."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def clusters() -> AsyncIterator[Callable[[Engine], Awaitable[Cluster]]]:
    """One of each engine, from its first use on."""
    async with contextlib.AsyncExitStack() as stack:
        made: dict[Engine, Cluster] = {}

        async def cluster_of(engine: Engine) -> Cluster:
            if engine not in made:
                made[engine] = await stack.enter_async_context(Cluster(engine))
            return made[engine]

        yield cluster_of


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("engine", "name"), _RUNS, ids=[f"{engine.label}-{name}" for engine, name in _RUNS]
)
async def test_promises_hold(
    clusters: Callable[[Engine], Awaitable[Cluster]], engine: Engine, name: str, tmp_path: Path
) -> None:
    seed = random.randrange(1 << 31)
    print(f"--faults {name} --seed {seed}")
    result = await attack(await clusters(engine), FAULTS[name], seed, Plan())
    if not result.good:
        result.history.write(tmp_path / "history.jsonl")
    assert result.good, f"{result.report()}\nhistory: {tmp_path}"
