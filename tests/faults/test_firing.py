"""Every fire time has one task, whatever happens to servers and store meanwhile."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.faults.firing import attack

if TYPE_CHECKING:
    from tests.support.stores import Engine


@pytest.mark.timeout(240)
async def test_each_fire_time_has_one_task_whatever_is_killed(engine: Engine) -> None:
    seed = random.randrange(1 << 31)
    tally = await attack(engine, seed, servers=2, schedules=10, firings=12)
    assert tally.kept, str(tally)
    assert tally.faults, str(tally)
