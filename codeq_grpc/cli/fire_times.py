"""Fire times for people: on the clock of the schedule's zone and on the one here, and what happens
when clocks are changed.
"""

from __future__ import annotations

from datetime import UTC, timedelta, timezone
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from codeq_grpc.cli import tables
from codeq_grpc.cli.tables import Column
from codeq_grpc.core import clock
from codeq_grpc.rules.cron import cron_of
from codeq_grpc.rules.spec import RuleError
from codeq_grpc.rules.zones import zone_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from codeq.v1.schedule_service_pb2 import ScheduleSpec
    from codeq_grpc.rules.cron import Cron
    from codeq_grpc.rules.zones import Piece, Zone

_DAY: Final = 86_400
_NAMED: Final = 4
"""Clock times of a gap that are named; of more the first and the last are."""


class FireTime(NamedTuple):
    """One fire time; `note` tells what a change of clocks has made of it."""

    time: datetime
    """In UTC."""
    there: datetime
    """In the zone of the schedule."""
    here: datetime
    """In the zone of whoever looks."""
    note: str


class FireTimes:
    """Tells fire times of a spec."""

    def __init__(self, spec: ScheduleSpec) -> None:
        self.zone_name = spec.time_zone or "UTC"
        try:
            self._zone: Zone | None = zone_of(self.zone_name)
            self._crons = [cron_of(text) for text in spec.crons]
        except (RuleError, ValueError):  # of a server that knows other zones or expressions
            self._zone, self._crons = None, []

    def told(self, times: Iterable[datetime]) -> list[FireTime]:
        """Aware times, in the order given."""
        return [self._told(time.astimezone(UTC)) for time in times]

    def _told(self, time: datetime) -> FireTime:
        second = int(time.timestamp())
        there, note = time, ""
        if self._zone is not None:
            before, now, after = _pieces(self._zone, second)
            there = time.astimezone(timezone(timedelta(seconds=now.offset)))
            if self._crons and not time.microsecond:
                note = self._note(second, before, now, after)
        return FireTime(time, there, time.astimezone(), note)

    def _note(self, second: int, before: Piece | None, now: Piece, after: Piece | None) -> str:
        """What is to be said about a time, by the crons: hourly ones follow time as it passes."""
        local = second + now.offset
        daily = [cron for cron in self._crons if not cron.is_hourly]
        here = any(_names(cron, local) for cron in self._crons)
        if before is not None and second == now.start and before.offset < now.offset:
            missed = sorted({at for cron in daily for at in _within(cron, now.reached, local)})
            return _after_gap(missed, local if here else None)
        if here and local < now.reached:
            return f"second {_clock(local)}: the clock shows it twice"
        if here and after is not None and local >= now.end + after.offset:
            if any(_names(cron, local) for cron in daily):
                return f"once: the clock shows {_clock(local)} twice"
            return f"first {_clock(local)}: the clock shows it twice"
        return ""


def show(spec: ScheduleSpec, times: Sequence[datetime]) -> None:
    """Prints a line for each, and what there is to be said about some of them."""
    found = FireTimes(spec)
    told = found.told(times)
    columns = {"": Column.NUMBER, found.zone_name: Column.FIXED}
    same = all(one.here.utcoffset() == one.there.utcoffset() for one in told)
    if not same:
        columns["HERE"] = Column.FIXED
    columns["IN"] = Column.NUMBER
    made = tables.table(columns)
    now = clock.now()
    for number, one in enumerate(told, 1):
        cells = [f"{number}{'*' if one.note else ' '}", shown(one.there)]
        if not same:
            cells.append(shown(one.here))
        made.add_row(*cells, distance(one.time - now))
    tables.show(made)
    for number, one in enumerate(told, 1):
        if one.note:
            click.echo(f"{number:>2}* {one.note}")


def shown(time: datetime) -> str:
    """`Sun 2026-03-29 03:00:00 +02:00`."""
    fraction = f".{time.microsecond // 1000:03d}" if time.microsecond else ""
    return f"{time:%a %Y-%m-%d %H:%M:%S}{fraction} {time.isoformat()[-6:]}"


def distance(span: timedelta) -> str:
    """How far away a time is: `3h 20m`, or how long ago."""
    seconds = span.total_seconds()
    return tables.age(seconds) if seconds >= 0 else f"{tables.age(-seconds)} ago"


def _pieces(zone: Zone, second: int) -> tuple[Piece | None, Piece, Piece | None]:
    """The pieces of one offset before, at and after a moment; pieces may be cut anywhere."""
    now = next(zone.pieces(second))
    before = next(zone.pieces(now.start - 1)) if now.start > 0 else None
    after = next(zone.pieces(now.end), None)
    return before, now, after


def _names(cron: Cron, local: int) -> bool:
    return cron.next(local - 1) == local


def _after_gap(missed: list[int], own: int | None) -> str:
    """Of what the clock has left out, and the time after the gap, if that is named, too."""
    if not missed:
        return ""
    if own is None and len(missed) == 1:
        return f"moved: the clock leaves out {_clock(missed[0])}"
    more = "" if own is None else f", and {_clock(own)}"
    return f"merged: {_named(missed)}, which the clock leaves out{more}"


def _within(cron: Cron, start: int, end: int) -> Iterator[int]:
    at = cron.next(start - 1)
    while at is not None and at < end:
        yield at
        at = cron.next(at)


def _named(locals_: list[int]) -> str:
    if len(locals_) > _NAMED:
        return f"{len(locals_)} times from {_clock(locals_[0])} to {_clock(locals_[-1])}"
    first, last = locals_[:-1], locals_[-1]
    return (", ".join(map(_clock, first)) + " and " if first else "") + _clock(last)


def _clock(local: int) -> str:
    second = local % _DAY
    text = f"{second // 3600:02d}:{second // 60 % 60:02d}"
    return f"{text}:{second % 60:02d}" if second % 60 else text
