"""Lists schedules and their firings: a table for people, a document a line for programs."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from codeq_grpc.cli import documents, schedule_documents, schedule_tables, tables

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from codeq_grpc.client import Client

T = TypeVar("T")

SHOWN: Final = 50
"""Lines in a table, unless more are asked for."""
_PAGE: Final = 1_000


async def list_them(
    client: Client, chosen: dict[str, Any], *, limit: int | None, as_json: bool
) -> None:
    """Prints schedules, by name.

    Raises:
        CodeQError: A call failed.
    """
    limit = SHOWN if limit is None and not as_json else limit
    source = client.schedules(**chosen, page_size=_page(limit))
    found = await _take(source, limit, schedule_documents.schedule if as_json else None)
    if found:
        tables.show(schedule_tables.listed(found))
    elif not as_json:
        hint = "" if any(chosen.values()) else ": `codeq schedules create` makes one"
        click.echo(f"no such schedules{hint}", err=True)


async def list_firings(
    client: Client, schedule_id: str, *, limit: int | None, as_json: bool
) -> None:
    """Prints firings, newest first.

    Raises:
        CodeQError: A call failed.
    """
    limit = SHOWN if limit is None and not as_json else limit
    source = client.firings(schedule_id, page_size=_page(limit))
    found = await _take(source, limit, schedule_documents.firing if as_json else None)
    if found:
        tables.show(schedule_tables.firings(found))
    elif not as_json:
        click.echo(f"{schedule_id} has not fired yet", err=True)


async def _take(
    source: AsyncGenerator[T], limit: int | None, document: Callable[[T], documents.Document] | None
) -> list[T]:
    """Up to `limit`; with `document` they are printed as they come, and not kept."""
    found: list[T] = []
    count = 0
    async with aclosing(source):
        async for one in source:
            if count == limit:
                if document is None:
                    click.echo(f"only the first {limit}; --limit shows more", err=True)
                break
            count += 1
            if document is None:
                found.append(one)
            else:
                click.echo(documents.line(document(one)))
    return found


def _page(limit: int | None) -> int:
    return _PAGE if limit is None else min(_PAGE, limit + 1)
