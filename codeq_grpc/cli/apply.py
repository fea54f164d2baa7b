"""`codeq export` and `codeq apply`: schedules and settings of queues in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from codeq_grpc.cli.connection import connected
from codeq_grpc.cli.values import text

if TYPE_CHECKING:
    from codeq_grpc.cli.connection import Connection

_EXAMPLES: Final = """\b
codeq export > codeq.yaml
codeq apply -f codeq.yaml --dry-run
codeq apply -f codeq.yaml
"""


@click.command(epilog=_EXAMPLES)
@click.option("--schedules", "schedules_only", is_flag=True, help="Schedules only.")
@click.option("--queues", "queues_only", is_flag=True, help="Settings of queues only.")
@connected
def export(schedules_only: bool, queues_only: bool, connection: Connection) -> None:
    """Write schedules and settings of queues as YAML.

    What was set stands there, by name; what is the default does not, nor do the schedules of codeQ
    itself. The same settings are the same text. With --json it is JSON, which `apply` takes, too.
    """
    from codeq_grpc.cli import exporting

    document = connection.run(
        lambda client: exporting.export(
            client,
            queues=queues_only or not schedules_only,
            schedules=schedules_only or not queues_only,
        )
    )
    if connection.as_json:
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    from codeq_grpc.files import yaml_text

    click.echo(exporting.HEAD + yaml_text.write(document), nl=False)


@click.command(epilog=_EXAMPLES)
@click.option(
    "--file",
    "-f",
    "file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="What `codeq export` writes; - is standard input.",
)
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option(
    "--prune",
    is_flag=True,
    help="Delete schedules that the file does not have, and reset queues that it does not.",
)
@click.option("--yes", is_flag=True, help="Do not ask before --prune.")
@click.option("--reason", type=text, default="", help="Why, for versions and the audit trail.")
@connected
def apply(
    file: Path, dry_run: bool, prune: bool, yes: bool, reason: str, connection: Connection
) -> None:
    """Make schedules and settings of queues what a file says.

    Again changes nothing. Of an entry all counts: what is not there is the default. Whether
    something is paused stays as it is, unless the file says `paused`. A section that is not
    there, `queues` or `schedules`, is left alone. Nothing is changed if the file is not valid.
    """
    from codeq_grpc.cli.applying import Applying

    applying = Applying(
        file, prune=prune, dry_run=dry_run, yes=yes, reason=reason, as_json=connection.as_json
    )
    connection.run(applying.run)
    if applying.failed:
        raise click.exceptions.Exit(1)
