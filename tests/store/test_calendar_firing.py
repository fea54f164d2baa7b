"""What fires, what is skipped, what waits; and what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codeq_grpc.core.schedules import (
    ANY,
    OPEN,
    SKIPPED,
    TO_ENQUEUE,
    Cause,
    Ended,
    Overlap,
    Pause,
    Settled,
)
from codeq_grpc.core.task import TaskState
from codeq_grpc.store.calendars import BUSY, CHANGED, ENDED, FIRED, MISSING, OK
from tests.store.calendars import FIRST, MINUTE, TAKEN_MS, CalendarDriver, task_id

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.clock import ClockedConnection


@pytest.fixture
def driver(clocked: ClockedConnection, admin: Admin) -> CalendarDriver:
    return CalendarDriver.over(clocked, admin)


async def test_what_is_due_is_taken_for_a_while(driver: CalendarDriver) -> None:
    await driver.make("a")
    await driver.make("b", next_ms=FIRST + 5, act_ms=FIRST + 5)
    assert (await driver.due())[:3] == (driver.clock.ms, FIRST, [])
    driver.clock.ms = FIRST
    due = await driver.due()
    assert [one.schedule_id for one in due.taken] == ["a"]
    assert due.next_ms == FIRST + 5
    assert due.taken[0].stored.row == await driver.row()
    assert (await driver.due()).taken == []
    driver.clock.advance(TAKEN_MS)
    assert [one.schedule_id for one in (await driver.due(1)).taken] == ["b"]
    assert (await driver.due(1)).next_ms == driver.clock.ms
    assert [one.schedule_id for one in (await driver.due()).taken] == []


async def test_a_fire_time_fires_once(driver: CalendarDriver) -> None:
    row = await driver.make()
    driver.clock.ms = FIRST + 7
    fired = await driver.fire(row)
    ((firing, is_new),) = fired.made
    assert (fired.word, is_new, firing.state) == (FIRED, True, TO_ENQUEUE)
    assert (firing.fire_ms, firing.actual_ms, firing.previous_ms) == (
        *(FIRST, FIRST + 7),
        FIRST - MINUTE,
    )
    assert (await driver.fire(row)).word == CHANGED
    assert (await driver.fire(row, schedule_id="b")).word == MISSING
    row = await driver.row()
    assert (row.next_ms, row.act_ms, row.last_ms, row.decided, row.fired) == (
        *(FIRST + MINUTE, FIRST + MINUTE, FIRST),
        *(1, 0),
    )
    assert (await driver.due()).next_ms == FIRST + MINUTE


async def test_a_task_is_owed_until_it_is_there(driver: CalendarDriver) -> None:
    await driver.make()
    (firing,) = await driver.fired()
    ((schedule_id, owed, row, record, till),) = await driver.owed()
    assert (schedule_id, owed, row.decided, record.body) == ("a", firing, 1, b"body")
    assert till == driver.clock.ms + TAKEN_MS
    assert await driver.owed() == []
    assert await driver.store.peek([driver.calendar]) == [(driver.clock.ms, till)]
    driver.clock.advance(TAKEN_MS)
    assert [one.firing for one in await driver.owed()] == [firing]
    later = driver.clock.ms + 700
    await driver.store.settle(driver.calendar, [Settled(firing.name, again_ms=later)])
    driver.clock.ms = later - 1
    assert await driver.owed() == []
    driver.clock.ms = later
    assert [one.firing for one in await driver.owed()] == [firing]
    for _ in range(2):
        await driver.settle(firing)
    driver.clock.advance(TAKEN_MS)
    assert await driver.owed() == []
    assert await driver.told() == [(0, "open")]
    assert ((await driver.row()).fired, await driver.open()) == (1, 1)
    for _ in range(2):
        await driver.end(firing)
    (ended,) = await driver.firings()
    assert (ended.state, ended.task_id) == (TaskState.COMPLETED, task_id(firing))
    row = await driver.row()
    assert (row.fired, row.completed, row.failed, row.run_ms) == (1, 1, 0, 100)
    assert await driver.open() == 0


async def test_an_end_may_be_told_before_the_task_is_known(driver: CalendarDriver) -> None:
    await driver.make()
    (firing,) = await driver.fired()
    await driver.end(firing)
    await driver.settle(firing)
    row = await driver.row()
    assert (row.fired, row.completed, await driver.told()) == (1, 1, [(0, "COMPLETED")])
    driver.clock.advance(MINUTE)
    assert await driver.owed() == []


async def test_what_is_refused_is_skipped_with_its_reason(driver: CalendarDriver) -> None:
    await driver.make()
    (firing,) = await driver.fired()
    refused = Settled(firing.name, reason="PAYLOAD_INVALID")
    for _ in range(2):
        await driver.store.settle(driver.calendar, [refused])
    row = await driver.row()
    assert (row.fired, row.refused, row.decided, await driver.open()) == (0, 1, 1, 0)
    assert await driver.told() == [(0, "PAYLOAD_INVALID")]


async def test_each_task_that_runs_is_left_alone_if_overlap_is_allowed(
    driver: CalendarDriver,
) -> None:
    await driver.make()
    for _ in range(3):
        await driver.settle(*await driver.fired())
    assert await driver.told() == [(0, "open"), (1, "open"), (2, "open")]
    assert await driver.open() == 3


@pytest.mark.parametrize("overlap", [Overlap.SKIP, Overlap.BUFFER_ONE])
async def test_the_broker_is_asked_whether_tasks_run_still(
    driver: CalendarDriver, overlap: Overlap
) -> None:
    await driver.make(overlap=overlap)
    (firing,) = await driver.fired()
    await driver.settle(firing)
    row = await driver.row()
    told = await driver.fire(row)
    assert (told.word, told.made) == (BUSY, [])
    assert [(one.name, one.task_id) for one in told.open] == [(firing.name, task_id(firing))]
    assert await driver.row() == row
    await driver.end(firing)
    assert (await driver.fire(await driver.row())).word == FIRED


async def test_a_fire_time_is_skipped_while_a_task_runs(driver: CalendarDriver) -> None:
    await driver.make(overlap=Overlap.SKIP)
    (firing,) = await driver.fired()
    for _ in range(2):
        (skipped,) = await driver.fired()
        assert (skipped.state, skipped.reason) == (SKIPPED, "OVERLAP")
    await driver.end(firing)
    await driver.fired()
    assert await driver.told() == [(0, "COMPLETED"), (1, "OVERLAP"), (2, "OVERLAP"), (3, "owed")]
    row = await driver.row()
    assert (row.decided, row.overlaps) == (2, 2)


async def test_one_fire_time_waits_and_fires_when_the_task_ends(driver: CalendarDriver) -> None:
    await driver.make(overlap=Overlap.BUFFER_ONE)
    (firing,) = await driver.fired()
    fired = await driver.fire(await driver.row(), checked=True)
    assert (fired.word, fired.made, fired.buffered_ms) == (FIRED, [], FIRST + MINUTE)
    (skipped,) = await driver.fired()
    assert skipped.reason == "OVERLAP"
    await driver.settle(firing)
    assert await driver.end(firing, state=TaskState.FAILED) == 1
    assert await driver.told() == [(0, "FAILED"), (1, "owed"), (2, "OVERLAP")]
    waited = [one.firing for one in await driver.owed() if one.firing.fire_ms == FIRST + MINUTE]
    assert [(one.previous_ms, one.cause) for one in waited] == [(FIRST, Cause.TIME)]
    assert (await driver.row()).buffered_ms == 0
    assert await driver.end(firing) == 0
    assert await driver.store.settle(driver.calendar, [Settled(waited[0].name, reason="X")]) == 0
    assert await driver.told() == [(0, "FAILED"), (1, "X"), (2, "OVERLAP")]


async def test_what_waits_fires_too_when_the_task_was_refused(driver: CalendarDriver) -> None:
    await driver.make(overlap=Overlap.BUFFER_ONE)
    (firing,) = await driver.fired()
    await driver.fired()
    refused = Settled(firing.name, reason="QUOTA")
    assert await driver.store.settle(driver.calendar, [refused]) == 1
    assert await driver.told() == [(0, "QUOTA"), (1, "owed")]


async def test_what_waits_is_dropped_if_the_task_ends_in_a_pause(driver: CalendarDriver) -> None:
    await driver.make(overlap=Overlap.BUFFER_ONE)
    (firing,) = await driver.fired()
    await driver.fired()
    await driver.store.pause(driver.calendar, [Pause("a")], paused=True)
    assert await driver.end(firing) == 0
    assert await driver.told() == [(0, "COMPLETED"), (1, "OVERLAP")]
    assert (await driver.row()).overlaps == 1


async def test_tasks_before_are_cancelled(driver: CalendarDriver) -> None:
    await driver.make(overlap=Overlap.CANCEL_PREVIOUS)
    (first,) = await driver.fired()
    await driver.settle(first)
    (second,) = await driver.fired()
    owed = {one.firing.name: one.firing for one in await driver.owed()}
    assert (owed[first.name].cancel, owed[first.name].state) == (True, OPEN)
    assert (owed[second.name].cancel, owed[second.name].state) == (False, TO_ENQUEUE)
    driver.clock.advance(TAKEN_MS)
    assert {one.firing.name for one in await driver.owed()} == {first.name, second.name}
    await driver.store.settle(driver.calendar, [Settled(first.name)])
    await driver.settle(second)
    driver.clock.advance(TAKEN_MS)
    assert await driver.owed() == []
    await driver.end(first, state=TaskState.CANCELLED)
    assert await driver.told() == [(0, "CANCELLED"), (1, "open")]


async def test_one_to_be_cancelled_before_its_task_is_there_is_enqueued_and_cancelled(
    driver: CalendarDriver,
) -> None:
    await driver.make(overlap=Overlap.CANCEL_PREVIOUS)
    first, second = [(await driver.fired())[0] for _ in range(2)]
    owed = {one.firing.name: one.firing for one in await driver.owed()}
    assert (owed[first.name].cancel, owed[first.name].state) == (True, TO_ENQUEUE)
    await driver.settle(first)
    assert [one.firing.name for one in await driver.owed()] == [first.name]
    done = [Settled(second.name, task_id(second)), Settled(first.name)]
    await driver.store.settle(driver.calendar, done)
    driver.clock.advance(TAKEN_MS)
    assert await driver.owed() == []
    assert await driver.told() == [(0, "open"), (1, "open")]


async def test_missed_times_are_counted_and_the_latest_told(driver: CalendarDriver) -> None:
    row = await driver.make()
    late = FIRST + 9 * MINUTE
    fired = await driver.fire(
        row, late, missed=(FIRST + 7 * MINUTE, FIRST + 8 * MINUTE), misfires=9
    )
    assert [made.firing.fire_ms for made in fired.made] == [late]
    assert await driver.told() == [(7, "MISFIRE"), (8, "MISFIRE"), (9, "owed")]
    row = await driver.row()
    assert (row.misfires, row.decided, row.last_ms) == (9, 1, late)


async def test_each_of_many_fires_by_the_policy(driver: CalendarDriver) -> None:
    row = await driver.make(overlap=Overlap.BUFFER_ONE)
    times = [FIRST + i * MINUTE for i in range(4)]
    fired = await driver.fire(row, *times)
    assert [made.firing.state for made in fired.made] == [TO_ENQUEUE, SKIPPED, SKIPPED]
    assert fired.buffered_ms == FIRST + MINUTE


async def test_it_ends_after_so_many_firings(driver: CalendarDriver) -> None:
    row = await driver.make(max_firings=2)
    fired = await driver.fire(row, *[FIRST + i * MINUTE for i in range(5)])
    assert len(fired.made) == 2
    row = await driver.row()
    assert (row.ended, row.next_ms, row.act_ms) == (True, 0, 0)
    assert driver.admin.call("ZCARD", driver.key("t")) == 0
    assert (await driver.trigger(row)).word == ENDED
    row = await driver.change("a", ANY, max_firings=3)
    assert (row.ended, row.next_ms) == (False, FIRST)
    assert (await driver.trigger(row)).word == FIRED
    assert (await driver.row()).ended


async def test_it_ends_with_its_last_time(driver: CalendarDriver) -> None:
    row = await driver.make()
    assert (await driver.fire(row, next_ms=0, act_ms=0)).word == FIRED
    row = await driver.row()
    assert row.ended
    assert (await driver.trigger(row)).word == FIRED
    assert (await driver.store.peek([driver.calendar]))[0][1] == driver.clock.ms


async def test_a_paused_one_fires_by_hand_only(driver: CalendarDriver) -> None:
    row = await driver.make()
    assert await driver.store.pause(driver.calendar, [Pause("a")], paused=True, reason="r") == [OK]
    driver.clock.ms = FIRST
    assert (await driver.due()).taken == []
    assert (await driver.fire(row)).word == CHANGED
    assert (await driver.trigger(row)).word == FIRED
    assert (await driver.backfill(row, FIRST - MINUTE)).word == FIRED
    resumed = FIRST + 9 * MINUTE
    pauses = [Pause("a", row.mark, resumed, resumed), Pause("b")]
    words = await driver.store.pause(driver.calendar, pauses, paused=False)
    assert words == [OK, MISSING]
    row = await driver.row()
    assert (row.paused, row.pause_reason, row.next_ms) == (False, "", resumed)
    assert (await driver.due()).next_ms == resumed
    again = [Pause("a", row.mark, 5, 5), Pause("a", row.mark._replace(version=9))]
    assert await driver.store.pause(driver.calendar, again, paused=False) == [OK, CHANGED]
    assert (await driver.row()).next_ms == resumed


async def test_it_pauses_itself_when_tasks_fail_in_a_row(driver: CalendarDriver) -> None:
    await driver.make(pause_after_failures=2)
    states = (TaskState.FAILED, TaskState.COMPLETED, TaskState.EXPIRED, TaskState.CANCELLED, 0)
    for state in states:
        await driver.end(*await driver.fired(), state=state)
    row = await driver.row()
    assert (row.paused, row.failures_in_row, row.failed, row.completed) == (False, 1, 2, 1)
    await driver.end(*await driver.fired(), state=TaskState.FAILED)
    row = await driver.row()
    assert (row.paused, row.failing, row.failures_in_row) == (True, True, 2)
    driver.clock.ms = FIRST + 99 * MINUTE
    assert (await driver.due()).taken == []
    await driver.store.pause(driver.calendar, [Pause("a", ANY, FIRST, FIRST)], paused=False)
    row = await driver.row()
    assert (row.paused, row.failing, row.failures_in_row) == (False, False, 0)


async def test_so_many_firings_are_kept_and_those_that_are_open(
    clocked: ClockedConnection, admin: Admin
) -> None:
    driver = CalendarDriver.over(clocked, admin, kept=3)
    await driver.make()
    (first,) = await driver.fired()
    for _ in range(6):
        await driver.end(*await driver.fired())
    assert await driver.told() == [(0, "owed"), *[(i, "COMPLETED") for i in (4, 5, 6)]]
    await driver.end(first)
    await driver.fired()
    assert [minute for minute, _ in await driver.told()] == [5, 6, 7]


async def test_firings_are_read_by_pages_the_newest_first(driver: CalendarDriver) -> None:
    await driver.make("a")
    await driver.make("b")
    for name in "ab":
        for _ in range(5):
            await driver.fired(name)
    found, place = [], b""
    while page := await driver.store.firings(driver.calendar, "a", before=place, most=2):
        found += [(one.fire_ms - FIRST) // MINUTE for one in page]
        place = page[-1].place
    assert found == [4, 3, 2, 1, 0]
    assert await driver.store.firings(driver.calendar, "c") is None


async def test_nothing_is_left_of_a_deleted_schedule(driver: CalendarDriver) -> None:
    await driver.make("kept")
    row = await driver.make()
    open_one, owed_one = [(await driver.fired())[0] for _ in range(2)]
    await driver.settle(open_one)
    await driver.trigger(row, "key")
    for version in range(3):
        await driver.change("a", ANY, body=b"%d" % version)
    assert await driver.store.delete(driver.calendar, "a") == OK
    assert await driver.owed() == []
    await driver.settle(owed_one)
    assert await driver.end(open_one) == 0
    again = await driver.make()
    await driver.fired()
    driver.clock.advance(86_400_000)
    cursor, removed = b"", 0
    while True:
        removed_now, cursor = await driver.store.prune(driver.calendar, cursor, most=2, before_ms=0)
        removed += removed_now
        if not cursor and not removed_now:
            break
    assert removed == 6  # three firings, one of them open still, the request key, and what told so
    left = {s: driver.admin.call("TYPE", driver.key(s)) for s in driver.calendar.keys}
    assert {s for s, kind in left.items() if kind == b"none"} == {"h", "k", "kx", "w"}
    assert await driver.told() == [(0, "owed")]
    assert driver.admin.call("HLEN", driver.key("d")) == 2
    assert again.number > row.number


async def test_old_firings_are_forgotten_unless_they_are_open(driver: CalendarDriver) -> None:
    for name in "abc":
        await driver.make(name)
        (first,) = await driver.fired(name)
        for _ in range(4):
            await driver.end(*await driver.fired(name))
        if name == "b":
            await driver.end(first)
    cursor, removed = b"", []
    while True:
        step = await driver.store.prune(
            driver.calendar, cursor, most=1, before_ms=FIRST + 3 * MINUTE
        )
        removed.append(step.removed)
        cursor = step.cursor
        if not cursor:
            break
    assert sum(removed) == 7
    assert await driver.told("a") == [(0, "owed"), (3, "COMPLETED"), (4, "COMPLETED")]
    assert await driver.told("b") == [(3, "COMPLETED"), (4, "COMPLETED")]


async def test_ends_of_others_are_no_matter(driver: CalendarDriver) -> None:
    await driver.make()
    unknown = b"unknown"
    assert await driver.store.conclude(driver.calendar, [Ended(unknown, "t" * 18, 5)]) == 0
    assert await driver.store.settle(driver.calendar, [Settled(unknown, "t" * 18)]) == 0
    assert await driver.store.peek([driver.calendar]) == [(driver.clock.ms, FIRST)]
