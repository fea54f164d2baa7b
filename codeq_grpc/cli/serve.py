"""`codeq serve`: a server in front of a Redis or Valkey that somebody else runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from codeq_grpc.settings import Settings


@click.command()
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Settings file: YAML, TOML or JSON (CODEQ_CONFIG).",
)
@click.option("--grpc-port", type=click.IntRange(0, 65535), help="Port for gRPC.")
@click.option("--http-port", type=click.IntRange(0, 65535), help="Port for HTTP.")
@click.option(
    "--processes", type=click.IntRange(1, 256), help="Servers on these ports, one a core."
)
def serve(config: Path | None, **options: int | None) -> None:
    """Run a server. Settings come from CODEQ_* variables and the settings file."""
    from codeq_grpc.cli.running import silence_grpc
    from codeq_grpc.processes.supervisor import GaveUp
    from codeq_grpc.settings import SettingsError, load_settings
    from codeq_grpc.transport.certificates import BadCertificate

    silence_grpc()
    given = {name: value for name, value in options.items() if value is not None}
    try:
        settings = load_settings(config, **given)
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    if not (
        settings.tokens
        or settings.certificates
        or settings.issuers
        or settings.identity_service_url
    ):
        raise click.UsageError(
            "no token is configured, so nobody could call: make one with `codeq token` and name "
            "its file in CODEQ_TOKENS_FILE, or name who signs tokens in CODEQ_ISSUERS. For a "
            "try-out, run `codeq dev`."
        )
    try:
        asyncio.run(_serve(settings))
    except (BadCertificate, ImportError, OSError, GaveUp) as error:
        raise click.ClickException(str(error)) from error


async def _serve(settings: Settings) -> None:
    from codeq_grpc.cli.running import serve_until_stopped, stopped_by_signals

    async with stopped_by_signals() as stop:
        await serve_until_stopped(settings, stop, lambda _: None)
