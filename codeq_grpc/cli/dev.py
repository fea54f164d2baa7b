"""`codeq dev`: everything in one process tree, for trying out and for development."""

from __future__ import annotations

import asyncio
import os
import secrets
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from codeq_grpc.core.ports import Ports

_TENANT = "dev"
_LOOPBACK = {
    **dict.fromkeys(("grpc_host", "http_host"), "127.0.0.1"),
    **dict.fromkeys(("tls_cert_file", "tls_key_file", "tls_client_ca_file")),
    **dict.fromkeys(("redis_ca_file", "redis_cert_file", "redis_key_file")),
    "certificates": (),
}
"""Whatever the environment says: its token allows everything, and its store is its own."""


@click.command()
@click.option(
    "--grpc-port",
    type=click.IntRange(0, 65535),
    default=50051,
    show_default=True,
    help="Port for gRPC; 0 for any.",
)
@click.option(
    "--http-port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="Port for the health pages; 0 for any.",
)
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".codeq"),
    show_default=True,
    help="Where tasks and the token are kept.",
)
@click.option("--token", help="Use this token instead of a generated one.")
@click.option(
    "--processes",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Servers on these ports, one a core.",
)
@click.option(
    "--durability",
    default="D1",
    show_default=True,
    envvar="CODEQ_DURABILITY",
    type=click.Choice(["D1", "D2", "D3"]),
    help="D1: a power cut may cost a second of tasks; D2 and D3: none.",
)
@click.option(
    "--log-level",
    default="warning",
    show_default=True,
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="What is logged; info tells of calls that failed.",
)
def dev(state_dir: Path, token: str | None, **given: int | str) -> None:
    """Run a server to try out, with a store in it.

    Tasks and the token, which allows everything, are kept in the state directory. Other settings
    come from CODEQ_* variables.
    """
    from codeq_grpc.cli.running import silence_grpc

    silence_grpc()
    from codeq_grpc.app import StateInUse, StoreDidNotStart
    from codeq_grpc.processes.supervisor import GaveUp
    from codeq_grpc.settings import SettingsError

    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        token = token or _kept_token(state_dir / "token")
        asyncio.run(_run(state_dir, token, given))
    except (ImportError, OSError, StateInUse, StoreDidNotStart, GaveUp) as error:
        raise click.ClickException(str(error)) from error
    except SettingsError as error:
        raise click.UsageError(str(error)) from error


def _kept_token(path: Path) -> str:
    """The token of this state directory, made at the first start."""
    if path.exists():
        return path.read_text().strip()
    token = f"cq_dev_{secrets.token_urlsafe(24)}"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token + "\n")
    return token


async def _run(state_dir: Path, token: str, given: dict[str, Any]) -> None:
    from codeq_grpc.app import embedded_store, hash_token
    from codeq_grpc.cli.running import serve_until_stopped, stopped_by_signals
    from codeq_grpc.core.durability import Level
    from codeq_grpc.settings import load_settings

    entry = {
        "sha256": hash_token(token),
        "subject": "developer",
        "tenant": _TENANT,
        "roles": ["admin"],
    }

    def ready(ports: Ports) -> None:
        click.echo(_how_to(ports, token, state_dir))

    level = Level(given["durability"])
    async with stopped_by_signals() as stop, embedded_store(state_dir, level) as url:
        settings = load_settings(
            env="dev",
            redis_url=url,
            tokens=[entry],
            reflection=True,
            log_format="text",
            **{**_LOOPBACK, **given},
        )
        await serve_until_stopped(settings, stop, ready)
    click.echo("stopped; the tasks are kept", err=True)


def _how_to(ports: Ports, token: str, state_dir: Path) -> str:
    # In full: the other terminal is somewhere else.
    program = str(Path(sys.argv[0]).absolute()) if "/" in sys.argv[0] else "codeq"
    program = shlex.quote(program)
    address = "" if ports.grpc == 50051 else f" CODEQ_ADDRESS=127.0.0.1:{ports.grpc}"
    from codeq_grpc import __version__

    return f"""codeQ {__version__} is serving; Ctrl-C stops it, the tasks are kept in {state_dir}

  gRPC  127.0.0.1:{ports.grpc}
  HTTP  http://127.0.0.1:{ports.http}/health/detailed

Paste into another terminal to enqueue a task a file:

  export CODEQ_TOKEN={shlex.quote(token)}{address}
  {program} enqueue count --file *

and to start a worker that runs a program for each:

  {program} work count --exec wc

Then look with {program} queues
"""
