"""A doctor that looks while everything moves finds nothing, and harms nothing when it may mend."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from typing_extensions import override

from codeq_grpc.core.findings import Mode
from tests.store.test_random_walks import Walk, live_on
from tests.support.consistency import inconsistencies
from tests.support.examined import examine

if TYPE_CHECKING:
    from tests.support.driver import QueueDriver

LOOKS = 12
WALKERS = 4


class Bystander(Walk):
    """Leaves settings to another one: they would change each other's."""

    @override
    async def configure(self) -> None:
        pass


async def move(walk: Walk, stop: asyncio.Event) -> int:
    """Calls at random till told to stop; how many that were."""
    steps = 0
    while not stop.is_set():
        await walk.step()
        steps += 1
    return steps


@pytest.mark.parametrize("mode", [Mode.LOOK, Mode.RESTORE, Mode.DISCARD], ids=str)
@pytest.mark.parametrize("seed", range(2))
async def test_nothing_is_found_while_everything_moves(
    driver: QueueDriver, seed: int, mode: Mode
) -> None:
    stop, steps, found = asyncio.Event(), [], []
    async with asyncio.TaskGroup() as group:
        others = [Bystander(driver, 100 * seed + i) for i in range(1, WALKERS)]
        walkers = [Walk(driver, 100 * seed), *others]
        walks = [group.create_task(move(walker, stop)) for walker in walkers]
        for _ in range(LOOKS):
            found += await examine(driver, mode)
        stop.set()
        steps = [await walk for walk in walks]
    assert found == []
    assert min(steps) > LOOKS, "nothing moved"
    assert inconsistencies(driver.snapshot(), driver.clock.ms) == []
    await live_on(driver)
    assert await examine(driver) == []
