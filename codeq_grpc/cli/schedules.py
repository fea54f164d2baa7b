"""`codeq schedules`: what enqueues tasks when their time has come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from codeq_grpc.cli.connection import connected
from codeq_grpc.cli.groups import Lists
from codeq_grpc.cli.schedule_changes import add_changes
from codeq_grpc.cli.schedule_options import CLEARABLE, described, ruled
from codeq_grpc.cli.values import moment, pair, past, text

if TYPE_CHECKING:
    from datetime import datetime

    from codeq.v1.schedule_service_pb2 import Schedule
    from codeq_grpc.cli.connection import Connection
    from codeq_grpc.cli.schedule_options import Given

_CREATE_EXAMPLES: Final = """\b
codeq schedules create nightly --command report --cron '0 3 * * *' --zone Europe/Berlin
codeq schedules create poll --command poll --every 30s --overlap skip
codeq schedules create -f codeq.yaml
"""
_PREVIEW_EXAMPLES: Final = """\b
codeq schedules preview nightly
codeq schedules preview nightly --from 2027-03-27
codeq schedules preview --cron '30 2 * * *' --zone Europe/Berlin --count 30
"""


@click.group(cls=Lists)
def schedules() -> None:
    """Make, show, pause and fire schedules.

    A schedule enqueues a task at each of its fire times. Without a subcommand it is `list`.
    """


@schedules.command("list")
@click.argument("prefix", required=False, default="", type=text)
@click.option("--command", type=text, default="", help="That enqueue this kind of task.")
@click.option(
    "--label", "labels", type=pair, multiple=True, metavar="KEY=VALUE", help="With this label."
)
@click.option("--limit", type=click.IntRange(min=1), help="At most so many; 50, --json all.")
@connected
def list_schedules(
    prefix: str,
    command: str,
    labels: tuple[tuple[str, str], ...],
    limit: int | None,
    connection: Connection,
) -> None:
    """List schedules, those whose names begin with PREFIX or all, by name."""
    from codeq_grpc.cli.schedule_listing import list_them

    chosen = {"id_prefix": prefix, "command": command, "labels": dict(labels)}
    connection.run(
        lambda client: list_them(client, chosen, limit=limit, as_json=connection.as_json)
    )


@schedules.command()
@click.argument("schedule_id", metavar="ID", type=text)
@connected
def get(schedule_id: str, connection: Connection) -> None:
    """Show a schedule, what it did and when it fires next."""
    _tell(connection, connection.run(lambda client: client.get_schedule(schedule_id)))


@schedules.command(epilog=_CREATE_EXAMPLES)
@click.argument("schedule_id", metavar="[ID]", required=False, type=text)
@click.option(
    "--file",
    "-f",
    "file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="All schedules of a file as `codeq export` writes it; - is standard input.",
)
@described
@click.option("--paused", is_flag=True, help="Does not fire before it is resumed.")
@connected
def create(
    schedule_id: str | None,
    file: Path | None,
    given: Given,
    paused: bool,
    connection: Connection,
) -> None:
    """Make a schedule.

    It fires at all times that --cron, --every and --at say. To change one: `update`; to keep many
    in a file: `codeq apply`.
    """
    if file is not None:
        if schedule_id is not None or given.names or paused:
            raise click.UsageError("all that is to be made stands in the file of --file")
        from codeq_grpc.cli.applying import create_all

        if not connection.run(create_all(file, as_json=connection.as_json)):
            raise click.exceptions.Exit(1)
        return
    if schedule_id is None:
        raise click.UsageError("how is it called? give an ID, or --file")
    if "command" not in given.names:
        raise click.UsageError("what does it enqueue? --command names the kind of task")
    if given.names.isdisjoint({"crons", "every", "times"}):
        raise click.UsageError("when does it fire? --cron, --every or --at")

    from codeq_grpc.client.rules import schedule

    made = schedule(schedule_id, **given.schedule())
    made.paused = paused
    given.change_task(made.task)
    _tell(connection, connection.run(lambda client: client.add_schedule(made)))


@schedules.command()
@click.argument("schedule_id", metavar="ID", type=text)
@described
@click.option(
    "--clear",
    "cleared",
    multiple=True,
    type=click.Choice(CLEARABLE),
    metavar="FIELD",
    help=f"Back to the default; may be repeated. One of {', '.join(CLEARABLE)}.",
)
@click.option("--reason", type=text, default="", help="Why, for its versions and the audit trail.")
@connected
def update(
    schedule_id: str,
    given: Given,
    cleared: tuple[str, ...],
    reason: str,
    connection: Connection,
) -> None:
    """Change a schedule.

    What is given replaces what it had, all --cron of it those before; the rest stays. It fires next
    at the first of its fire times after now.
    """
    from codeq_grpc.cli.schedule_updating import Update

    change = Update(given, cleared)
    _tell(
        connection,
        connection.run(
            lambda client: client.modify_schedule(schedule_id, change, change.paths, reason)
        ),
    )


@schedules.command()
@click.argument("schedule_id", metavar="ID", type=text)
@click.option("--key", type=text, help="Again with the same key within 24 h: the same firing.")
@connected
def trigger(schedule_id: str, key: str | None, connection: Connection) -> None:
    """Fire once now, also a paused one.

    Prints the id of the task. The overlap policy holds: the exit code is 1 if it was skipped.
    """
    firing = connection.run(lambda client: client.trigger_schedule(schedule_id, request_key=key))
    if connection.as_json:
        from codeq_grpc.cli import documents, schedule_documents

        click.echo(documents.line(schedule_documents.firing(firing)))
    elif firing.task_id:
        click.echo(firing.task_id)
    elif not firing.skip_reason:
        click.echo("fires as soon as the task before has ended", err=True)
    if firing.skip_reason:
        click.echo(f"skipped: {firing.skip_reason}", err=True)
        raise click.exceptions.Exit(1)


@schedules.command()
@click.argument("schedule_id", metavar="ID", type=text)
@click.option(
    "--since", type=past, required=True, metavar="TIME", help="From this time or age on: 2d."
)
@click.option("--until", type=past, metavar="TIME", help="Before this time or age; now.")
@connected
def backfill(
    schedule_id: str, since: datetime, until: datetime | None, connection: Connection
) -> None:
    """Fire for fire times of the past, at most 1000.

    Those that had their task already are left alone, so that it may be repeated. All fire at
    once, whatever the overlap policy.
    """
    from codeq_grpc.core import clock

    end = until or clock.now()
    if since >= end:
        raise click.UsageError("--since must be before --until, or before now without it")
    count = connection.run(lambda client: client.backfill_schedule(schedule_id, since, end))
    document = {"scheduleId": schedule_id, "firedCount": count}
    click.echo(json.dumps(document) if connection.as_json else f"fired {count}")
    if not count:
        click.echo("`codeq schedules firings` tells what there was", err=True)


@schedules.command(epilog=_PREVIEW_EXAMPLES)
@click.argument("schedule_id", metavar="[ID]", required=False, type=text)
@ruled
@click.option(
    "--from",
    "since",
    type=moment,
    metavar="TIME",
    help="From this time on, e.g. 2027-03-27; now.",
)
@click.option("--count", type=click.IntRange(1, 100), default=10, show_default=True)
@connected
def preview(
    schedule_id: str | None,
    given: Given,
    since: datetime | None,
    count: int,
    connection: Connection,
) -> None:
    """Show the next fire times of a schedule or of rules.

    They are shown on the clock of the time zone and on the clock here, with the offset to UTC; a
    star has its reason below: what happens when clocks are changed. Nothing is stored.
    """
    if schedule_id is None and not given.names:
        raise click.UsageError("when does it fire? an ID, or --cron, --every or --at")
    if schedule_id is not None and given.names:
        raise click.UsageError("an ID has its own rules; --from says from when on they are shown")
    from codeq_grpc.cli.previewing import Wanted, preview_them

    wanted = Wanted(schedule_id, given.rules(), since, count)
    connection.run(lambda client: preview_them(client, wanted, as_json=connection.as_json))


@schedules.command()
@click.argument("schedule_id", metavar="ID", type=text)
@click.option("--limit", type=click.IntRange(min=1), help="At most so many; 50, --json all.")
@connected
def firings(schedule_id: str, limit: int | None, connection: Connection) -> None:
    """Show fire times and what came of them, newest first.

    The last 100 are kept. A task is shown with `codeq tasks show`.
    """
    from codeq_grpc.cli.schedule_listing import list_firings

    connection.run(
        lambda client: list_firings(client, schedule_id, limit=limit, as_json=connection.as_json)
    )


@schedules.command()
@click.argument("schedule_id", metavar="ID", type=text)
@connected
def versions(schedule_id: str, connection: Connection) -> None:
    """Show the last 20 versions: when, by whom, what and why.

    With --json each has all that it said.
    """
    found = connection.run(lambda client: client.schedule_versions(schedule_id))
    if connection.as_json:
        from codeq_grpc.cli import documents, schedule_documents

        for version in found:
            click.echo(documents.line(schedule_documents.version(version)))
        return
    from codeq_grpc.cli import schedule_tables, tables

    tables.show(schedule_tables.versions(found))


@schedules.command()
@click.argument("schedule_id", metavar="ID", type=text)
@click.argument("version", type=click.IntRange(min=1))
@click.option("--reason", type=text, default="", help="Why, for its versions and the audit trail.")
@connected
def rollback(schedule_id: str, version: int, reason: str, connection: Connection) -> None:
    """Make an earlier version the current one.

    It becomes a new version; counts stay, and so does whether it is paused.
    """
    reason = reason or f"back to version {version}"
    _tell(
        connection,
        connection.run(
            lambda client: client.rollback_schedule(schedule_id, version, reason=reason)
        ),
    )


add_changes(schedules)


def _tell(connection: Connection, schedule: Schedule) -> None:
    if connection.as_json:
        from codeq_grpc.cli import schedule_documents

        document: dict[str, Any] = schedule_documents.schedule(schedule)
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    from codeq_grpc.cli import schedule_tables

    schedule_tables.print_schedule(schedule)
