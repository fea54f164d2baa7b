"""`codeq queues`: counts of the tenant's queues."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from codeq_grpc.cli.connection import connected
from codeq_grpc.cli.values import text

if TYPE_CHECKING:
    from codeq.v1.codeq_service_pb2 import AdminQueuesResponse
    from codeq.v1.queue_pb2 import QueueStats
    from codeq_grpc.cli.connection import Connection

_COLUMNS = ("pending", "scheduled", "in_progress", "failed", "completed")


@click.command()
@click.argument("commands", metavar="[COMMAND]...", nargs=-1, type=text)
@connected
def queues(commands: tuple[str, ...], connection: Connection) -> None:
    """Show how many tasks the queues have in each state."""
    response = connection.run(lambda client: client.queues(commands))
    if connection.as_json:
        from codeq_grpc.cli import documents

        found = [documents.queue(queue) for queue in response.queues]
        click.echo(json.dumps({"queues": found}, ensure_ascii=False))
    elif response.queues:
        _print_table(response)
    else:
        click.echo("no queues yet: a queue exists from its first task on", err=True)


def _print_table(response: AdminQueuesResponse) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, header_style="bold")
    table.add_column("COMMAND", overflow="fold")
    for column in (*_COLUMNS, "oldest pending"):
        table.add_column(column.replace("_", " ").upper(), justify="right", no_wrap=True)
    for queue in response.queues:
        counts = (f"{getattr(queue, column):,}" for column in _COLUMNS)
        table.add_row(queue.command, *counts, _oldest(queue))
    # Whoever reads a file or a pipe is not limited to the width of a terminal.
    Console(width=None if sys.stdout.isatty() else 160, markup=False).print(table)


def _oldest(queue: QueueStats) -> str:
    if not queue.HasField("oldest_pending_age"):
        return ""
    return age(queue.oldest_pending_age.ToTimedelta().total_seconds())


def age(seconds: float) -> str:
    """A span of time in its two largest units."""
    for unit, size, smaller in (("d", 86_400, "h"), ("h", 3_600, "m"), ("m", 60, "s")):
        if seconds >= size:
            rest = {"h": 3_600, "m": 60, "s": 1}[smaller]
            return f"{int(seconds // size)}{unit} {int(seconds % size // rest)}{smaller}"
    return f"{seconds:.1f}s"
