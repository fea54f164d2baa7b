"""Every kind of fault once, briefly; `make soak` does the same for long.

The promises are those of docs/guarantees.md; how they are checked is in checkers.py. A failure
prints its seed: `make soak ARGS="--faults F13 --seed 7"` repeats it.
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


@pytest_asyncio.fixture(
    loop_scope="module",
    scope="module",
    params=engines(),
    ids=[engine.label for engine in engines()],
)
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    async with Cluster(request.param) as cluster:
        yield cluster


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["F1"])
async def test_promises_hold(cluster: Cluster, name: str, tmp_path: Path) -> None:
    seed = random.randrange(1 << 31)
    print(f"--faults {name} --seed {seed}")
    result = await attack(cluster, FAULTS[name], seed, Plan())
    if not result.good:
        result.history.write(tmp_path / "history.jsonl")
    assert result.good, f"{result.report()}\nhistory: {tmp_path}"
