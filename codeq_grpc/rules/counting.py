"""How many seconds of a long span a rule fires in, without a walk through them.

The seconds of a day are the bits of one number: expressions are united by `|`, and counted.
"""

from __future__ import annotations

from functools import lru_cache, reduce
from operator import or_
from typing import TYPE_CHECKING, Final

from codeq_grpc.rules.zones import DAY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from codeq_grpc.rules.cron import Cron
    from codeq_grpc.rules.zones import Zone

_WHOLE_DAY: Final = (1 << DAY) - 1


class Counter:
    """Counts for cron expressions and an interval of whole seconds, 0 for none."""

    def __init__(self, crons: Sequence[Cron], zone: Zone, every: int) -> None:
        self._crons, self._zone, self._every = crons, zone, every
        self._hourly = [cron for cron in crons if cron.is_hourly]
        self._unions: dict[tuple[Cron, ...], int] = {}
        self._totals: dict[tuple[object, ...], int] = {}

    def counts(self, after: int, until: int) -> Iterator[int]:
        """Counts to be added up, of the seconds within (after, until]."""
        for start, end, offset, reached in self._zone.pieces(after + 1):
            if start > until:
                return
            low, high = max(start, after + 1), min(end, until + 1)
            if low == start:
                # Times that a gap has left out come together here.
                yield self._fires_at(start)
                low += 1
            # Until then the clock repeats itself.
            new = min(max(reached - offset, low), high)
            yield from self._days(self._hourly, low, new, offset)
            yield from self._days(self._crons, new, high, offset)

    def _fires_at(self, at: int) -> bool:
        if self._every and at % self._every == 0:
            return True
        return any(cron.after(self._zone, at - 1) == at for cron in self._crons)

    def _days(self, crons: Sequence[Cron], low: int, high: int, offset: int) -> Iterator[int]:
        """Within [low, high), where the clock goes on evenly."""
        low, high = low + offset, high + offset
        while low < high:
            day, first = divmod(low, DAY)
            last = min(high - day * DAY, DAY)
            named = tuple(cron for cron in crons if cron.on(day))
            phase = (offset - day * DAY) % self._every if self._every else 0
            key = named, phase, first, last
            if key not in self._totals:
                bits = self._united(named) | _comb(self._every, phase)
                within = bits >> first & (1 << last - first) - 1
                self._totals[key] = within.bit_count()
            yield self._totals[key]
            low = day * DAY + last

    def _united(self, crons: tuple[Cron, ...]) -> int:
        if crons not in self._unions:
            self._unions[crons] = reduce(or_, map(_seconds_of, crons), 0)
        return self._unions[crons]


@lru_cache(maxsize=256)
def _seconds_of(cron: Cron) -> int:
    minute = sum(1 << second for second in cron.seconds)
    hour = sum(minute << 60 * at for at in cron.minutes)
    return sum(hour << 3600 * at for at in cron.hours)


def _comb(every: int, phase: int) -> int:
    """Every so many bits, the first one at `phase`."""
    if not every or phase >= DAY:
        return 0
    bits, width = 1 << phase, every
    while width < DAY:
        bits |= bits << width
        width *= 2
    return bits & _WHOLE_DAY
