"""Fire times for people: both clocks, and what a change of clocks makes of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from codeq.v1.schedule_service_pb2 import ScheduleSpec
from codeq_grpc.cli.fire_times import FireTimes, distance, shown
from codeq_grpc.rules.rule import Rule
from codeq_grpc.rules.spec import RuleSpec

BERLIN: Final = "Europe/Berlin"
GAP: Final = "2027-03-28"
"""02:00 to 03:00 is left out."""
FOLD: Final = "2026-10-25"
"""02:00 to 03:00 comes twice."""


def notes(crons: tuple[str, ...], zone: str, day: str) -> list[str]:
    """Clock times of one day with what is said of them, as a server with our rules fires them."""
    middle = datetime.fromisoformat(f"{day}T12:00:00Z")
    rule = Rule(RuleSpec(crons=crons, zone=zone))
    first, last = (int(at.timestamp() * 1000) for at in (middle - DAY, middle + DAY))
    times = [datetime.fromtimestamp(ms / 1000, UTC) for ms in rule.between(first, last, 1000)]
    told = FireTimes(ScheduleSpec(crons=crons, time_zone=zone)).told(times)
    return [
        f"{one.there:%H:%M%z} {one.note}".rstrip() for one in told if str(one.there.date()) == day
    ]


DAY: Final = timedelta(days=1)


@pytest.mark.parametrize(
    ("crons", "zone", "day", "told"),
    [
        (("30 1 * * *",), BERLIN, GAP, ["01:30+0100"]),
        (("30 2 * * *",), BERLIN, GAP, ["03:00+0200 moved: the clock leaves out 02:30"]),
        (("0 3 * * *",), BERLIN, GAP, ["03:00+0200"]),
        (
            ("0,30 2 * * *",),
            BERLIN,
            GAP,
            ["03:00+0200 merged: 02:00 and 02:30, which the clock leaves out"],
        ),
        (
            ("30 2,3 * * *", "0 3 * * *"),
            BERLIN,
            GAP,
            ["03:00+0200 merged: 02:30, which the clock leaves out, and 03:00", "03:30+0200"],
        ),
        (
            ("*/10 2 * * *",),
            BERLIN,
            GAP,
            ["03:00+0200 merged: 6 times from 02:00 to 02:50, which the clock leaves out"],
        ),
        (("30 2 * * *",), BERLIN, FOLD, ["02:30+0200 once: the clock shows 02:30 twice"]),
        (("0 3 * * *",), BERLIN, FOLD, ["03:00+0100"]),
        (("30 2 * * *",), "UTC", GAP, ["02:30+0000"]),
        (
            ("15 2 * * *",),
            "Australia/Lord_Howe",
            "2026-10-04",
            ["02:30+1100 moved: the clock leaves out 02:15"],
        ),
    ],
)
def test_times_of_the_day(crons: tuple[str, ...], zone: str, day: str, told: list[str]) -> None:
    assert notes(crons, zone, day) == told


def test_every_hour_follows_time_as_it_passes() -> None:
    assert notes(("30 * * * *",), BERLIN, GAP)[1:4] == ["01:30+0100", "03:30+0200", "04:30+0200"]
    assert notes(("30 * * * *",), BERLIN, FOLD)[1:5] == [
        "01:30+0200",
        "02:30+0200 first 02:30: the clock shows it twice",
        "02:30+0100 second 02:30: the clock shows it twice",
        "03:30+0100",
    ]


def test_a_time_of_no_cron_has_no_note() -> None:
    spec = ScheduleSpec(crons=["30 2 * * *"], time_zone=BERLIN)
    (one,) = FireTimes(spec).told([datetime(2027, 3, 28, 1, 15, tzinfo=UTC)])
    assert (one.there.hour, one.note) == (3, "")


@pytest.mark.parametrize("spec", [{"time_zone": "Mars/Base"}, {"crons": ["?"]}], ids=str)
def test_what_only_a_newer_server_knows_is_shown_in_utc(spec: dict[str, Any]) -> None:
    time = datetime(2027, 3, 28, 1, tzinfo=UTC)
    (one,) = FireTimes(ScheduleSpec(**spec)).told([time])
    assert (one.there, one.there.utcoffset(), one.note) == (time, timedelta(0), "")


def test_times_have_weekday_and_offset() -> None:
    time = datetime.fromisoformat("2027-03-28T03:00:00.250+05:30")
    assert shown(time) == "Sun 2027-03-28 03:00:00.250 +05:30"
    assert shown(time.astimezone(UTC)) == "Sat 2027-03-27 21:30:00.250 +00:00"
    assert distance(timedelta(hours=3, minutes=20)) == "3h 20m"
    assert distance(-timedelta(minutes=2)) == "2m 0s ago"
