"""`codeq audit`: who did what in the tenant."""

from __future__ import annotations

import click

from codeq_grpc.cli.connection import Connection, connected
from codeq_grpc.cli.values import text

_PAUSE = 1.0
"""Seconds between looks for what is new."""


@click.command()
@click.option("--subject", type=text, help="Only what this one did.")
@click.option("--action", type=text, help="Only this call, such as PauseQueue.")
@click.option("--outcome", type=text, help="Only with this outcome, such as PERMISSION_DENIED.")
@click.option("--object", "about", type=text, help="Only what has this text in its object.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help="How many, of the newest. Default: 50 in a table, all with --json.",
)
@click.option("--follow", "-f", is_flag=True, help="Go on with what happens from now on.")
@connected
def audit(
    subject: str | None,
    action: str | None,
    outcome: str | None,
    about: str | None,
    limit: int | None,
    follow: bool,
    connection: Connection,
) -> None:
    """Show who changed or was denied what.

    The newest come first, with times in UTC. With --follow the oldest do, and then what is new as
    it happens.
    """
    from codeq_grpc.cli.trail import Chosen, Trail

    chosen = Chosen(subject=subject, action=action, outcome=outcome, about=about)
    trail = Trail(chosen, limit=limit, as_json=connection.as_json)
    connection.run(lambda client: trail.follow(client, _PAUSE) if follow else trail.show(client))
