"""Whatever is done to schedules in whatever order, each fire time has one firing, no firing is
forgotten, and every entry is right.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from codeq_grpc.core.schedules import (
    ANY,
    OPEN,
    SKIPPED,
    TO_ENQUEUE,
    Cause,
    Ended,
    Firing,
    Overlap,
    Pause,
    Settled,
)
from codeq_grpc.core.task import TERMINAL
from tests.store.calendars import MINUTE, CalendarDriver, new, task_id
from tests.store.damages_of_calendars import findings

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.clock import ClockedConnection

IDS = "abc"


@pytest.fixture
def driver(clocked: ClockedConnection, admin: Admin) -> CalendarDriver:
    return CalendarDriver.over(clocked, admin)


class Walk:
    """Servers and people, in random order. `tasks` has the names enqueued by place."""

    def __init__(self, driver: CalendarDriver, rng: random.Random) -> None:
        self.driver = driver
        self.rng = rng
        self.tasks: dict[bytes, set[bytes]] = {}
        self.open: list[Firing] = []
        self.acts = Counter[str]()

    async def step(self) -> None:
        acts = [self.put, self.pause, self.trigger, self.backfill, self.delete]
        often = [self.fire, self.owed, self.end, self.pass_by, self.prune]
        act = self.rng.choice([*acts, *often * 4])
        self.acts[act.__name__] += 1
        await act()

    def _next(self) -> int:
        return (self.driver.clock.ms // MINUTE + 1) * MINUTE

    async def put(self) -> None:
        given: dict[str, Any] = {
            "overlap": self.rng.choice(list(Overlap)),
            "max_firings": self.rng.choice([0, 0, 5]),
            "pause_after_failures": self.rng.choice([0, 2]),
            "labels": (("l", self.rng.choice("xy")),),
            "next_ms": self._next(),
            "act_ms": self._next(),
            "paused": self.rng.choice([None, False]),
        }
        name = self.rng.choice(IDS)
        for expect in (None, ANY):
            await self.driver.store.put(self.driver.calendar, name, new(**given), expect=expect)

    async def pause(self) -> None:
        pauses = [Pause(self.rng.choice(IDS), ANY, self._next(), self._next())]
        await self.driver.store.pause(self.driver.calendar, pauses, paused=self.rng.random() < 0.3)

    async def delete(self) -> None:
        if self.rng.random() < 0.3:
            await self.driver.store.delete(self.driver.calendar, self.rng.choice(IDS))

    async def _row_of(self, name: str) -> None:
        (stored,) = (await self.driver.store.read(self.driver.calendar, [name]))[1]
        self.row = stored and stored.row

    async def trigger(self) -> None:
        name = self.rng.choice(IDS)
        await self._row_of(name)
        if self.row:
            key = self.rng.choice(["", "k"])
            await self.driver.trigger(self.row, key, schedule_id=name, checked=True)

    async def backfill(self) -> None:
        name = self.rng.choice(IDS)
        await self._row_of(name)
        if self.row:
            times = [self._next() - i * MINUTE for i in (4, 3, 2, 1)]
            await self.driver.backfill(self.row, *times, schedule_id=name)

    async def fire(self) -> None:
        for taken in (await self.driver.due()).taken:
            row = taken.stored.row
            assert row.act_ms <= self.driver.clock.ms
            times = list(range(row.next_ms, self.driver.clock.ms + 1, MINUTE))
            for _ in range(self.rng.choice([1, 1, 2])):  # another server does the same
                await self.driver.fire(
                    row, *times, schedule_id=taken.schedule_id, checked=self.rng.random() < 0.7
                )

    async def owed(self) -> None:
        done: list[Settled] = []
        for owed in await self.driver.owed():
            one = owed.firing
            if one.state == TO_ENQUEUE and self.rng.random() < 0.1:
                done.append(Settled(one.name, again_ms=self.driver.clock.ms + 500))
            elif one.state == TO_ENQUEUE and self.rng.random() < 0.1 and not one.cancel:
                done.append(Settled(one.name, reason="REFUSED"))
            elif one.state == TO_ENQUEUE:
                self.tasks.setdefault(one.place, set()).add(one.name)
                self.open.append(one)
                done.append(Settled(one.name, task_id(one)))
            if one.cancel and one.state == OPEN:
                done.append(Settled(one.name))
        for part in (done[::2], done[1::2]):
            await self.driver.store.settle(self.driver.calendar, part)

    async def end(self) -> None:
        self.rng.shuffle(self.open)
        some, self.open = self.open[:2], self.open[2:]
        states = [int(state) for state in TERMINAL]
        now = self.driver.clock.ms
        for _ in range(self.rng.choice([1, 2])):
            ended = [
                Ended(one.name, task_id(one), self.rng.choice([*states, 0]), now, now)
                for one in some
            ]
            await self.driver.store.conclude(self.driver.calendar, ended)

    async def pass_by(self) -> None:
        self.driver.clock.advance(self.rng.choice([700, 7_000, 50_000, 130_000]))

    async def prune(self) -> None:
        before_ms = self.driver.clock.ms - 20 * MINUTE
        await self.driver.store.prune(self.driver.calendar, b"", most=5, before_ms=before_ms)

    async def come_to_rest(self) -> None:
        pauses = [Pause(name) for name in IDS]
        await self.driver.store.pause(self.driver.calendar, pauses, paused=True)
        for _ in range(9):
            self.driver.clock.advance(7_000)
            await self.owed()
            while self.open:
                await self.end()


@pytest.mark.parametrize("number", range(8))
async def test_every_entry_is_right_after_any_walk(driver: CalendarDriver, number: int) -> None:
    # Not every walk holds yet: seed 1008806943 leaves two entries of `o` behind, which the doctor
    # tells as strays and removes.
    walk = Walk(driver, random.Random(number))
    for name in IDS:
        await driver.make(name, overlap=walk.rng.choice(list(Overlap)))
    for at in range(300):
        await walk.step()
        if at % 25 == 24:
            assert await findings(driver) == []
    await walk.come_to_rest()
    assert await findings(driver) == []
    assert {place: names for place, names in walk.tasks.items() if len(names) > 1} == {}
    _, stored = await driver.store.read(driver.calendar, list(IDS))
    for name, one in zip(IDS, stored, strict=True):
        if one is not None:
            assert (one.open, one.row.buffered_ms) == (0, 0)
            row = one.row
            assert row.decided == row.fired + row.refused
            assert row.fired >= row.completed + row.failed
            firings = await driver.firings(name)
            assert len({firing.place for firing in firings}) == len(firings)
            assert all(
                firing.state == SKIPPED or walk.tasks[firing.place] == {firing.name}
                for firing in firings
            )
            assert {firing.cause for firing in firings} <= set(Cause)


async def test_no_time_fires_twice_when_the_clock_goes_back(driver: CalendarDriver) -> None:
    walk = Walk(driver, random.Random(1))
    await driver.make("a")
    for step in (60 * MINUTE, -60 * MINUTE, MINUTE, 5_000, 10 * MINUTE, 60 * MINUTE, MINUTE):
        driver.clock.advance(step)
        for _ in range(2):
            await walk.fire()
            await walk.owed()
    firings = await driver.firings()
    times = [one.fire_ms for one in firings]
    assert times == list(range(times[0], times[-1] + 1, MINUTE))
    assert (await driver.row()).decided == len(times)
    assert times[-1] > driver.clock.ms - MINUTE
