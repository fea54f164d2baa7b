"""Every kind of fault once, briefly; `make soak` does the same for long.

The promises are those of docs/guarantees.md; how they are checked is in checkers.py. A failure
prints its seed; `make soak ARGS="--faults F13 --seed 7"` tries it again.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.faults.catalogue import FAULTS
from tests.faults.cluster import Cluster
from tests.faults.run import Plan, attack
from tests.support.stores import engines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.asyncio(loop_scope="module")

_ENGINES = engines()
_TURNS = len(_ENGINES)
_RUNS = [(e, name) for i, e in enumerate(_ENGINES) for name in list(FAULTS)[i::_TURNS]]
"""Each fault meets one of the stores; `make soak` lets them meet both."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    async with Cluster(request.param) as cluster:
        yield cluster


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("cluster", "name"),
    _RUNS,
    indirect=["cluster"],
    ids=[f"{engine.label}-{name}" for engine, name in _RUNS],
)
async def test_promises_hold(cluster: Cluster, name: str, tmp_path: Path) -> None:
    seed = random.randrange(1 << 31)
    print(f"--faults {name} --seed {seed}")
    result = await attack(cluster, FAULTS[name], seed, Plan())
    if not result.good:
        result.history.write(tmp_path / "history.jsonl")
    assert result.good, f"{result.report()}\nhistory: {tmp_path}"
