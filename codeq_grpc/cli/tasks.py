"""`codeq tasks`: looks at tasks, cancels and redrives them, watches them change."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from codeq_grpc.cli import asking
from codeq_grpc.cli.connection import connected
from codeq_grpc.cli.filters import Filter, filtered
from codeq_grpc.cli.groups import Ordered
from codeq_grpc.cli.values import duration, text

if TYPE_CHECKING:
    from codeq_grpc.cli.changing import Change
    from codeq_grpc.cli.connection import Connection

_NOT_ENDED: Final = ("BLOCKED", "SCHEDULED", "PENDING", "IN_PROGRESS")
_REDRIVABLE: Final = ("FAILED", "CANCELLED", "EXPIRED")
_ID: Final = re.compile(r"[A-Za-z0-9_-]{18}")

_WATCH_EXAMPLES: Final = """\b
codeq tasks watch $(codeq enqueue greet --payload '{"name": "Ada"}')
codeq tasks watch greet --state failed
"""


@click.group(cls=Ordered)
def tasks() -> None:
    """List, show, cancel, redrive and watch tasks."""


@tasks.command("list")
@click.argument("command", type=text)
@filtered
@click.option("--limit", type=click.IntRange(min=1), help="At most so many; 50, --json all.")
@click.option("--full", is_flag=True, help="With --json: payloads, results and attempts, too.")
@connected
def list_tasks(
    command: str, chosen: Filter, limit: int | None, full: bool, connection: Connection
) -> None:
    """List the tasks of the kind COMMAND.

    They come state by state, newest first within each. With --json all of them, one a line.
    """
    if full and not connection.as_json:
        raise click.UsageError("--full goes with --json; `codeq tasks show --full` shows one task")

    from codeq_grpc.cli.listing import Listing

    listing = Listing(command, chosen, limit=limit, full=full, as_json=connection.as_json)
    connection.run(listing.run)


@tasks.command()
@click.argument("task_id", type=text)
@click.option("--wait", type=duration, help="Wait so long for the task to end.")
@click.option("--full", is_flag=True, help="Show payload and result, too.")
@connected
def show(task_id: str, wait: float | None, full: bool, connection: Connection) -> None:
    """Show a task and its attempts.

    The payload of a completed task is there only if its queue keeps it: retain_payload.
    """
    from codeq_grpc.cli.showing import Showing

    showing = Showing(task_id, full=full, as_json=connection.as_json)
    connection.run(lambda client: showing.run(client, wait))


@tasks.command()
@click.argument("task_ids", metavar="[ID]...", nargs=-1, type=text)
@click.option("--command", type=text, help="Instead of ids: tasks of this kind ...")
@filtered
@click.option("--reason", type=text, default="", help="For the worker and for whoever looks.")
@asking.yes
@connected
def cancel(
    task_ids: tuple[str, ...],
    command: str | None,
    chosen: Filter,
    reason: str,
    yes: bool,
    connection: Connection,
) -> None:
    """Cancel tasks.

    They are those with the IDs, or those of one kind that match, unless they have ended. A task
    that a worker holds is cancelled once the worker has stopped; it is told at once.
    """
    chosen = _meant(task_ids, command, chosen, allowed=_NOT_ENDED, default=_NOT_ENDED)
    from codeq_grpc.cli.changing import Cancel

    _change(Cancel(reason), connection, (task_ids, command), chosen, yes=yes)


@tasks.command()
@click.argument("task_ids", metavar="[ID]...", nargs=-1, type=text)
@click.option("--command", type=text, help="Instead of ids: tasks of this kind ...")
@filtered
@click.option("--spread", type=duration, help="Over so long instead of all at once, e.g. 10m.")
@asking.yes
@connected
def redrive(
    task_ids: tuple[str, ...],
    command: str | None,
    chosen: Filter,
    spread: float | None,
    yes: bool,
    connection: Connection,
) -> None:
    """Redrive failed tasks.

    They are those with the IDs, or those of one kind that match: claimable again, with fresh
    attempts. Cancelled and expired ones are redriven by their ids or with --state.
    """
    chosen = _meant(task_ids, command, chosen, allowed=_REDRIVABLE, default=("FAILED",))
    from codeq_grpc.cli.changing import Redrive

    _change(Redrive(spread), connection, (task_ids, command), chosen, yes=yes)


@tasks.command(epilog=_WATCH_EXAMPLES)
@click.argument("words", metavar="[ID]... | COMMAND", nargs=-1, type=text)
@click.option("--command", type=text, help="COMMAND, for one that looks like an id.")
@filtered
@connected
def watch(
    words: tuple[str, ...], command: str | None, chosen: Filter, connection: Connection
) -> None:
    """Print changes of tasks as they happen.

    The IDs are shown as they are, then as they change, until all of them have ended. The tasks
    of the kind COMMAND that match are shown as they change, until Ctrl-C. A line has the time in
    UTC, the task, its state, the number of its attempt, and its progress, worker or error.
    """
    if command is None and len(words) == 1 and (chosen.given or not _ID.fullmatch(words[0])):
        (command,), words = words, ()
    _exclusive(words, command, chosen)

    from codeq_grpc.cli.watching import Watched, Watching

    watched = Watched(task_ids=words)
    if command is not None:
        watched = Watched(command=command, chosen=chosen)
    connection.run(Watching(watched, as_json=connection.as_json).run)


def _change(
    change: Change,
    connection: Connection,
    named: tuple[tuple[str, ...], str | None],
    chosen: Filter,
    *,
    yes: bool,
) -> None:
    """Runs a change of the named tasks or of all that match in the named queue."""
    from codeq_grpc.cli.changing import Changing

    changing = Changing(change, as_json=connection.as_json)
    task_ids, command = named
    if command is None:
        connection.run(lambda client: changing.named(client, task_ids))
    else:
        asking.demand(yes=yes)
        connection.run(lambda client: changing.matching(client, command, chosen, sure=yes))
    if changing.failures:
        raise click.exceptions.Exit(1)


def _meant(
    task_ids: tuple[str, ...],
    command: str | None,
    chosen: Filter,
    *,
    allowed: tuple[str, ...],
    default: tuple[str, ...],
) -> Filter:
    """The filter with the states that a change without a word about them is for."""
    _exclusive(task_ids, command, chosen)
    wrong = [name.lower() for name in chosen.states if name not in allowed]
    if wrong:
        can = ", ".join(name.lower() for name in allowed)
        raise click.UsageError(f"--state {wrong[0]}: it can be one of {can} here")
    return chosen if chosen.states else replace(chosen, states=default)


def _exclusive(task_ids: tuple[str, ...], command: str | None, chosen: Filter) -> None:
    if bool(task_ids) == (command is not None):
        raise click.UsageError("name tasks by their ids or by the kind COMMAND, one of both")
    if task_ids and chosen.given:
        raise click.UsageError("filters go with a COMMAND, not with ids")
