"""`codeq top`: queues and workers, live."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from codeq_grpc.cli.connection import connected
from codeq_grpc.cli.values import duration

if TYPE_CHECKING:
    from codeq_grpc.cli.connection import Connection

_LEAST = 0.1


def _interval(_: click.Context, __: click.Parameter, value: str) -> float:
    seconds = duration(value)
    if seconds < _LEAST:
        raise click.BadParameter(f"at least {_LEAST:g}s")
    return seconds


@click.command()
@click.option("--count", type=click.IntRange(min=1), help="End after so many looks.")
@click.option(
    "--interval",
    metavar="DURATION",
    default="1s",
    show_default=True,
    callback=_interval,
    help="Between two looks.",
)
@connected
def top(count: int | None, interval: float, connection: Connection) -> None:
    """Show queues and workers live.

    Ends with q or Ctrl-C. Queues that have most to do come first. Rates are those of the last
    minute, IDLE is how many tasks the waiting workers could take. Where there is no terminal it
    is one look, with --json one a line without end.
    """
    from codeq_grpc.cli.running import silence_grpc

    # Its complaints about a lost connection would stand across the screen.
    silence_grpc()
    from codeq_grpc.cli.looking import Looking

    looking = Looking(connection, interval=interval, count=count)
    connection.run(looking.run)
