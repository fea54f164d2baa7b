"""A few power cuts at each level; `python -m tests.faults.power` makes many."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.faults.power import Tally, cut_power
from tests.support.stores import engines

if TYPE_CHECKING:
    from tests.support.stores import Engine

VALKEY = engines()[0]


async def _cut(engine: Engine, level: str) -> Tally:
    seed = random.randrange(10_000)
    tally = await cut_power(engine, level, cuts=2, each=150, seed=seed)
    print(tally.text())
    assert (tally.cuts, tally.acked >= 300) == (2, True)
    return tally


@pytest.mark.timeout(180)
async def test_at_d2_a_power_cut_costs_nothing_that_was_told_ok(engine: Engine) -> None:
    assert (await _cut(engine, "D2")).kept


@pytest.mark.timeout(180)
async def test_at_d3_a_power_cut_costs_nothing_that_was_told_ok() -> None:
    assert (await _cut(VALKEY, "D3")).kept


@pytest.mark.timeout(180)
async def test_at_d1_a_power_cut_costs_what_was_not_synced_and_no_fence_comes_twice() -> None:
    tally = await _cut(VALKEY, "D1")
    assert tally.bytes_gone, "the cuts took nothing: those at other levels would show nothing"
    assert (tally.fences_twice, tally.damaged) == (0, 0)
