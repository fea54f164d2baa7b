"""Tables for people: colour on a terminal only, narrow enough for 80 columns."""

from __future__ import annotations

import enum
import sys
from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from codeq_grpc.cli import documents

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType

    from codeq.v1.task_pb2 import TaskState

_WIDTH: Final = 160
"""Whoever reads a file or a pipe is not limited to the width of a terminal."""
_STYLES: Final = {
    "IN_PROGRESS": "cyan",
    "COMPLETED": "green",
    "FAILED": "red",
    "CANCELLED": "yellow",
    "EXPIRED": "yellow",
    "BLOCKED": "magenta",
    "SCHEDULED": "blue",
}
_UNITS: Final = (("d", 86_400, "h", 3_600), ("h", 3_600, "m", 60), ("m", 60, "s", 1))
_MAGNITUDES: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


class Column(enum.Enum):
    """What a column is like."""

    FIXED = "as wide as its text"
    NUMBER = "the same, to the right"
    FOLDED = "text that goes on in the next line"


def console(*, stderr: bool = False) -> Console:
    """Where tables are printed: text is as it is, names with colons and brackets among it."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(
        stderr=stderr,
        width=None if stream.isatty() else _WIDTH,
        markup=False,
        emoji=False,
        highlight=False,
    )


def show(content: RenderableType) -> None:
    """Prints on stdout."""
    console().print(content)


def table(columns: Mapping[str, Column]) -> Table:
    """An empty table; only columns that are FOLDED give way when it is too wide."""
    made = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for name, column in columns.items():
        made.add_column(
            name,
            justify="right" if column is Column.NUMBER else "left",
            no_wrap=column is not Column.FOLDED,
            overflow="fold",
        )
    return made


def state(number: TaskState) -> Text:
    """The name of a state in its colour."""
    name = documents.state_name(number)
    return Text(name, style=_STYLES.get(name, ""))


def plain(content: str) -> Text:
    """What others have written, in one line and harmless to a terminal."""
    return Text(documents.harmless(" ".join(content.split())))


def cut(content: str) -> Text:
    """The same, cut instead of folded where it is too long."""
    text = plain(content)
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def age(seconds: float) -> str:
    """A span of time in its two largest units."""
    for unit, size, smaller, rest in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)}{unit} {int(seconds % size // rest)}{smaller}"
    return f"{seconds:.1f}s"


def short(number: float) -> str:
    """A number in at most five characters: 999, 12.3k, 4.5M."""
    for size, unit in _MAGNITUDES:
        if number >= size * 0.99995:
            scaled = number / size
            return f"{scaled:.1f}{unit}" if scaled < 99.95 else f"{scaled:.0f}{unit}"
    return f"{number:.0f}"


def rate(per_second: float) -> str:
    """A rate in at most five characters, nothing for none."""
    if per_second < 0.05:
        return "0.0" if per_second > 0 else "0"
    return f"{per_second:.1f}" if per_second < 99.95 else short(per_second)
