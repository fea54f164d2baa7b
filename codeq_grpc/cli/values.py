"""What people type: durations, priorities, headers."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

import click

from codeq_grpc.core import limits

if TYPE_CHECKING:
    from click import Context, Parameter

LEVELS: Final = {"low": 2, "normal": 5, "high": 7, "critical": 9}
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ms|[smhd])")


def parse_duration(text: str) -> float:
    """`10s`, `500ms`, `1h30m`, or a plain number of seconds; the result in seconds.

    Raises:
        ValueError: It is none of these, or negative.
    """
    text = text.strip().lower()
    parts = _PART.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return math.fsum(float(number) * _UNITS[unit] for number, unit in parts)
    seconds = float(text)
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(text)
    return seconds


def parse_priority(text: str) -> int:
    """0 to 9, or the name of a level.

    Raises:
        ValueError: It is neither.
    """
    level = LEVELS.get(text.strip().lower())
    priority = int(text) if level is None else level
    if not 0 <= priority <= limits.PRIORITY_MAX:
        raise ValueError(text)
    return priority


class Text(click.ParamType[str]):
    """Text that a message can carry; arguments of a program may be any bytes."""

    name = "text"

    def convert(self, value: object, param: Parameter | None, ctx: Context | None) -> str:
        text = str(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail("is not UTF-8", param, ctx)
        return text


class Duration(click.ParamType[float]):
    """A duration in seconds."""

    name = "duration"

    def convert(self, value: object, param: Parameter | None, ctx: Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        try:
            return parse_duration(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a duration such as 10s, 500ms, 5m, 2h, 1d", param, ctx)


class Priority(click.ParamType[int]):
    """A priority by number or name."""

    name = "priority"

    def convert(self, value: object, param: Parameter | None, ctx: Context | None) -> int:
        try:
            return parse_priority(str(value))
        except ValueError:
            self.fail(f"{value!r} is not one of {', '.join(LEVELS)} or 0 to 9", param, ctx)


class Header(click.ParamType[tuple[str, str]]):
    """A header as `key=value`."""

    name = "key=value"

    def convert(
        self, value: object, param: Parameter | None, ctx: Context | None
    ) -> tuple[str, str]:
        key, equals, text = TEXT.convert(value, param, ctx).partition("=")
        if not (key and equals):
            self.fail(f"{value!r} is not of the form key=value", param, ctx)
        return key, text


TEXT: Final = Text()
DURATION: Final = Duration()
PRIORITY: Final = Priority()
HEADER: Final = Header()
