"""Cron expressions: parsed by cronsim, walked here, so that one rule about clocks holds for all.

Where the clock on the wall is changed,

- an expression whose hour field has every hour (`*`, `*/1`, `0-23`) follows time as it passes: it
  fires at each moment that looks right, also where the clock shows a time for the second time;
- any other means times of the day: each fires when the clock reaches it for the first time. So a
  time that is left out fires right after the gap, and one that comes twice fires once.
"""

from __future__ import annotations

from bisect import bisect_right
from calendar import monthrange
from datetime import date, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from cronsim import CronSim, CronSimError

from codeq_grpc.core import limits
from codeq_grpc.rules.spec import LAST_S
from codeq_grpc.rules.zones import DAY

if TYPE_CHECKING:
    from codeq_grpc.rules.zones import Zone

NAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
FIELDS: Final = ("second", "minute", "hour", "day-of-month", "month", "day-of-week")
_EPOCH: Final = date(1970, 1, 1).toordinal()
_YEARS: Final = 50
"""29 February on a certain day of the week comes after 40 years at most."""
_ANY: Final = datetime(2000, 1, 1)  # noqa: DTZ001 - the parser wants one, and fields alone are used
_LAST_DAY: Final = LAST_S // DAY - 1
_LAST_YEAR: Final = 9998
_KNOWN: Final = 100
"""Months of an expression whose days are remembered."""


class Cron:
    """One expression; `cron_of` has it. Local times are seconds as in `zones`."""

    __slots__ = (
        "_days",
        "_every_day",
        "_first",
        "_known",
        "_months",
        "hours",
        "is_hourly",
        "minutes",
        "seconds",
    )

    def __init__(self, text: str) -> None:
        self._days = parsed = _parse(text)
        self.seconds = tuple(sorted(parsed.seconds))
        self.minutes = tuple(sorted(parsed.minutes))
        self.hours = tuple(sorted(parsed.hours))
        self.is_hourly = len(self.hours) == 24
        self._first = (self.hours[0] * 60 + self.minutes[0]) * 60 + self.seconds[0]
        self._months = tuple(sorted(parsed.months))
        self._known: dict[int, tuple[int, ...]] = {}
        self._every_day = parsed.parts[3:] == ["*", "*", "*"]
        if self._next_day(0) is None:
            raise ValueError("never fires: no year has such a day")

    def after(self, zone: Zone, at: int) -> int | None:
        """When it fires next, strictly after `at`; Unix seconds."""
        return self._hourly_after(zone, at) if self.is_hourly else self._daily_after(zone, at)

    def _daily_after(self, zone: Zone, at: int) -> int | None:
        local: int | None = None
        for start, end, offset, reached in zone.pieces(at):
            if local is None:
                local = self.next(max(at + offset, reached - 1))
                if local is None:
                    return None
            moment = max(local - offset, start)
            if moment < end:
                return moment
        return None

    def _hourly_after(self, zone: Zone, at: int) -> int | None:
        looked: int | None = None
        local: int | None = 0
        for start, end, offset, _ in zone.pieces(at):
            since = max(at, start - 1) + offset
            if local is None or looked is None or not looked <= since < local:
                looked, local = since, self.next(since)
                if local is None:
                    return None
            if local - offset < end:
                return local - offset
        return None

    def next(self, local: int) -> int | None:
        """The first local time after `local` that it names."""
        day, second = divmod(local, DAY)
        if self.on(day):
            found = self._later(second)
            if found is not None:
                return day * DAY + found
        following = self._next_day(day)
        return None if following is None else following * DAY + self._first

    def on(self, day: int) -> bool:
        """Whether it names any time of this day, counted from 1970."""
        if self._every_day:
            return True
        found = date.fromordinal(day + _EPOCH)
        return day in self._days_of(found.year, found.month)

    def _later(self, second: int) -> int | None:
        """The first second of a day after this one."""
        minute, second = divmod(second, 60)
        hour, minute = divmod(minute, 60)
        hours, minutes, seconds = self.hours, self.minutes, self.seconds
        if hour in hours:
            if minute in minutes and second < seconds[-1]:
                return (hour * 60 + minute) * 60 + seconds[bisect_right(seconds, second)]
            if minute < minutes[-1]:
                return (hour * 60 + minutes[bisect_right(minutes, minute)]) * 60 + seconds[0]
        if hour < hours[-1]:
            return (hours[bisect_right(hours, hour)] * 60 + minutes[0]) * 60 + seconds[0]
        return None

    def _next_day(self, day: int) -> int | None:
        """The first one after this that it names; None if there is none in so many years."""
        if day >= _LAST_DAY:
            return None
        if self._every_day:
            return day + 1
        found = date.fromordinal(day + 1 + _EPOCH)
        year, month = found.year, found.month
        last, months = year + _YEARS, self._months
        while year <= last:
            days = self._days_of(year, month)
            at = bisect_right(days, day)
            if at < len(days):
                return days[at] if days[at] <= _LAST_DAY else None
            at = bisect_right(months, month)
            if at < len(months):
                month = months[at]
            else:
                year, month = year + 1, months[0]
        return None

    def _days_of(self, year: int, month: int) -> tuple[int, ...]:
        """Those of a month that it names; they are remembered, as some come once in 40 years."""
        if month not in self._months or year > _LAST_YEAR:
            return ()
        key = year * 12 + month
        days = self._known.get(key)
        if days is None:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            first = date(year, month, 1).toordinal()
            days = self._known[key] = tuple(
                day - _EPOCH
                for day in range(first, first + monthrange(year, month)[1])
                if self._days.match_day(date.fromordinal(day))
            )
        return days


@lru_cache(maxsize=2048)
def cron_of(text: str) -> Cron:
    """From an expression. Raises ValueError."""
    return Cron(text)


def _parse(text: str) -> CronSim:
    if len(text) > limits.CRON_CHARS:
        raise ValueError(f"must be at most {limits.CRON_CHARS} characters")
    expression = text.strip()
    if expression.startswith("@"):
        if expression.lower() not in NAMES:
            raise ValueError(f"is none of {', '.join(NAMES)}")
        expression = NAMES[expression.lower()]
    found = len(expression.split())
    if found not in {5, 6}:
        raise ValueError(f"has {found} fields; cron has 5, or 6 with seconds first")
    try:
        return CronSim(expression, _ANY)
    except CronSimError as error:
        raise ValueError(_fault(str(error), expression.split())) from None


def _fault(told: str, parts: list[str]) -> str:
    name = told.removeprefix("Bad ")
    if name not in FIELDS:
        return told
    part = parts[FIELDS.index(name) - 6]
    return f"the {name} field is not valid: {part}"
