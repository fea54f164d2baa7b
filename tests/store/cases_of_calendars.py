"""Cases of scripts that write to a calendar; see `cases.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from codeq_grpc.core.schedules import ANY, Fire, FireTime, Overlap, Pause, Settled
from codeq_grpc.core.task import TaskState
from codeq_grpc.store.calendars import VERSIONS
from tests.store.calendars import FIRST, MINUTE, CalendarDriver, new, task_id

Act = Callable[[], Awaitable[object]]
Case = Callable[[CalendarDriver], Awaitable[Act]]
LABELS: Final = (("team", "x"), ("env", "prod"))
DAY: Final = 86_400_000


def _put(driver: CalendarDriver, *, change: bool = True, **given: Any) -> Act:
    expect = ANY if change else None
    return lambda: driver.store.put(driver.calendar, "a", new(**given), expect=expect)


async def making(driver: CalendarDriver) -> Act:
    await driver.make("b")
    return _put(driver, change=False, labels=LABELS)


async def changing(driver: CalendarDriver) -> Act:
    """It is to come earlier, and to be found by other labels."""
    await driver.make(labels=LABELS)
    await driver.fired()
    soon = FIRST + MINUTE - 5_000
    return _put(driver, body=b"second", next_ms=soon, act_ms=soon, labels=LABELS[:1])


async def changing_to_later(driver: CalendarDriver) -> Act:
    """There are more versions than are kept, since a firing of the second one is owed."""
    await driver.make(body=b"1")
    await driver.settle(*await driver.fired())
    for version in range(2, VERSIONS + 2):
        await driver.change("a", ANY, body=b"%d" % version)
        if version == 2:
            await driver.fired()
    later = FIRST + 3 * MINUTE
    return _put(driver, body=b"last", next_ms=later, act_ms=later)


async def changing_and_pausing(driver: CalendarDriver) -> Act:
    await driver.make()
    return _put(driver, paused=True, next_ms=None)


async def deleting(driver: CalendarDriver) -> Act:
    row = await driver.make(labels=LABELS)
    await driver.settle(*await driver.fired())
    await driver.fired()
    await driver.end(*await driver.fired())
    await driver.change("a", ANY, body=b"second")
    await driver.trigger(row, "key")
    return lambda: driver.store.delete(driver.calendar, "a")


async def deleting_one_that_rests(driver: CalendarDriver) -> Act:
    await driver.make()
    return lambda: driver.store.delete(driver.calendar, "a")


async def pausing(driver: CalendarDriver) -> Act:
    for name in "ab":
        await driver.make(name)
    pauses = [Pause(name) for name in "ab"]
    return lambda: driver.store.pause(driver.calendar, pauses, paused=True, reason="r")


async def resuming(driver: CalendarDriver) -> Act:
    for name in "ab":
        await driver.make(name)
        await driver.store.pause(driver.calendar, [Pause(name)], paused=True)
    pauses = [Pause(name, ANY, FIRST + MINUTE, FIRST + MINUTE) for name in "ab"]
    return lambda: driver.store.pause(driver.calendar, pauses, paused=False)


async def looking(driver: CalendarDriver) -> Act:
    """Of some only an entry is left, or a wrong one."""
    for name in "abcd":
        await driver.make(name)
    await driver.store.pause(driver.calendar, [Pause("c")], paused=True)
    for name in "cx":
        driver.admin.call("ZADD", driver.key("t"), FIRST, name)
    await driver.fired("d")
    driver.clock.ms = FIRST
    driver.admin.call("ZADD", driver.key("t"), FIRST, "d")
    return driver.due


def firing(overlap: Overlap, *, checked: bool = True) -> Case:
    async def case(driver: CalendarDriver) -> Act:
        """Several at once, of two; there are open ones, one of which is owed."""
        rows = [await driver.make(name, overlap=overlap) for name in "ab"]
        await driver.settle(*await driver.fired())
        rows[0] = await driver.row()
        driver.clock.ms = FIRST + 3 * MINUTE
        fires = [
            Fire(
                schedule_id=name,
                expect=row.mark,
                times=tuple(
                    FireTime(time, time - MINUTE)
                    for time in range(row.next_ms + MINUTE, FIRST + 3 * MINUTE + 1, MINUTE)
                ),
                missed=(row.next_ms,),
                misfires=1,
                expected_next_ms=row.next_ms,
                next_ms=FIRST + 4 * MINUTE,
                act_ms=FIRST + 4 * MINUTE,
                checked=checked,
            )
            for name, row in zip("ab", rows, strict=True)
        ]
        return lambda: driver.store.fire(driver.calendar, fires)

    return case


async def firing_what_ends(driver: CalendarDriver) -> Act:
    row = await driver.make(max_firings=2)
    driver.clock.ms = FIRST + MINUTE
    return lambda: driver.fire(row, FIRST, FIRST + MINUTE)


async def firing_and_forgetting(driver: CalendarDriver) -> Act:
    """More are kept than may be, for fewer are to be kept now."""
    await driver.make()
    await driver.fired()
    for _ in range(4):
        await driver.end(*await driver.fired())
    row = await driver.row()
    driver.clock.ms = row.next_ms
    driver.store._kept = 3
    return lambda: driver.fire(row)


async def triggering(driver: CalendarDriver) -> Act:
    row = await driver.make()
    driver.clock.ms = FIRST
    return lambda: driver.trigger(row, "key")


async def triggering_what_waits(driver: CalendarDriver) -> Act:
    row = await driver.make(overlap=Overlap.BUFFER_ONE)
    await driver.settle(*await driver.fired())
    return lambda: driver.trigger(row, "key", checked=True)


async def filling_in(driver: CalendarDriver) -> Act:
    row = await driver.make()
    await driver.fire(row, FIRST + MINUTE, missed=(FIRST,), misfires=1)
    row = await driver.row()
    return lambda: driver.backfill(row, FIRST - MINUTE, FIRST, FIRST + MINUTE)


async def owing(driver: CalendarDriver) -> Act:
    """Some of what stands there is owed no more."""
    row = await driver.make(overlap=Overlap.CANCEL_PREVIOUS)
    await driver.settle(*await driver.fired())
    await driver.fired()
    await driver.make("b")
    await driver.fired("b")
    await driver.store.delete(driver.calendar, "b")
    driver.admin.call("ZADD", driver.key("x"), 1, b"unknown")
    assert row.version
    return driver.owed


async def settling(driver: CalendarDriver) -> Act:
    """Of every kind; of one something waits for it, and one is to be cancelled already."""
    await driver.make(overlap=Overlap.BUFFER_ONE)
    (refused,) = await driver.fired()
    await driver.fired()
    await driver.make("b", overlap=Overlap.CANCEL_PREVIOUS)
    (cancelled,) = await driver.fired("b")
    await driver.settle(cancelled)
    (early,) = await driver.fired("b")
    await driver.fired("b")
    await driver.make("c")
    (later,) = await driver.fired("c")
    (ended,) = await driver.fired("c")
    await driver.end(ended)
    done = [
        Settled(refused.name, reason="QUOTA"),
        Settled(cancelled.name),
        Settled(early.name, task_id(early)),
        Settled(later.name, again_ms=FIRST + MINUTE),
        Settled(ended.name, task_id(ended)),
        Settled(b"unknown", task_id(ended)),
    ]
    return lambda: driver.store.settle(driver.calendar, done)


def ending(state: int, **given: Any) -> Case:
    async def case(driver: CalendarDriver) -> Act:
        """Something waits; another's schedule is deleted."""
        await driver.make(overlap=Overlap.BUFFER_ONE, **given)
        (first,) = await driver.fired()
        await driver.settle(first)
        await driver.fired()
        await driver.make("b")
        (other,) = await driver.fired("b")
        await driver.make("c", **given)
        more = [(await driver.fired("c"))[0] for _ in range(2)]
        await driver.store.delete(driver.calendar, "b")
        return lambda: driver.end(first, other, *more, state=state)

    return case


async def pruning(driver: CalendarDriver) -> Act:
    """There is a schedule of the same id as the deleted one."""
    act = await deleting(driver)
    await act()
    row = await driver.make()
    await driver.trigger(row, "key")
    await driver.fired()
    for _ in range(3):
        await driver.end(*await driver.fired())
    await driver.store.pause(driver.calendar, [Pause("a")], paused=True)
    driver.clock.advance(DAY)
    before_ms = FIRST + 3 * MINUTE
    return lambda: driver.store.prune(driver.calendar, b"", most=100, before_ms=before_ms)


async def pruning_what_was_not_deleted(driver: CalendarDriver) -> Act:
    row = await driver.make()
    await driver.fired()
    waste = row.number + b"\0\0\0\1\0\0\0\1" + b"a"
    driver.admin.call("ZADD", driver.key("w"), 0, waste)
    return lambda: driver.store.prune(driver.calendar, b"", most=100, before_ms=0)


CALENDAR_CASES: Final[dict[str, tuple[Case, ...]]] = {
    "put_schedule": (making, changing, changing_to_later, changing_and_pausing),
    "delete_schedule": (deleting, deleting_one_that_rests),
    "pause_schedules": (pausing, resuming),
    "due_schedules": (looking,),
    "fire_schedules": (
        *map(firing, Overlap),
        firing_what_ends,
        firing_and_forgetting,
        triggering,
        triggering_what_waits,
        filling_in,
    ),
    "owed_firings": (owing,),
    "settle_firings": (settling,),
    "conclude_firings": (
        ending(TaskState.COMPLETED),
        ending(TaskState.FAILED, pause_after_failures=2),
        ending(TaskState.FAILED, pause_after_failures=1),
    ),
    "prune_calendar": (pruning, pruning_what_was_not_deleted),
}
"""Of every script of a calendar that writes, but for the doctor's."""
