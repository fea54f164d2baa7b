"""What a schedule does when its time has come: the table of misfire policies, a line a case.

Times are minutes for readers; a rule here is the list of its fire times.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import pytest

from codeq_grpc.core.firing import COUNTED, TOLD, Moment, Plan, plan, start
from codeq_grpc.core.schedules import Misfire

MINUTE: Final = 60_000
ENOUGH: Final = 500
HOURLY: Final = tuple(range(0, 100_000, 60))


@dataclass(frozen=True)
class At:
    """A rule that fires at these minutes; offsets (minutes) by fire time."""

    minutes: tuple[int, ...]
    offsets: dict[int, int] = field(default_factory=dict)

    def _all(self) -> list[int]:
        return [minute * MINUTE for minute in self.minutes]

    def after(self, ms: int) -> int | None:
        return next((one for one in self._all() if one > ms), None)

    def between(self, start: int, end: int, most: int) -> list[int]:
        return [one for one in self._all() if start <= one < end][:most]

    def latest(self, after: int, until: int) -> int | None:
        return max((one for one in self._all() if after < one <= until), default=None)

    def last(self, after: int, until: int, most: int) -> list[int]:
        found = [one for one in self._all() if after < one <= until]
        return found[-most:] if most > 0 else []

    def count(self, after: int, until: int, most: int) -> int:
        return min(most, sum(after < one <= until for one in self._all()))

    def offset(self, seed: bytes, ms: int) -> int:
        return self.offsets.get(ms // MINUTE, 0) * MINUTE


def planned(
    rule: At,
    now: float,
    misfire: Misfire = Misfire.FIRE_ONCE,
    *,
    due: int = 60,
    last: int = 0,
    grace: int = 5,
    most: int = ENOUGH,
) -> Plan:
    """What is done at this minute by a schedule whose next fire time is `due`."""
    times = int(now * MINUTE), due * MINUTE, last * MINUTE
    return plan(rule, Moment(*times, misfire, grace * MINUTE, b"seed"), most)


def fired(plan: Plan) -> list[int]:
    return [time.fire_ms // MINUTE for time in plan.times]


EVERY: Final = tuple(Misfire)
ONCE, SKIP, ALL = Misfire.FIRE_ONCE, Misfire.SKIP, Misfire.FIRE_ALL


@pytest.mark.parametrize(
    ("misfire", "now", "fires", "drops", "following"),
    [
        # The schedule fires every hour, forgives five minutes, and is next at 60.
        *((one, 59.9, [], [], 60) for one in EVERY),  # it is early
        *((one, 60, [60], [], 120) for one in EVERY),  # it is time
        *((one, 65, [60], [], 120) for one in EVERY),  # late, and within the grace
        (ONCE, 66, [60], [], 120),  # missed: made up for
        (SKIP, 66, [], [60], 120),
        (ALL, 66, [60], [], 120),
        (ONCE, 250, [240], [60, 120, 180], 300),  # away for hours: the latest one is made up for
        (SKIP, 250, [], [60, 120, 180, 240], 300),
        (ALL, 250, [60, 120, 180, 240], [], 300),
        (ONCE, 241, [180, 240], [60, 120], 300),  # 240 is not missed: it just fires
        (SKIP, 241, [240], [60, 120, 180], 300),
        (ALL, 241, [60, 120, 180, 240], [], 300),
    ],
)
def test_the_table_of_misfires(
    misfire: Misfire, now: float, fires: list[int], drops: list[int], following: int
) -> None:
    found = planned(At(HOURLY), now, misfire)
    assert fired(found) == fires
    assert [ms // MINUTE for ms in found.misfired] == drops
    assert found.misfired_count == len(drops)
    assert (found.next_ms, found.act_ms) == (following * MINUTE, following * MINUTE)


@pytest.mark.parametrize("misfire", EVERY)
def test_the_last_fire_time_leaves_nothing_to_look_at(misfire: Misfire) -> None:
    found = planned(At((60,)), 60, misfire)
    assert (fired(found), found.next_ms, found.act_ms) == ([60], 0, 0)


@pytest.mark.parametrize("now", [70, 74])
def test_a_fire_time_that_was_told_keeps_though_zones_have_changed(now: int) -> None:
    found = planned(At((60, 120, 180)), now, due=70)
    assert (fired(found), found.misfired_count, found.next_ms // MINUTE) == ([70], 0, 120)


def test_a_schedule_without_a_next_fire_time_does_nothing() -> None:
    assert planned(At(()), 60, due=0) == Plan((), (), 0, 0, 0)


def test_each_firing_is_told_of_the_one_before() -> None:
    found = planned(At(HOURLY), 250, ALL, last=0, due=60)
    assert [time.previous_ms // MINUTE for time in found.times] == [0, 60, 120, 180]
    found = planned(At(HOURLY), 250, last=60, due=120)
    assert [time.previous_ms // MINUTE for time in found.times] == [60]


def test_of_all_missed_ones_the_latest_thousand_are_made_up_for() -> None:
    minutely, now = At(tuple(range(3_000))), 2_000
    steps, due, times, dropped = 0, 1, list[int](), 0
    while due <= now:
        found = planned(minutely, now, ALL, due=due, grace=1)
        assert len(found.times) <= ENOUGH
        times += fired(found)
        dropped += found.misfired_count
        due, steps = found.next_ms // MINUTE, steps + 1
    # 1 to 1998 were missed; 1999 and 2000 just fire.
    assert (times, dropped, steps) == (list(range(999, 2_001)), 998, 3)


def test_of_many_dropped_ones_the_latest_are_told_and_all_are_counted() -> None:
    found = planned(At(tuple(range(3_000))), 2_000, SKIP, due=1, grace=1)
    assert [ms // MINUTE for ms in found.misfired] == list(range(1_999 - TOLD, 1_999))
    assert found.misfired_count == 1_998


def test_dropped_ones_are_counted_so_far() -> None:
    found = planned(At(tuple(range(COUNTED + 3_000))), COUNTED + 2_000, SKIP, due=1, grace=1)
    assert found.misfired_count == COUNTED


@pytest.mark.parametrize("misfire", EVERY)
def test_late_ones_go_on_in_the_next_step(misfire: Misfire) -> None:
    minutely = At(tuple(range(200)))
    first = planned(minutely, 100, misfire, due=91, grace=30, most=4)
    assert (fired(first), first.next_ms // MINUTE) == ([91, 92, 93, 94], 95)
    second = planned(minutely, 100, misfire, due=95, grace=30, most=4)
    third = planned(minutely, 100, misfire, due=99, grace=30, most=4)
    assert fired(second) + fired(third) == list(range(95, 101))
    assert third.next_ms // MINUTE == 101


def test_a_fire_time_waits_for_its_offset() -> None:
    rule = At(HOURLY, {60: 30, 120: 7})
    assert start(rule, b"seed", 0) == (60 * MINUTE, 90 * MINUTE)
    early = planned(rule, 89)
    assert (fired(early), early.next_ms // MINUTE, early.act_ms // MINUTE) == ([], 60, 90)
    found = planned(rule, 90)
    assert (fired(found), found.next_ms // MINUTE, found.act_ms // MINUTE) == ([60], 120, 127)


@pytest.mark.parametrize(
    ("misfire", "now", "fires", "drops"),
    [
        (SKIP, 95, [60], []),  # five minutes after 60 + 30
        (SKIP, 96, [], [60]),
        (ONCE, 200, [180], [60, 120]),
        (ALL, 200, [60, 120, 180], []),
        (SKIP, 185, [180], [60, 120]),  # 180 has no offset: it is late, the others are missed
    ],
)
def test_the_grace_begins_at_the_offset(
    misfire: Misfire, now: float, fires: list[int], drops: list[int]
) -> None:
    found = planned(At(HOURLY, {60: 30, 120: 7}), now, misfire)
    assert fired(found) == fires
    assert [ms // MINUTE for ms in found.misfired] == drops
    assert found.misfired_count == len(drops)


def test_what_has_passed_is_not_made_up_for_at_a_start() -> None:
    assert start(At(HOURLY), b"seed", 130 * MINUTE) == (180 * MINUTE, 180 * MINUTE)
    assert start(At((60,)), b"seed", 60 * MINUTE) == (0, 0)
