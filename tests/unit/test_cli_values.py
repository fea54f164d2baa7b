"""What people type is read as they mean it, or refused with an example."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
import pytest

from codeq.v1.task_pb2 import TaskState
from codeq_grpc.cli.tables import age, rate, short
from codeq_grpc.cli.values import STATES, duration, moment, pair, past, priority, state, text


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("10", 10),
        ("0", 0),
        ("0.25", 0.25),
        ("500ms", 0.5),
        ("10s", 10),
        ("5m", 300),
        ("2h", 7200),
        ("1d", 86400),
        ("1h30m", 5400),
        ("1.5h", 5400),
        (" 10S ", 10),
    ],
)
def test_durations(given: str, seconds: float) -> None:
    assert duration(given) == pytest.approx(seconds)


@pytest.mark.parametrize("given", ["", "s", "10x", "-1", "nan", "inf", "1e3", "10 s", "5m3", "1_0"])
def test_what_is_no_duration_is_refused(given: str) -> None:
    with pytest.raises(click.BadParameter, match="10s"):
        duration(given)


@pytest.mark.parametrize(
    ("given", "number"),
    [("low", 2), ("normal", 5), ("High", 7), ("critical", 9), ("0", 0), ("9", 9)],
)
def test_priorities(given: str, number: int) -> None:
    assert priority(given) == number


@pytest.mark.parametrize("given", ["", "10", "-1", "urgent", "5.0", "²"])
def test_what_is_no_priority_is_refused(given: str) -> None:
    with pytest.raises(click.BadParameter, match="critical"):
        priority(given)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("2026-07-01", "2026-07-01T00:00:00+00:00"),
        ("2026-07-01T12:00:00Z", "2026-07-01T12:00:00+00:00"),
        ("2026-07-01T12:00+02:00", "2026-07-01T12:00:00+02:00"),
        ("2026-07-01 12:00:00.250 UTC", "2026-07-01T12:00:00.250000+00:00"),
    ],
)
def test_times(given: str, read: str) -> None:
    assert moment(given) == past(given) == datetime.fromisoformat(read)


def test_times_may_be_ages() -> None:
    ago = datetime.now(UTC) - past("1h")
    assert abs(ago - timedelta(hours=1)) < timedelta(minutes=1)


@pytest.mark.parametrize("given", ["", "tomorrow", "2026-13-01", "99999999999d"])
def test_what_is_no_time_is_refused(given: str) -> None:
    for read in (moment, past):
        with pytest.raises(click.BadParameter, match="2026-07-01T12:00:00"):
            read(given)


def test_states_are_those_of_the_api() -> None:
    assert [f"TASK_STATE_{name}" for name in STATES] == TaskState.keys()[1:]
    assert {state(given) for given in ("in_progress", "IN-PROGRESS", "in progress")} == {
        "IN_PROGRESS"
    }
    with pytest.raises(click.BadParameter, match="cancelled"):
        state("running")


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0k"),
        (99_949, "99.9k"),
        (99_950, "100k"),
        (999_949, "1000k"),
        (999_950, "1.0M"),
        (10**12, "1.0T"),
        (10**14, "100T"),
    ],
)
def test_short_numbers(number: int, shown: str) -> None:
    assert short(number) == shown
    assert len(shown) <= 5


@pytest.mark.parametrize(
    ("per_second", "shown"),
    [(0, "0"), (0.01, "0.0"), (0.05, "0.1"), (99.94, "99.9"), (99.95, "100"), (1500, "1.5k")],
)
def test_rates(per_second: float, shown: str) -> None:
    assert rate(per_second) == shown


def test_pairs() -> None:
    assert pair("a=b=c") == ("a", "b=c")
    assert pair("a=") == ("a", "")
    for given in ("a", "=b", ""):
        with pytest.raises(click.BadParameter, match="key=value"):
            pair(given)


def test_arguments_that_are_not_utf_8_are_refused() -> None:
    assert text("ä") == "ä"
    with pytest.raises(click.BadParameter, match="UTF-8"):
        text("\udcff")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0s"), (59.94, "59.9s"), (60, "1m 0s"), (3725, "1h 2m"), (90000, "1d 1h")],
)
def test_ages(seconds: float, shown: str) -> None:
    assert age(seconds) == shown
