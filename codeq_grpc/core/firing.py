"""What a schedule is to do when its time has come: which fire times it acts on, late or not, which
it drops as misfires, and which one is next. Pure: the caller has the clock and the rule.

A fire time is acted on at its own offset (jitter) after it. It is missed when that was longer ago
than the grace; one that is late, but not missed, just fires.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from codeq_grpc.core.schedules import FireTime, Misfire

if TYPE_CHECKING:
    from codeq_grpc.core.schedules import NewSchedule, Row

MADE_UP: Final = {Misfire.FIRE_ONCE: 1, Misfire.SKIP: 0, Misfire.FIRE_ALL: 1_000}
"""How many of the latest missed fire times are acted on all the same."""
TOLD: Final = 20
"""Dropped fire times that get a record, the latest of them; the others are counted."""
COUNTED: Final = 10_000
"""Missed fire times are counted so far in one step: a schedule of every second that was away for a
year is not to hold up the others."""


class FireTimes(Protocol):
    """A rule: when to fire. Times in Unix ms."""

    def after(self, ms: int) -> int | None:
        """The first fire time after a moment."""

    def between(self, start: int, end: int, most: int) -> list[int]:
        """The first ones within [start, end)."""

    def latest(self, after: int, until: int) -> int | None:
        """The latest one within (after, until]."""

    def last(self, after: int, until: int, most: int) -> list[int]:
        """The latest ones within (after, until], at most so many, in order."""

    def count(self, after: int, until: int, most: int) -> int:
        """How many there are within (after, until], `most` if they are more."""

    def offset(self, seed: bytes, ms: int) -> int:
        """How long after this fire time to act on it, always the same; less than till the next."""


class Change(NamedTuple):
    """A schedule as it will be; `timed` if it fires at other times than before."""

    new: NewSchedule
    rule: FireTimes
    timed: bool = True

    def at(self, now_ms: int, seed: bytes) -> NewSchedule:
        """With its next fire time."""
        if not self.timed:
            return self.new
        next_ms, act_ms = start(self.rule, seed, now_ms)
        return replace(self.new, next_ms=next_ms, act_ms=act_ms)


class Moment(NamedTuple):
    """A schedule, at a time: its policy, its next fire time, which has perhaps come long ago, and
    the latest one before; `seed` is its own.
    """

    now_ms: int
    next_ms: int
    last_ms: int
    misfire: Misfire
    grace_ms: int
    seed: bytes


class Plan(NamedTuple):
    """What to do: fire times to act on, oldest first; the latest of so many that are dropped; the
    next fire time and when to look at the schedule again, both 0 if there is none.
    """

    times: tuple[FireTime, ...]
    misfired: tuple[int, ...]
    misfired_count: int
    next_ms: int
    act_ms: int


def start(rule: FireTimes, seed: bytes, now_ms: int) -> tuple[int, int]:
    """Next fire time and when to act on it, of a schedule that is new, changed or resumed: what has
    passed is not made up for.
    """
    return _with_act(rule, seed, rule.after(now_ms))


def plan(rule: FireTimes, at: Moment, most: int) -> Plan:
    """What to do now, in one step of at most `most` fire times."""
    if not at.next_ms:
        return Plan((), (), 0, 0, 0)
    # An offset ends before the next fire time: of those that came longer ago than the grace all but
    # the latest are missed. From that one on each is looked at.
    before = at.next_ms - 1
    split = rule.latest(before, at.now_ms - at.grace_ms) or at.next_ms
    late, missed, following = _recent(rule, at, split, most)
    keep = MADE_UP[at.misfire]
    kept = missed[-keep:] if keep else []
    dropped = missed[: len(missed) - len(kept)]
    older = rule.last(before, split - 1, keep - len(kept))
    count = rule.count(before, split - 1, COUNTED) if split > at.next_ms else 0
    fire = sorted([*older, *kept, *late])
    if len(fire) > most:
        fire, following = fire[:most], fire[most]
        dropped = [ms for ms in dropped if ms < following]
    told = dropped[-TOLD:]
    told = [*rule.last(before, (older[0] if older else split) - 1, TOLD - len(told)), *told]
    return Plan(
        _times(fire, at.last_ms),
        tuple(told),
        max(count - len(older), 0) + len(dropped),
        *_with_act(rule, at.seed, following),
    )


def _recent(
    rule: FireTimes, at: Moment, since: int, most: int
) -> tuple[list[int], list[int], int | None]:
    """Those that are late, those that are missed, and the first that is neither."""
    late, missed = list[int](), list[int]()
    times = rule.between(since, at.now_ms + 1, most + 1)
    if since == at.next_ms and since not in times[:1]:
        times.insert(0, since)  # by the zones of another version of codeQ; it was promised
    for ms in times[:most]:
        act = ms + rule.offset(at.seed, ms)
        if act > at.now_ms:
            return late, missed, ms
        (late if act + at.grace_ms >= at.now_ms else missed).append(ms)
    return late, missed, times[most] if len(times) > most else rule.after(at.now_ms)


def _times(fire: list[int], last_ms: int) -> tuple[FireTime, ...]:
    previous = [last_ms, *fire]
    return tuple(FireTime(ms, previous[i]) for i, ms in enumerate(fire))


def _with_act(rule: FireTimes, seed: bytes, ms: int | None) -> tuple[int, int]:
    return (0, 0) if ms is None else (ms, ms + rule.offset(seed, ms))


def following(rule: FireTimes, row: Row, most: int) -> list[int]:
    """The next fire times of a schedule, none while it is paused."""
    if row.paused or row.ended or not row.next_ms:
        return []
    if row.max_firings:
        most = min(most, row.max_firings - row.decided)
    times: list[int] = []
    ms: int | None = row.next_ms
    while ms is not None and len(times) < most:
        times.append(ms)
        ms = rule.after(ms)
    return times
