"""`codeq schedules pause`, `resume` and `delete`: few by name, many by what they have in common."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

import click

from codeq_grpc.cli import asking
from codeq_grpc.cli.connection import connected, describe
from codeq_grpc.cli.values import pair, text

if TYPE_CHECKING:
    from collections.abc import Callable

    from codeq_grpc.cli.connection import Connection
    from codeq_grpc.client import Client
    from codeq_grpc.core.errors import CodeQError

_PAGE: Final = 1_000
_DONE: Final = {"pause": "paused", "resume": "resumed", "delete": "deleted"}


class Chosen:
    """Which schedules: these, or all that have something in common."""

    def __init__(
        self, names: tuple[str, ...], prefix: str, command: str, labels: tuple[tuple[str, str], ...]
    ) -> None:
        self._filter: dict[str, Any] = {
            "id_prefix": prefix,
            "command": command,
            "labels": dict(labels),
        }
        if bool(names) == any(self._filter.values()):
            raise click.UsageError("name schedules by ID, or with --prefix, --command or --label")
        self.names = list(dict.fromkeys(names))

    async def find(self, client: Client) -> list[str]:
        """Their names; of those of codeQ itself only if they were named."""
        if self.names:
            return self.names
        found = client.schedules(page_size=_PAGE, **self._filter)
        return [one.schedule_id async for one in found if not one.system]


def _choosing(command: Callable[..., None]) -> Callable[..., None]:
    @click.argument("schedule_ids", metavar="[ID]...", nargs=-1, type=text)
    @click.option("--prefix", type=text, default="", help="Those whose names begin so.")
    @click.option(
        "--command", "enqueued", type=text, default="", help="Those that enqueue such tasks."
    )
    @click.option(
        "--label",
        "labels",
        type=pair,
        multiple=True,
        metavar="KEY=VALUE",
        help="Those with this label.",
    )
    @functools.wraps(command)
    def wrapper(
        schedule_ids: tuple[str, ...],
        prefix: str,
        enqueued: str,
        labels: tuple[tuple[str, str], ...],
        **options: Any,
    ) -> None:
        command(chosen=Chosen(schedule_ids, prefix, enqueued, labels), **options)

    return wrapper


def _because(command: Callable[..., None]) -> Callable[..., None]:
    return click.option("--reason", type=text, default="", help="Why, for whoever looks.")(command)


@click.command()
@_choosing
@_because
@connected
def pause(chosen: Chosen, reason: str, connection: Connection) -> None:
    """Stop schedules from firing.

    Tasks that are there already go on.
    """
    _change(connection, chosen, "pause", reason)


@click.command()
@_choosing
@_because
@connected
def resume(chosen: Chosen, reason: str, connection: Connection) -> None:
    """Undo `pause`.

    Fire times that passed meanwhile are not made up for: `backfill` does that.
    """
    _change(connection, chosen, "resume", reason)


@click.command()
@_choosing
@_because
@asking.yes
@connected
def delete(chosen: Chosen, reason: str, yes: bool, connection: Connection) -> None:
    """Delete schedules, with what is kept of their firings and versions.

    Tasks that they made stay.
    """
    asking.demand(yes=yes)
    _change(connection, chosen, "delete", reason, sure=yes)


def add_changes(group: click.Group) -> None:
    """Adds these commands."""
    for command in (pause, resume, delete):
        group.add_command(command)


def _change(
    connection: Connection, chosen: Chosen, verb: str, reason: str, *, sure: bool = True
) -> None:
    async def run(client: Client) -> tuple[list[str], dict[str, CodeQError]]:
        names = await chosen.find(client)
        if names and not sure:
            what = names[0] if len(names) == 1 else f"{len(names):,} schedules"
            asking.confirm(f"{verb} {what}?")
        return names, await getattr(client, f"{verb}_schedules")(names, reason)

    names, failures = connection.run(run)
    done = [name for name in names if name not in failures]
    if connection.as_json:
        from codeq_grpc.cli import documents

        failed = [
            {"scheduleId": name, "reason": error.reason, "message": error.message}
            for name, error in failures.items()
        ]
        click.echo(documents.line({f"{_DONE[verb]}Count": len(done), "failures": failed}))
    elif done:
        click.echo(f"{_DONE[verb]} {done[0] if len(done) == 1 else len(done)}")
    elif not names:
        click.echo("no such schedules", err=True)
    for name, error in failures.items():
        click.echo(f"error: {name}: {describe(error)}", err=True)
    if failures:
        raise click.exceptions.Exit(1)
