"""`codeq keys`: API keys of the tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from codeq_grpc.cli.connection import connected, describe
from codeq_grpc.cli.groups import Lists
from codeq_grpc.cli.values import duration, text
from codeq_grpc.core import clock
from codeq_grpc.core.errors import KeyNotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.timestamp_pb2 import Timestamp

    from codeq.v1.admin_service_pb2 import ApiKey
    from codeq_grpc.cli.connection import Connection
    from codeq_grpc.client import Client


@click.group(cls=Lists)
def keys() -> None:
    """Make, show and revoke API keys.

    They are those of your tenant. Without a subcommand it is `list`.
    """


@keys.command("list")
@connected
def list_keys(connection: Connection) -> None:
    """Show the keys, the newest first, without what is secret.

    A key that is revoked or has expired is shown for 30 days. Times are in UTC.
    """
    found = connection.run(lambda client: client.api_keys())
    from codeq_grpc.cli import documents

    if connection.as_json:
        for key in found:
            click.echo(documents.line(documents.complete(key)))
    elif found:
        _print_table(found)
    else:
        click.echo("no keys yet: `codeq keys create` makes one", err=True)


@keys.command()
@click.argument("name", type=text)
@click.option("--role", "roles", multiple=True, type=text, help="What it may do; may be repeated.")
@click.option("--scope", "scopes", multiple=True, type=text, help="The same, scope by scope.")
@click.option(
    "--command",
    "commands",
    multiple=True,
    type=text,
    help="Only this queue, where * stands for any characters; may be repeated.",
)
@click.option("--ttl", type=duration, help="Life, such as 12h or 90d. Without, it has no end.")
@connected
def create(
    name: str,
    roles: tuple[str, ...],
    scopes: tuple[str, ...],
    commands: tuple[str, ...],
    ttl: float | None,
    connection: Connection,
) -> None:
    """Make a key.

    It may do no more than the credential that makes it. The key goes to stdout, and is shown this
    once; all else goes to stderr. It is used as a token is: CODEQ_TOKEN, --token.
    """
    if not (roles or scopes):
        raise click.UsageError("what may it do? --role worker, or --scope tasks.enqueue")
    made = connection.run(
        lambda client: client.create_api_key(
            name, roles=roles, scopes=scopes, commands=commands, ttl=ttl
        )
    )
    from codeq_grpc.cli import documents

    if connection.as_json:
        document = {"key": documents.complete(made.key), "secret": made.secret}
        click.echo(documents.line(document))
        return
    end = made.key.expire_time
    ends = f"until {_time(end, '')} UTC" if end.seconds else "no end"
    click.echo(f"key {made.key.key_id} of {name}, {ends}; shown this once:", err=True)
    click.echo(made.secret)


@keys.command()
@click.argument("key_ids", metavar="KEY_ID...", nargs=-1, required=True, type=text)
@click.option("--reason", type=text, default="", help="Why, for the audit trail.")
@connected
def revoke(key_ids: tuple[str, ...], reason: str, connection: Connection) -> None:
    """End keys, for good.

    Within 5 s no server takes them any more, and calls made with them have ended. An id that is not
    known keeps no other key from ending; the exit code is 1 then.
    """
    from codeq_grpc.cli import documents

    async def run(client: Client) -> bool:
        unknown = False
        for key_id in key_ids:
            try:
                await client.revoke_api_key(key_id, reason)
            except KeyNotFound as error:
                # The others end all the same: somebody may be using them.
                click.echo(f"error: {key_id}: {describe(error)}", err=True)
                unknown = True
                continue
            document = {"keyId": key_id, "revoked": True}
            click.echo(documents.line(document) if connection.as_json else f"revoked {key_id}")
        return unknown

    if connection.run(run):
        raise click.exceptions.Exit(1)


def _print_table(found: Sequence[ApiKey]) -> None:
    from codeq_grpc.cli import tables

    at = clock.now().timestamp()
    fixed, folded = tables.Column.FIXED, tables.Column.FOLDED
    table = tables.table(
        {"KEY": fixed, "NAME": folded, "SCOPES": folded, "COMMANDS": folded, "USED": fixed}
        | {"END": fixed}
    )
    for key in found:
        revoked = f"revoked {_time(key.revoke_time, '')}"
        over = "expired " if 0 < key.expire_time.seconds <= at else ""
        table.add_row(
            tables.plain(key.key_id),
            tables.plain(key.name),
            tables.plain(" ".join(key.scopes)),
            tables.plain(" ".join(key.commands) or "all"),
            _time(key.last_used_time, "never"),
            revoked if key.revoked else over + _time(key.expire_time, "never"),
        )
    tables.show(table)


def _time(time: Timestamp, otherwise: str) -> str:
    return f"{time.ToDatetime():%Y-%m-%d %H:%M}" if time.seconds else otherwise
