"""Calendars in the store, used in few words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from codeq_grpc.core.schedules import (
    SKIPPED,
    TO_ENQUEUE,
    Cause,
    Ended,
    Fire,
    FireTime,
    NewSchedule,
    Settled,
)
from codeq_grpc.core.task import TaskState
from codeq_grpc.store.calendars import FIRED, OK, CalendarStore
from codeq_grpc.store.keys import Calendar
from tests.support.clock import START_MS

if TYPE_CHECKING:
    from codeq_grpc.core.schedules import Due, Fired, Firing, Mark, Owed, Row
    from tests.support.admin import Admin
    from tests.support.clock import ClockedConnection, VirtualClock

MINUTE: Final = 60_000
FIRST: Final = START_MS + MINUTE
"""The first fire time of schedules of tests; one a minute follows."""
TAKEN_MS: Final = 5_000


def new(body: bytes = b"body", **given: Any) -> NewSchedule:
    """One that fires every minute."""
    plain = NewSchedule(body=body, command="RENDER", creator="ann", next_ms=FIRST, act_ms=FIRST)
    return replace(plain, **{"by": "ann", "why": "wanted", **given})


@dataclass(frozen=True, slots=True)
class CalendarDriver:
    """One calendar, its clock, and a look behind the curtain."""

    store: CalendarStore
    calendar: Calendar
    clock: VirtualClock
    admin: Admin

    @classmethod
    def over(cls, connection: ClockedConnection, admin: Admin, kept: int = 100) -> CalendarDriver:
        """A driver of the calendar of acme."""
        store = CalendarStore(connection, firings_kept=kept)
        return cls(store, Calendar("acme", 9), connection.clock, admin)

    def key(self, suffix: str) -> str:
        """A key by its suffix."""
        return self.calendar.keys[suffix].decode()

    async def make(self, schedule_id: str = "a", **given: Any) -> Row:
        """A schedule that was not there."""
        made = await self.store.put(self.calendar, schedule_id, new(**given), expect=None)
        assert made.word == OK
        assert made.row is not None
        return made.row

    async def change(self, schedule_id: str, expect: Mark, **given: Any) -> Row:
        """A schedule that was there."""
        made = await self.store.put(self.calendar, schedule_id, new(**given), expect=expect)
        assert made.word == OK
        assert made.row is not None
        return made.row

    async def row(self, schedule_id: str = "a") -> Row:
        """As it is."""
        (stored,) = (await self.store.read(self.calendar, [schedule_id]))[1]
        assert stored is not None
        return stored.row

    async def open(self, schedule_id: str = "a") -> int:
        """How many of its tasks have not ended."""
        (stored,) = (await self.store.read(self.calendar, [schedule_id]))[1]
        assert stored is not None
        return stored.open

    async def due(self, most: int = 200) -> Due:
        """What is due."""
        return await self.store.due(self.calendar, most, for_ms=TAKEN_MS)

    async def fire(self, row: Row, *times: int, schedule_id: str = "a", **given: Any) -> Fired:
        """Fires these times, or the next one, and goes on with the minute after."""
        times = times or (row.next_ms,)
        next_ms = max(times) + MINUTE
        item = Fire(
            schedule_id=schedule_id,
            expect=row.mark,
            times=tuple(FireTime(time, max(0, time - MINUTE)) for time in times),
            expected_next_ms=row.next_ms,
            next_ms=next_ms,
            act_ms=next_ms,
        )
        (fired,) = await self.store.fire(self.calendar, [replace(item, **given)])
        return fired

    async def fired(self, schedule_id: str = "a", **given: Any) -> list[Firing]:
        """The firings that its next time made."""
        row = await self.row(schedule_id)
        told = await self.fire(row, schedule_id=schedule_id, checked=True, **given)
        assert told.word == FIRED
        return [made.firing for made in told.made]

    async def trigger(self, row: Row, key: str = "", **given: Any) -> Fired:
        """Fires now."""
        return await self.fire(row, 0, cause=Cause.TRIGGER, request_key=key, **given)

    async def backfill(self, row: Row, *times: int, **given: Any) -> Fired:
        """Fires past times."""
        return await self.fire(row, *times, cause=Cause.BACKFILL, **given)

    async def owed(self) -> list[Owed]:
        """What is owed."""
        return (await self.store.owed(self.calendar, 200, for_ms=TAKEN_MS))[1]

    async def settle(self, *firings: Firing) -> int:
        """They have tasks."""
        done = [Settled(one.name, task_id(one)) for one in firings]
        return await self.store.settle(self.calendar, done)

    async def end(self, *firings: Firing, state: int = TaskState.COMPLETED) -> int:
        """Their tasks have ended."""
        now = self.clock.ms
        done = [Ended(one.name, task_id(one), state, now - 100, now) for one in firings]
        return await self.store.conclude(self.calendar, done)

    async def firings(self, schedule_id: str = "a") -> list[Firing]:
        """All that are kept, oldest first."""
        found = await self.store.firings(self.calendar, schedule_id, most=1_000)
        assert found is not None
        return found[::-1]

    async def told(self, schedule_id: str = "a") -> list[tuple[int, str]]:
        """Minutes since the first fire time, and what came of them."""
        words = {TO_ENQUEUE: "owed", 21: "open", SKIPPED: ""}
        return [
            (
                (one.fire_ms - FIRST) // MINUTE,
                one.reason or words.get(one.state) or TaskState(one.state).name,
            )
            for one in await self.firings(schedule_id)
        ]


def task_id(firing: Firing) -> str:
    """Of a firing."""
    return "t" + firing.name.hex() + "QQA"
