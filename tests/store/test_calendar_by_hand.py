"""What fires by hand: triggers, which requests repeat, and past times that are filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codeq_grpc.core.schedules import Cause, Overlap
from codeq_grpc.store.calendars import FIRED
from tests.store.calendars import FIRST, MINUTE, CalendarDriver

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.clock import ClockedConnection


@pytest.fixture
def driver(clocked: ClockedConnection, admin: Admin) -> CalendarDriver:
    return CalendarDriver.over(clocked, admin)


async def test_a_trigger_fires_now_beside_the_time_that_is_due(driver: CalendarDriver) -> None:
    row = await driver.make()
    driver.clock.ms = FIRST
    triggered = [await driver.trigger(row) for _ in range(2)]
    fired = await driver.fire(await driver.row())
    times = [one.made[0].firing.fire_ms for one in (*triggered, fired)]
    assert times == [FIRST, FIRST + 1, FIRST]
    names = {one.made[0].firing.name for one in (*triggered, fired)}
    assert len(names) == len(await driver.owed()) == 3
    assert (await driver.row()).next_ms == FIRST + MINUTE


async def test_a_repeated_trigger_finds_its_firing(driver: CalendarDriver) -> None:
    row = await driver.make()
    (first,) = (await driver.trigger(row, "key")).made
    driver.clock.advance(80_000_000)
    (again,) = (await driver.trigger(row, "key")).made
    (other,) = (await driver.trigger(row, "other")).made
    assert (again.firing, again.new, other.new) == (first.firing, False, True)
    driver.clock.advance(6_400_000)
    (late,) = (await driver.trigger(row, "key")).made
    assert late.new
    assert (await driver.row()).decided == 3


async def test_what_a_request_made_is_kept_for_its_repeats(
    clocked: ClockedConnection, admin: Admin
) -> None:
    driver = CalendarDriver.over(clocked, admin, kept=2)
    row = await driver.make()
    (first,) = (await driver.trigger(row, "key")).made
    await driver.end(first.firing)
    for _ in range(5):
        await driver.end(*await driver.fired())
    await driver.store.prune(driver.calendar, b"", most=100, before_ms=FIRST)
    (again,) = (await driver.trigger(row, "key")).made
    assert (again.firing.name, again.new) == (first.firing.name, False)
    driver.clock.advance(86_400_000)
    await driver.store.prune(driver.calendar, b"", most=100, before_ms=FIRST)
    assert first.firing.name not in {one.name for one in await driver.firings()}


async def test_a_trigger_waits_and_a_repeat_is_told_so(driver: CalendarDriver) -> None:
    await driver.make(overlap=Overlap.BUFFER_ONE)
    (firing,) = await driver.fired()
    row = await driver.row()
    now = driver.clock.ms
    for _ in range(2):
        fired = await driver.trigger(row, "key", checked=True)
        assert (fired.word, fired.made, fired.buffered_ms) == (FIRED, [], now)
        driver.clock.advance(10)
    await driver.end(firing)
    (found,) = (await driver.trigger(row, "key")).made
    assert (found.new, found.firing.fire_ms, found.firing.cause) == (False, now, Cause.TRIGGER)


async def test_a_backfill_leaves_what_has_a_firing(driver: CalendarDriver) -> None:
    row = await driver.make()
    await driver.fire(row, FIRST + MINUTE, missed=(FIRST,), misfires=1)
    row = await driver.row()
    times = [FIRST - MINUTE, FIRST, FIRST + MINUTE]
    made = (await driver.backfill(row, *times)).made
    assert [one.new for one in made] == [True, True, False]
    assert await driver.told() == [(-1, "owed"), (0, "owed"), (1, "owed")]
    assert [one.new for one in (await driver.backfill(row, *times)).made] == [False] * 3
    assert (await driver.row()).next_ms == row.next_ms


@pytest.mark.parametrize("overlap", Overlap)
async def test_a_backfill_fires_each_whatever_runs(
    driver: CalendarDriver, overlap: Overlap
) -> None:
    await driver.make(overlap=overlap)
    await driver.settle(*await driver.fired())
    row = await driver.row()
    made = (await driver.backfill(row, FIRST - 2 * MINUTE, FIRST - MINUTE, FIRST)).made
    assert [one.new for one in made] == [True, True, False]
    assert await driver.told() == [(-2, "owed"), (-1, "owed"), (0, "open")]
    assert not any(one.firing.cancel for one in await driver.owed())


async def test_a_fire_time_that_has_a_firing_is_passed(driver: CalendarDriver) -> None:
    """It was filled in before it was acted on."""
    row = await driver.make()
    driver.clock.ms = FIRST
    await driver.backfill(row, FIRST)
    (made,) = (await driver.fire(row)).made
    assert not made.new
    assert (await driver.row()).next_ms == FIRST + MINUTE
    assert len(await driver.owed()) == 1
