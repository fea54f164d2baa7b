"""Whatever a raw command has damaged in a calendar is told, and mended; the rest is left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codeq_grpc.core.findings import Mode
from codeq_grpc.store.examining import CALENDAR_PARTS
from codeq_grpc.store.keys import CALENDAR
from tests.store.calendars import FIRST, CalendarDriver
from tests.store.damages_of_calendars import (
    CALENDAR_DAMAGES,
    Damage,
    assert_mended,
    damaged,
    findings,
    populate,
)
from tests.support.clock import START_MS

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.clock import ClockedConnection


@pytest.fixture
def driver(clocked: ClockedConnection, admin: Admin) -> CalendarDriver:
    return CalendarDriver.over(clocked, admin)


async def test_nothing_is_found_where_nothing_is_wrong(driver: CalendarDriver) -> None:
    await populate(driver)
    assert await findings(driver) == []
    driver.clock.ms = FIRST * 2 - START_MS
    await driver.due()
    await driver.owed()
    assert await findings(driver) == []


def test_every_key_is_looked_at() -> None:
    """The clock with whatever has a number."""
    assert {*CALENDAR_PARTS, "s"} == set(CALENDAR)


@pytest.mark.parametrize(
    "damage", CALENDAR_DAMAGES, ids=lambda damage: f"{damage.suffix}-{damage.name}"
)
async def test_damage_is_told_and_mended(driver: CalendarDriver, damage: Damage) -> None:
    known = await damaged(driver, damage)
    found = await findings(driver)
    assert damage.expected in {f"{kind} {where}" for kind, where, _ in found}
    assert damage.expected in {f"{kind} {where}" for kind, where, _ in await assert_mended(driver)}
    _, (a, b, c, d) = await driver.store.read(driver.calendar, ["a", "b", "c", "d"])
    assert d is None
    for stored in (b, c):
        assert stored is not None or damage.suffix == "b"
        assert stored is None or not stored.row.paused
    assert a is None or a.row == known.row or damage.suffix in {"b", "m"} or a.row.buffered_ms
    if damage.expected == "bad_schedule m" and a is not None and a.row.paused:
        assert a.row.pause_reason == "restored by the doctor"
        assert a.record.body == b"2"


@pytest.mark.parametrize("suffix", CALENDAR)
async def test_key_of_another_type_is_set_aside(driver: CalendarDriver, suffix: str) -> None:
    await populate(driver)
    driver.admin.call("DEL", driver.key(suffix))
    driver.admin.call("SET", driver.key(suffix), "mine")
    assert await findings(driver) == [("wrong_type", suffix, "string")]
    assert ("wrong_type", suffix, "string") in await assert_mended(driver)
    assert driver.admin.call("GET", f"codeq:{{acme}}:schedules:aside:{suffix}") == b"mine"


async def test_a_schedule_that_lost_its_entries_fires_again(driver: CalendarDriver) -> None:
    await driver.make()
    (firing,) = await driver.fired()
    for suffix in "dtvgopx":
        driver.admin.call("DEL", driver.key(suffix))
    found = {f"{kind} {where}" for kind, where, _ in await findings(driver, Mode.REPAIR)}
    assert found == {f"unindexed {suffix}" for suffix in "dtvgopx"}
    assert [one.firing for one in await driver.owed()] == [firing]
    driver.clock.ms = FIRST * 2 - START_MS
    assert [one.schedule_id for one in (await driver.due()).taken] == ["a"]
