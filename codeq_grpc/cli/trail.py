"""Prints the audit trail: a table for people, a document a line for programs."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from codeq_grpc.cli import documents, tables
from codeq_grpc.cli.connection import describe, is_outage
from codeq_grpc.cli.tables import Column
from codeq_grpc.core.errors import CodeQError

if TYPE_CHECKING:
    from codeq.v1.admin_service_pb2 import AuditEvent
    from codeq_grpc.client import Client

SHOWN: Final = 50
"""Events in a table, unless more are asked for."""
_PAGE: Final = 1_000
_COLUMNS: Final = {
    "TIME": Column.FIXED,
    "SUBJECT": Column.FOLDED,
    "ACTION": Column.FOLDED,
    "OBJECT": Column.FOLDED,
    "OUTCOME": Column.FOLDED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which events; None for any."""

    subject: str | None = None
    action: str | None = None
    outcome: str | None = None
    about: str | None = None

    def has(self, event: AuditEvent) -> bool:
        """Whether an event is among them."""
        name = event.action.rpartition("/")[2]
        return (
            self.subject in {None, event.subject}
            and self.action in {None, event.action, name}
            and (self.outcome is None or self.outcome.upper() == event.outcome)
            and (self.about is None or self.about in event.object)
        )


class Trail:
    """One run of `codeq audit`; without a `limit` programs get all and people SHOWN."""

    def __init__(self, chosen: Chosen, *, limit: int | None, as_json: bool) -> None:
        self._chosen = chosen
        self._limit = SHOWN if limit is None and not as_json else limit
        self._as_json = as_json

    async def show(self, client: Client) -> None:
        """Prints events, newest first.

        Raises:
            CodeQError: A call failed.
        """
        found: list[AuditEvent] = []
        count = 0
        # Whoever chooses few of many reads large pages.
        size = min(_PAGE, (self._limit or _PAGE) + 1) if self._chosen == Chosen() else _PAGE
        async with aclosing(client.audit_events(page_size=size)) as events:
            async for event in events:
                if not self._chosen.has(event):
                    continue
                if count == self._limit:
                    if not self._as_json:
                        click.echo(f"only the newest {count}; --limit shows more", err=True)
                    break
                count += 1
                if self._as_json:
                    _print_line(event)
                else:
                    found.append(event)
        if found:
            _print_table(found)
        elif not self._as_json:
            click.echo("no such events", err=True)

    async def follow(self, client: Client, pause: float) -> None:
        """Prints the newest events, oldest first, and then what comes, for ever.

        Raises:
            CodeQError: The server refuses; that none answers is waited for.
        """
        news = _News()
        latest = [event for event in await news.read(client) if self._chosen.has(event)]
        self._print(latest[-(SHOWN if self._limit is None else self._limit) :])
        lost = False
        while True:
            await asyncio.sleep(pause)
            try:
                new = await news.read(client)
            except CodeQError as error:
                if not is_outage(error):
                    raise
                if not lost:
                    click.echo(f"waiting: {describe(error)}", err=True)
                lost = True
                continue
            lost = False
            self._print([event for event in new if self._chosen.has(event)])

    def _print(self, events: list[AuditEvent]) -> None:
        for event in events:
            if self._as_json:
                _print_line(event)
            else:
                documents.echo("  ".join(_words(event)))


class _News:
    """Reads what is new since it read last."""

    def __init__(self) -> None:
        self._last = (-1, -1)

    async def read(self, client: Client) -> list[AuditEvent]:
        """Oldest first; the first time the newest page."""
        new: list[AuditEvent] = []
        async with aclosing(client.audit_events(page_size=_PAGE)) as events:
            async for event in events:
                if _place(event) <= self._last or (self._last[0] < 0 and len(new) == _PAGE):
                    break
                new.append(event)
        if new:
            self._last = _place(new[0])
        return new[::-1]


def _place(event: AuditEvent) -> tuple[int, int]:
    first, _, second = event.event_id.partition("-")
    return int(first or 0), int(second or 0)


def _print_line(event: AuditEvent) -> None:
    click.echo(documents.line(documents.complete(event)))


def _words(event: AuditEvent) -> tuple[str, ...]:
    return (
        event.time.ToDatetime().isoformat(sep=" ", timespec="seconds"),
        event.subject,
        event.action.rpartition("/")[2],
        event.object,
        f"{event.outcome} {event.reason}".rstrip(),
    )


def _print_table(events: list[AuditEvent]) -> None:
    table = tables.table(_COLUMNS)
    for event in events:
        table.add_row(*map(tables.plain, _words(event)))
    tables.show(table)
