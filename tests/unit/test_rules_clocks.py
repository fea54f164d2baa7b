"""What expressions do where a clock is changed: tables to be read, held against the code.

A row: zone, expression, where to look and for how long, and all fire times there as day, local time
and offset. They lie in the past, whose time zones nobody changes any more.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest

from codeq_grpc.rules.rule import Rule
from codeq_grpc.rules.spec import RuleSpec
from tests.support.zones import pinned

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

LEFT_OUT: Final = """
A time that does not exist fires right after the gap:
Europe/Berlin       | 30 2 * * *     | 2025-03-29 3d       | 29 02:30+01 30 03:00+02 31 02:30+02
Europe/Berlin       | 0 2 * * *      | 2025-03-29 3d       | 29 02:00+01 30 03:00+02 31 02:00+02
Europe/Dublin       | 30 1 * * *     | 2025-03-29 3d       | 29 01:30+00 30 02:00+01 31 01:30+01
America/New_York    | 15 2 * * SUN   | 2025-03-02 9d       | 02 02:15-05 09 03:00-04
Africa/Casablanca   | 30 2 * * *     | 2025-04-05 3d       | 05 02:30+00 06 03:00+01 07 02:30+01
several of them fire once, together with what fires there anyway:
Europe/Berlin       | */20 2,3 * * * | 2025-03-30 1d       | 30 03:00+02 30 03:20+02 30 03:40+02
Europe/Berlin       | */10 * 2 * * * | 2025-03-30 1d       | 30 03:00+02
Europe/Berlin       | 0 */2 * * *    | 2025-03-30 4h       | 30 00:00+01 30 03:00+02 30 04:00+02
Antarctica/Troll    | 0 1,2,3 * * *  | 2025-03-30 1d       | 30 03:00+02
Antarctica/Troll    | 30 1,2,3 * * * | 2025-03-30 1d       | 30 03:00+02 30 03:30+02
the gap begins at midnight:
America/Havana      | @daily         | 2025-03-08 3d       | 08 00:00-05 09 01:00-04 10 00:00-04
America/Santiago    | 30 0 * * *     | 2025-09-06 3d       | 06 00:30-04 07 01:00-03 08 00:30-03
America/Santiago    | @midnight      | 2025-09-06 3d       | 06 00:00-04 07 01:00-03 08 00:00-03
America/Santiago    | 0 */6 * * *    | 2025-09-07 7h       | 07 01:00-03 07 06:00-03
Africa/Cairo        | 0 0 25 * *     | 2025-04-24 3d       | 25 01:00+03
Atlantic/Azores     | 5 0 * * *      | 2025-03-29 3d       | 29 00:05-01 30 01:00+00 31 00:05+00
it is half an hour long, or begins at a quarter to three:
Australia/Lord_Howe | 15 2 * * *     | 2025-10-05 1d       | 05 02:30+1100
Australia/Lord_Howe | 45 2 * * *     | 2025-10-05 1d       | 05 02:45+1100
Pacific/Chatham     | 0 3 * * *      | 2025-09-28 1d       | 28 03:45+1345
the zone has moved for good, over midnight:
Asia/Pyongyang      | 45 23 * * *    | 2018-05-03 3d       | 03 23:45+0830 05 00:00+09 05 23:45+09
a day that never was:
Pacific/Apia        | 0 12 * * *     | 2011-12-29 3d       | 29 12:00-10 31 00:00+14 31 12:00+14
Pacific/Apia        | 0 12 30 12 *   | 2011-12-29 3d       | 31 00:00+14
Pacific/Apia        | 0 9 * * FRI    | 2011-12-29 9d       | 31 00:00+14 06 09:00+14
"""
TWICE: Final = """
A time that exists twice fires once, the first time:
Europe/Berlin       | 30 2 * * *     | 2025-10-25 3d       | 25 02:30+02 26 02:30+02 27 02:30+01
Europe/Berlin       | 30 2,3 * * *   | 2025-10-26 1d       | 26 02:30+02 26 03:30+01
Europe/Berlin       | 0 */2 * * *    | 2025-10-26T02 4h    | 26 02:00+02 26 04:00+01
Europe/Berlin       | 0 */30 2 * * * | 2025-10-26 1d       | 26 02:00+02 26 02:30+02
Europe/Dublin       | 30 1 * * *     | 2025-10-25 3d       | 25 01:30+01 26 01:30+01 27 01:30+00
America/New_York    | 15 1 * * SUN   | 2025-10-26 9d       | 26 01:15-04 02 01:15-04
Africa/Casablanca   | 30 2 * * *     | 2025-02-22 3d       | 22 02:30+01 23 02:30+01 24 02:30+00
Antarctica/Troll    | 0 1,2,3 * * *  | 2025-10-26 1d       | 26 01:00+02 26 02:00+02 26 03:00+00
around midnight:
America/Havana      | @daily         | 2025-11-01 3d       | 01 00:00-04 02 00:00-04 03 00:00-05
America/Santiago    | 30 23 * * *    | 2025-04-04 3d       | 04 23:30-03 05 23:30-03 06 23:30-04
America/Santiago    | @daily         | 2025-04-05 2d       | 05 00:00-03 06 00:00-04
Africa/Cairo        | 0 23 * * *     | 2025-10-30 2d       | 30 23:00+03 31 23:00+02
Atlantic/Azores     | 5 0 * * *      | 2025-10-25 3d       | 25 00:05+00 26 00:05+00 27 00:05-01
half an hour, or at a quarter to four:
Australia/Lord_Howe | 45 1 * * *     | 2025-04-06 2d       | 06 01:45+1100 07 01:45+1030
Australia/Lord_Howe | 15 1 * * *     | 2025-04-06 1d       | 06 01:15+1100
Pacific/Chatham     | 0 3 * * *      | 2025-04-06 1d       | 06 03:00+1345
Pacific/Apia        | 30 3 * * *     | 2020-04-05 1d       | 05 03:30+14
the zone has moved for good:
Asia/Almaty         | 30 23 * * *    | 2024-02-28 3d       | 28 23:30+06 29 23:30+06 01 23:30+05
"""
EVERY_HOUR: Final = """
An expression for every hour follows time as it passes, so no hour has less fire times than others:
Europe/Berlin       | 0 * * * *      | 2025-03-30 3h       | 30 00:00+01 30 01:00+01 30 03:00+02
Europe/Berlin       | 30 * * * *     | 2025-03-30 3h       | 30 00:30+01 30 01:30+01 30 03:30+02
Europe/Berlin       | 0 * * * *      | 2025-10-26T02 3h    | 26 02:00+02 26 02:00+01 26 03:00+01
Europe/Berlin       | 0 0-23 * * *   | 2025-10-26T02 3h    | 26 02:00+02 26 02:00+01 26 03:00+01
Europe/Dublin       | */30 */1 * * * | 2025-10-26T01:30 1h | 26 01:30+01 26 01:00+00
America/New_York    | 0 30 * * * *   | 2025-11-02T01 3h    | 02 01:30-04 02 01:30-05 02 02:30-05
America/Havana      | @hourly        | 2025-11-02 3h       | 02 00:00-04 02 00:00-05 02 01:00-05
America/Santiago    | 0 * * * *      | 2025-04-05T22 3h    | 05 22:00-03 05 23:00-03 05 23:00-04
America/Santiago    | 0 * * * *      | 2025-09-06T23 2h    | 06 23:00-04 07 01:00-03
Africa/Casablanca   | 0 * * * *      | 2025-02-23T02 3h    | 23 02:00+01 23 02:00+00 23 03:00+00
Antarctica/Troll    | 0 * * * *      | 2025-10-26T02 2h    | 26 02:00+02 26 01:00+00
Antarctica/Troll    | 0 * * * *      | 2025-03-30 3h       | 30 00:00+00 30 03:00+02 30 04:00+02
Pacific/Apia        | 0 */1 * * *    | 2011-12-29T23 2h    | 29 23:00-10 31 00:00+14
where the clock is changed by half an hour, what it shows comes half an hour sooner or later:
Australia/Lord_Howe | 0 * * * *      | 2025-10-05T01 2h    | 05 01:00+1030 05 03:00+1100
Australia/Lord_Howe | 15,45 * * * *  | 2025-10-05T01:30 1h | 05 01:45+1030 05 02:45+1100
Australia/Lord_Howe | */30 * * * *   | 2025-04-06T01:30 1h | 06 01:30+1100 06 01:30+1030
"""
UNCHANGED: Final = """
Zones that change nothing, and none:
Asia/Kathmandu      | 15 2 * * *     | 2025-03-30 2d       | 30 02:15+0545 31 02:15+0545
UTC                 | 30 2 * * *     | 2025-03-30 2d       | 30 02:30+00 31 02:30+00
                    | 30 2 * * *     | 2025-03-30 1d       | 30 02:30+00
"""


def _rows(table: str) -> list[tuple[str, ...]]:
    lines = table.strip().splitlines()
    return [tuple(cell.strip() for cell in line.split("|")) for line in lines if "|" in line]


def test_the_tables_have_a_dozen_zones() -> None:
    gaps, repeats, hours = ({row[0] for row in _rows(t)} for t in (LEFT_OUT, TWICE, EVERY_HOUR))
    assert len(gaps & repeats) >= 10
    assert len(gaps | repeats | hours) >= 12


@pytest.mark.parametrize(
    ("zone", "cron", "span", "fires"), _rows(LEFT_OUT + TWICE + EVERY_HOUR + UNCHANGED)
)
def test_fire_times_where_clocks_are_changed(zone: str, cron: str, span: str, fires: str) -> None:
    info = pinned(zone or "UTC")
    start, end = _span(span, info)
    found = Rule(RuleSpec((cron,), zone=zone)).between(start, end, 1000)
    assert [_told(ms, info) for ms in found] == _read(fires)
    # With others, so that it is quicker counted than listed: the same.
    many = Rule(RuleSpec((cron, "59 * * * * *"), every_ms=7000, zone=zone))
    listed = many.between(start, end, 1_000_000)
    assert {*found} <= {*listed}
    assert many.count(start - 1, end - 1, 1_000_000) == len(listed)
    assert many.latest(start - 1, end - 1) == listed[-1]


def _span(span: str, info: ZoneInfo) -> tuple[int, int]:
    """Days as the calendar has them, hours as they pass."""
    first, _, length = span.partition(" ")
    start = datetime.fromisoformat(first).replace(tzinfo=info)
    number = int(length[:-1])
    if length.endswith("d"):
        end = start + timedelta(days=number)
    else:
        end = start.astimezone(UTC) + timedelta(hours=number)
    return round(start.timestamp() * 1000), round(end.timestamp() * 1000)


def _told(ms: int, info: ZoneInfo) -> str:
    return datetime.fromtimestamp(ms / 1000, info).strftime("%d %H:%M:%S%z")


def _read(fires: str) -> list[str]:
    words = fires.split()
    times = [f"{time[:5]}:00{time[5:]:0<5}" for time in words[1::2]]
    return [f"{day} {time}" for day, time in zip(words[::2], times, strict=True)]
