"""What people type is read as they mean it, or refused with an example."""

from __future__ import annotations

import click
import pytest

from codeq_grpc.cli.queues import age
from codeq_grpc.cli.values import duration, header, priority, text


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


def test_headers() -> None:
    assert header("a=b=c") == ("a", "b=c")
    assert header("a=") == ("a", "")
    for given in ("a", "=b", ""):
        with pytest.raises(click.BadParameter, match="key=value"):
            header(given)


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
