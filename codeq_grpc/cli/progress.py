"""Progress on stderr: a bar or a live line on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

import click

from codeq_grpc.core import clock

if TYPE_CHECKING:
    from collections.abc import Iterator

_EVERY: Final = 5.0
"""Seconds between plain lines."""
_FEW: Final = 20
"""So many need no progress."""


class Advance(Protocol):
    """Tells that so many more are done."""

    def __call__(self, count: int = 1) -> None:
        """Moves on."""


@contextmanager
def bar(label: str, total: int | None) -> Iterator[Advance]:
    """Progress towards `total`, None where that is not known."""
    if total is not None and total <= _FEW:
        yield _nothing
    elif sys.stderr.isatty():
        with _rich_bar(label, total) as advance:
            yield advance
    else:
        yield _Lines(label, total)


def _nothing(count: int = 1) -> None:
    """Moves on unseen."""


@contextmanager
def _rich_bar(label: str, total: int | None) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task(label, total=total)
        yield lambda count=1: progress.advance(task, count)


class _Lines:
    def __init__(self, label: str, total: int | None) -> None:
        self._label = label
        self._total = total
        self._done = 0
        self._said_at = clock.monotonic()

    def __call__(self, count: int = 1) -> None:
        self._done += count
        now = clock.monotonic()
        if now - self._said_at >= _EVERY and (self._total is None or self._done < self._total):
            self._said_at = now
            of = "" if self._total is None else f" of {self._total}"
            click.echo(f"{self._label} {self._done}{of}", err=True)
