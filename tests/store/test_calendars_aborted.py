"""A script of a calendar that stops midway makes no second task for a fire time, and loses none.

Each write of each script in turn is the one that does not happen. Whatever that leaves, a life as
usual (look, fire, enqueue, end) gives every fire time one firing, and every firing that was to have
a task one; what no schedule accounts for then, the doctor finds and removes.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pytest

from codeq_grpc.core.errors import CodeQError
from codeq_grpc.core.schedules import OPEN, SKIPPED, TO_ENQUEUE, Ended, Fire, FireTime, Settled
from codeq_grpc.core.task import TaskState
from codeq_grpc.store import scripts
from codeq_grpc.store.calendars import BUSY
from tests.store.calendars import MINUTE, TAKEN_MS, CalendarDriver, task_id
from tests.store.cases_of_calendars import CALENDAR_CASES, DAY
from tests.store.damages_of_calendars import assert_mended, findings
from tests.support.aborting import AbortingConnection, writes_of
from tests.support.clock import START_MS, VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from codeq_grpc.core.schedules import Firing, Row
    from tests.store.cases_of_calendars import Case
    from tests.support.admin import Admin
    from tests.support.stores import StoreProcess

LEFT_ALONE, REPEATED, MENDED = "left-alone", "repeated", "mended"
BY_NAME: Final = {script.name: script for script in scripts.ALL}


@pytest.fixture
async def aborting(store: StoreProcess) -> AsyncIterator[AbortingConnection]:
    connection = AbortingConnection(store.url, VirtualClock())
    yield connection
    await connection.close()


@pytest.fixture
def driver(aborting: AbortingConnection, admin: Admin) -> CalendarDriver:
    return CalendarDriver.over(aborting, admin)


@dataclass
class World:
    """Servers that look, and tasks that end."""

    driver: CalendarDriver
    tasks: dict[tuple[str, bytes], set[bytes]] = field(default_factory=dict)
    """Names of the firings that were enqueued for each place."""

    async def look(self) -> int:
        """One round; how much it did."""
        driver = self.driver
        done = 0
        for taken in (await driver.due()).taken:
            await self._fire(taken.schedule_id, taken.stored.row)
            done += 1
        for owed in await driver.owed():
            firing = owed.firing
            names = self.tasks.setdefault((owed.schedule_id, firing.place), set())
            if firing.state == TO_ENQUEUE:
                names.add(firing.name)
                await driver.settle(firing)
            if firing.cancel:
                await driver.store.settle(driver.calendar, [Settled(firing.name)])
            done += 1
        return done

    async def _fire(self, schedule_id: str, row: Row) -> None:
        driver, now = self.driver, self.driver.clock.ms
        times = tuple(FireTime(t, t - MINUTE) for t in range(row.next_ms, now + 1, MINUTE))
        after = row.next_ms + len(times) * MINUTE
        fire = Fire(
            schedule_id=schedule_id,
            expect=row.mark,
            times=times,
            expected_next_ms=row.next_ms,
            next_ms=after,
            act_ms=after,
        )
        (fired,) = await driver.store.fire(driver.calendar, [fire])
        if fired.word == BUSY:
            await self._end(fired.open)
            await driver.store.fire(driver.calendar, [fire])

    async def _end(self, firings: list[Firing]) -> int:
        done = [
            Ended(one.name, task_id(one), TaskState.COMPLETED)
            for one in firings
            if one.state == OPEN
        ]
        await self.driver.store.conclude(self.driver.calendar, done)
        return len(done)

    async def live_on(self, ids: str) -> None:
        """Till nothing is left to do but to wait."""
        for _ in range(4):
            self.driver.clock.advance(MINUTE)
            await self.look()
            await self.look()
            for schedule_id in ids:
                await self._end(await self.kept(schedule_id))
        for _ in range(9):
            self.driver.clock.advance(TAKEN_MS)
            done = await self.look()
            for schedule_id in ids:
                done += await self._end(await self.kept(schedule_id))
            if not done:
                return
        raise AssertionError("there is always something left")

    async def kept(self, schedule_id: str) -> list[Firing]:
        found = await self.driver.store.firings(self.driver.calendar, schedule_id, most=1_000)
        return (found or [])[::-1]


async def assert_one_task_each(
    world: World, schedule_id: str, *, aborted: bool, pruned: bool
) -> None:
    """Every minute up to the next one has a firing, which was skipped or has one task."""
    driver = world.driver
    (stored,) = (await driver.store.read(driver.calendar, [schedule_id]))[1]
    if stored is None:
        return
    row, firings = stored.row, await world.kept(schedule_id)
    assert stored.open == 0
    assert row.buffered_ms == 0
    for one in firings:
        names = world.tasks.get((schedule_id, one.place), set())
        assert names <= {one.name}
        if one.state == SKIPPED:
            assert one.reason in {"OVERLAP", "MISFIRE", "QUOTA"}
        else:
            assert one.task_id
            assert one.state <= TaskState.EXPIRED
    times = [one.fire_ms for one in firings if one.place[-1] == 0]
    if not (row.paused or row.ended):
        assert row.next_ms > driver.clock.ms
        assert times[-1] == row.next_ms - MINUTE
    if row.version == 1 and driver.store._kept == 100 and times and not pruned:
        assert times == list(range(times[0], times[-1] + 1, MINUTE))
        made = [one for one in firings if one.state != SKIPPED or one.reason == "QUOTA"]
        # Firings that were filled in, or triggered, are not counted if the script stops there.
        assert len(made) - 3 * aborted <= row.decided <= len(made)


async def assert_looked_at_in_time(driver: CalendarDriver) -> None:
    """Every schedule, but for a moment in which it may be taken."""
    for schedule_id in "abcd":
        (stored,) = (await driver.store.read(driver.calendar, [schedule_id]))[1]
        if stored is not None and stored.row.act_ms and not stored.row.paused:
            score = driver.admin.call("ZSCORE", driver.key("t"), schedule_id)
            assert score is not None
            assert float(score) <= max(stored.row.act_ms, driver.clock.ms + TAKEN_MS)


async def assert_pruned(driver: CalendarDriver, script: str) -> None:
    """What is left of a deletion is in `w`, till all of it is gone."""
    for _ in range(3):
        before_ms = START_MS + 4 * MINUTE
        await driver.store.prune(driver.calendar, b"", most=1_000, before_ms=before_ms)
    left = {where for _, where, _ in await findings(driver)}
    assert left <= ({"b", "v"} if script == "delete_schedule" else set())


async def assert_nothing_stays(driver: CalendarDriver) -> None:
    for schedule_id in "abcd":
        await driver.store.delete(driver.calendar, schedule_id)
    driver.clock.advance(2 * DAY)
    for _ in range(9):
        await driver.store.prune(driver.calendar, b"", most=1_000, before_ms=driver.clock.ms)
    await assert_mended(driver)
    left = {s for s, key in driver.calendar.keys.items() if driver.admin.call("EXISTS", key)}
    assert left == {"s"}


async def abort_and_live_on(
    driver: CalendarDriver, connection: AbortingConnection, case: Case, write: int, then: str
) -> str:
    """The command that was left out; empty when the script has fewer writes than that."""
    driver.admin.call("FLUSHALL")
    driver.clock.ms = START_MS
    driver.store._kept = 100
    act = await case(driver)
    (script,) = (name for name, cases in CALENDAR_CASES.items() if case in cases)
    connection.abort(script, write)
    try:
        await act()
    except CodeQError:
        assert connection.aborted
    aborted = connection.aborted
    await assert_looked_at_in_time(driver)
    if aborted and then == REPEATED:
        await act()
    if then == MENDED:
        await assert_mended(driver)
    world = World(driver)
    await world.live_on("abcd")
    if aborted and script == "conclude_firings":
        await act()  # the courier has not settled it
        await world.live_on("abcd")
    if script in {"delete_schedule", "prune_calendar"}:
        await assert_pruned(driver, script)
    for schedule_id in "abcd":
        pruned = script in {"delete_schedule", "prune_calendar"}
        await assert_one_task_each(world, schedule_id, aborted=bool(aborted), pruned=pruned)
    if not aborted or then == MENDED:
        assert await findings(driver) == []
    await assert_mended(driver)
    await assert_nothing_stays(driver)
    return aborted


@pytest.mark.parametrize("then", [LEFT_ALONE, REPEATED, MENDED])
@pytest.mark.parametrize("script", CALENDAR_CASES)
async def test_each_fire_time_has_one_firing_wherever_the_script_stops(
    driver: CalendarDriver, aborting: AbortingConnection, script: str, then: str
) -> None:
    left_out: set[str] = set()
    for case in CALENDAR_CASES[script]:
        for write in itertools.count(1):
            aborted = await abort_and_live_on(driver, aborting, case, write, then)
            if not aborted:
                break
            left_out.add(aborted)
    assert left_out == writes_of(BY_NAME[script])


def test_every_script_of_calendars_that_writes_is_among_these() -> None:
    writing = {
        script.name
        for script in scripts.ALL
        if writes_of(script) and driver_keys(script) and script.name != "examine_calendar"
    }
    assert writing == CALENDAR_CASES.keys()


def driver_keys(script: scripts.Script) -> bool:
    return any(word in script.name for word in ("schedule", "firings", "calendar"))
