"""`codeq workers`: who works."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from codeq_grpc.cli.connection import connected
from codeq_grpc.cli.values import text

if TYPE_CHECKING:
    from codeq_grpc.cli.connection import Connection


@click.command()
@click.option("--command", type=text, default="", help="Only those that serve this queue.")
@connected
def workers(command: str, connection: Connection) -> None:
    """Show the workers.

    They are those that hold a stream open or have claimed within the last minute. A worker has a
    line for each of its streams; HELD are the leases of the stream and its limit.
    """
    found = connection.run(lambda client: client.workers(command))
    from codeq_grpc.cli import documents, queue_tables, tables

    if connection.as_json:
        for worker in found:
            click.echo(documents.line(documents.complete(worker)))
    elif found:
        tables.show(queue_tables.workers(found))
    else:
        click.echo(f"no workers{f' for {command}' if command else ''} now", err=True)
