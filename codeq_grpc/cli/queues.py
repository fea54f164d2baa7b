"""`codeq queues`: counts of the tenant's queues, and their settings."""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING

import click

from codeq_grpc.cli import asking, queue_settings
from codeq_grpc.cli.connection import connected
from codeq_grpc.cli.groups import Lists
from codeq_grpc.cli.values import text
from codeq_grpc.core import limits

if TYPE_CHECKING:
    from codeq.v1.queue_pb2 import Queue, QueueStats
    from codeq_grpc.cli.connection import Connection
    from codeq_grpc.client import Client

_PURGED = ("pending", "scheduled", "blocked")


@click.group(cls=Lists)
def queues() -> None:
    """Show, set, pause and purge queues.

    Without a subcommand it is `list`: how many tasks the queues have in each state.
    """


@queues.command("list")
@click.argument("commands", metavar="[COMMAND]...", nargs=-1, type=text)
@connected
def list_queues(commands: tuple[str, ...], connection: Connection) -> None:
    """Show the tasks of all queues, or of these, by state."""
    response = connection.run(lambda client: client.queues(commands))
    if connection.as_json:
        from codeq_grpc.cli import documents

        found = [documents.complete(queue) for queue in response.queues]
        click.echo(json.dumps({"queues": found}, ensure_ascii=False))
    elif response.queues:
        from codeq_grpc.cli import queue_tables, tables

        tables.show(queue_tables.counts(response.queues))
    else:
        click.echo("no queues yet: a queue exists from its first task on", err=True)


@queues.command()
@click.argument("command", type=text)
@connected
def show(command: str, connection: Connection) -> None:
    """Show settings and numbers of a queue.

    The settings stand there as `codeq queues set` takes them.
    """

    async def read(client: Client) -> tuple[Queue, QueueStats | None]:
        response = await client.queues([command])
        return await client.get_queue(command), next(iter(response.queues), None)

    queue, stats = connection.run(read)
    if connection.as_json:
        from codeq_grpc.cli import documents

        document = {"queue": documents.complete(queue)}
        if stats is not None:
            document["stats"] = documents.complete(stats)
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    from codeq_grpc.cli import queue_tables

    queue_tables.print_queue(queue, stats)


@queues.command("set", epilog=f"Keys: {', '.join(queue_settings.PARSERS)}")
@click.argument("command", type=text)
@click.argument("changes", metavar="KEY=VALUE...", nargs=-1, type=queue_settings.change)
@click.option(
    "--payload-schema",
    "schema",
    metavar="FILE",
    type=click.File(encoding="utf-8"),
    help="JSON Schema that payloads must satisfy from now on; - is standard input.",
)
@connected
def set_settings(
    command: str,
    changes: tuple[queue_settings.Change, ...],
    schema: IO[str] | None,
    connection: Connection,
) -> None:
    """Change settings of a queue.

    It is made if need be.

    Durations are written as 90s, 5m or 24h; KEY=default goes back to the default of the server.
    The change holds at once, on every server. Tasks that are there already are not checked again.
    """
    if schema is not None:
        changes += (_schema_of(schema),)
    if not changes:
        raise click.UsageError("what is to change? name KEY=VALUE or --payload-schema")
    keys = [key for key, _ in changes]
    if len(set(keys)) < len(keys):
        raise click.UsageError("a key is there twice")
    values = queue_settings.changed(command, changes)
    queue = connection.run(lambda client: client.update_fields(values, keys))
    if connection.as_json:
        from codeq_grpc.cli import documents

        click.echo(documents.line({"queue": documents.complete(queue)}))
        return
    for key, value in queue_settings.rows(queue):
        if key in keys:
            click.echo(f"{key}={value}")


def _schema_of(file: IO[str]) -> queue_settings.Change:
    try:
        found = file.read(limits.SCHEMA_BYTES + 1)
    except UnicodeDecodeError:
        raise click.UsageError(f"{file.name} is not UTF-8") from None
    if not found:
        raise click.UsageError(f"{file.name} is empty; payload_schema=default removes a schema")
    return queue_settings.Change("payload_schema", found)


@queues.command()
@click.argument("command", type=text)
@click.option("--reason", type=text, default="", help="Why, for whoever looks.")
@connected
def pause(command: str, reason: str, connection: Connection) -> None:
    """Stop claims from a queue.

    Tasks are enqueued as before, and workers finish what they hold.
    """
    connection.run(lambda client: client.pause_queue(command, reason=reason))
    _say(connection, {"command": command, "paused": True}, f"paused {command}")


@queues.command()
@click.argument("command", type=text)
@connected
def resume(command: str, connection: Connection) -> None:
    """Undo `pause`."""
    connection.run(lambda client: client.resume_queue(command))
    _say(connection, {"command": command, "paused": False}, f"resumed {command}")


@queues.command()
@click.argument("command", type=text)
@asking.yes
@connected
def purge(command: str, yes: bool, connection: Connection) -> None:
    """Cancel all tasks that no worker holds.

    Those that have ended stay as they are.
    """
    asking.demand(yes=yes)

    async def run(client: Client) -> int:
        if not yes:
            response = await client.queues([command])
            count = sum(getattr(queue, name) for queue in response.queues for name in _PURGED)
            asking.confirm(f"purge {command}, {count:,} tasks?")
        return await client.purge_queue(command)

    count = connection.run(run)
    _say(connection, {"command": command, "purgedCount": count}, f"purged {count} of {command}")


def _say(connection: Connection, document: dict[str, object], line: str) -> None:
    click.echo(json.dumps(document, ensure_ascii=False) if connection.as_json else line)
