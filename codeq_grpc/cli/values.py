"""What people type: durations, times, priorities, headers. Each function is a type for click."""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime, timedelta
from typing import Final

import click

from codeq_grpc.core import clock, limits
from codeq_grpc.core.task import TaskState
from codeq_grpc.files import spans

LEVELS: Final = {"low": 2, "normal": 5, "high": 7, "critical": 9}
STATES: Final = tuple(state.name for state in TaskState)
_TIME_EXAMPLE: Final = "2026-07-01T12:00:00"
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?|\.\d+")


def duration(value: str) -> float:
    """`10s`, `500ms`, `1h30m`, or a plain number of seconds; the result in seconds.

    Raises:
        BadParameter: It is none of these.
    """
    given = value.strip()
    if _NUMBER.fullmatch(given):
        return float(given)
    try:
        return spans.nanoseconds(given) / 1e9
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def past(value: str) -> datetime:
    """A time, or how long ago it was: `1h`, `2026-07-01`, `2026-07-01T12:00:00+02:00`.

    Raises:
        BadParameter: It is neither, or lies beyond the calendar.
    """
    with contextlib.suppress(click.BadParameter, OverflowError):
        return clock.now() - timedelta(seconds=duration(value))
    with contextlib.suppress(click.BadParameter):
        return moment(value)
    raise click.BadParameter(f"{value!r} is not a time such as {_TIME_EXAMPLE}, nor an age as 1h")


def moment(value: str) -> datetime:
    """A time in ISO 8601, in UTC unless it says otherwise, as all times that are shown.

    Raises:
        BadParameter: It is none.
    """
    try:
        # ` UTC` is how times are shown, and what is shown gets pasted.
        time = datetime.fromisoformat(value.strip().removesuffix(" UTC"))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a time such as {_TIME_EXAMPLE}") from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def state(value: str) -> str:
    """The name of a state, in any case, with `-` or a space for `_`.

    Raises:
        BadParameter: There is no such state.
    """
    given = value.strip().upper().replace("-", "_").replace(" ", "_")
    if given in STATES:
        return given
    known = ", ".join(name.lower() for name in STATES)
    raise click.BadParameter(f"{value!r} is not one of {known}")


def priority(value: str) -> int:
    """0 to 9, or the name of a level.

    Raises:
        BadParameter: It is neither.
    """
    given = value.strip().lower()
    if given in LEVELS:
        return LEVELS[given]
    if len(given) == 1 and given in "0123456789"[: limits.PRIORITY_MAX + 1]:
        return int(given)
    raise click.BadParameter(f"{value!r} is not one of {', '.join(LEVELS)} or 0 to 9")


def pair(value: str) -> tuple[str, str]:
    """A header, a label or a setting as `key=value`.

    Raises:
        BadParameter: It is of another form.
    """
    key, equals, content = text(value).partition("=")
    if not (key and equals):
        raise click.BadParameter(f"{value!r} is not of the form key=value")
    return key, content


def text(value: str) -> str:
    """Text that a message can carry; the arguments of a program may be any bytes.

    Raises:
        BadParameter: It is not UTF-8.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        raise click.BadParameter("is not UTF-8") from None
    return value
