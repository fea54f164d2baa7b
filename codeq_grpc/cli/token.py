"""`codeq token`: a new credential, for the tokens file of a server."""

from __future__ import annotations

import hashlib
import json
import secrets

import click

from codeq_grpc.cli.values import text
from codeq_grpc.core.principal import ROLES, TENANT_NAME


def _tenant(_: click.Context, __: click.Parameter, name: str) -> str:
    if not TENANT_NAME.fullmatch(name):
        raise click.BadParameter("1 to 64 letters, digits and ._- characters")
    return name


@click.command()
@click.option(
    "--subject", required=True, type=text, help="Whom the token is for, e.g. a service's name."
)
@click.option("--tenant", required=True, callback=_tenant, help="Whose queues it opens.")
@click.option(
    "--role",
    "roles",
    required=True,
    multiple=True,
    type=click.Choice(list(ROLES)),
    help="What it allows; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON on stdout.")
def token(subject: str, tenant: str, roles: tuple[str, ...], *, as_json: bool) -> None:
    """Make a token and the entry for the server's tokens file.

    The entry goes to stdout, so that it can be sent to the file; the token itself goes to stderr,
    and is shown this once. The server gets its hash only.
    """
    secret = f"cq_{secrets.token_urlsafe(32)}"
    digest = hashlib.sha256(secret.encode()).hexdigest()
    roles = tuple(dict.fromkeys(roles))
    if as_json:
        entry = {"sha256": digest, "subject": subject, "tenant": tenant, "roles": roles}
        click.echo(json.dumps({"token": secret, "entry": entry}, ensure_ascii=False))
        return
    click.echo(f"The token, shown this once: {secret}", err=True)
    click.echo("The entry, on stdout, is for the file that CODEQ_TOKENS_FILE names.", err=True)
    click.echo(
        f"- sha256: {digest}\n"
        # A JSON text is a YAML text, whatever characters it has.
        f"  subject: {json.dumps(subject, ensure_ascii=False)}\n"
        f"  tenant: {json.dumps(tenant)}\n"
        f"  roles: [{', '.join(roles)}]"
    )
