"""How commands reach a server, and how they tell what went wrong."""

from __future__ import annotations

import asyncio
import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import click

from codeq_grpc.core.errors import CodeQError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import grpc

    from codeq_grpc.cli.stepwise import StepwiseClient

T = TypeVar("T")

DEFAULT_ADDRESS = "127.0.0.1:50051"


_HINTS: Final = {
    "CREDENTIAL_MISSING": "With this command: --token, or CODEQ_TOKEN.",
    "SCHEDULE_NOT_FOUND": "`codeq schedules` lists those that there are.",
    "SCHEDULE_EXISTS": "`codeq schedules update` changes it.",
    "VERSION_NOT_FOUND": "`codeq schedules versions` lists those that are kept.",
}
"""What to do about an error, by its reason."""


class Failure(click.ClickException):
    """An expected failure: one line on stderr, exit code 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Writes the line."""
        click.echo(f"error: {self.message}", file=file, err=file is None)


class Tls(NamedTuple):
    """Files of `tls_credentials`."""

    ca: Path | None
    certificate: Path | None
    key: Path | None

    def credentials(self) -> grpc.ChannelCredentials:
        """What a client takes."""
        from codeq_grpc.client import tls_credentials

        try:
            return tls_credentials(*self)
        except (OSError, ValueError) as error:
            raise click.UsageError(str(error)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """The options that all commands with a server have."""

    address: str
    token: str | None
    as_json: bool
    tls: Tls | None = None

    def client(self) -> StepwiseClient:
        """A client, not yet open."""
        from codeq_grpc.cli.stepwise import StepwiseClient

        credentials = None if self.tls is None else self.tls.credentials()
        try:
            return StepwiseClient(self.address, token=self.token, credentials=credentials)
        except ValueError as error:
            raise click.UsageError(str(error)) from error

    def run(self, work: Callable[[StepwiseClient], Awaitable[T]]) -> T:
        """Runs `work` with an open client.

        Raises:
            Failure: The server refused something, or none answers.
        """

        async def main() -> T:
            async with self.client() as client:
                return await work(client)

        try:
            return asyncio.run(main())
        except CodeQError as error:
            raise Failure(self.explain(error)) from error

    def explain(self, error: CodeQError) -> str:
        """An error in one line, with what to do about it where that is known."""
        if error.reason == "SERVER_UNAVAILABLE":
            hint = _hint(error.message, self.tls is not None)
            if hint is not None:
                return f"{error.reason}: no connection to {self.address}: {hint}"
            return (
                f"{error.reason}: no server answers at {self.address}; `codeq dev` starts one,"
                f" --address or CODEQ_ADDRESS names another ({_cause(error)})"
            )
        line = describe(error)
        hint = _HINTS.get(error.reason)
        return f"{line} {hint}" if hint else line


def describe(error: CodeQError) -> str:
    """Reason and message of an error in one line, with the field at fault."""
    message = " ".join(error.message.split())
    unnamed = [path for path in error.fields if path not in message]
    return f"{error.reason}: {message}" + (f" ({', '.join(unnamed)})" if unnamed else "")


def is_outage(error: CodeQError) -> bool:
    """Whether the call may well succeed a moment later, without anybody doing anything here."""
    from grpc import StatusCode

    from codeq_grpc.client import code_of

    code = code_of(error)
    if code is StatusCode.RESOURCE_EXHAUSTED:
        return error.retry_after is not None
    return code in {StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED}


def _cause(error: CodeQError) -> str:
    """The last clause of gRPC's long message, e.g. "Connection refused (111)"."""
    return " ".join(error.message.split()).rpartition(": ")[2] or "no answer"


def _hint(message: str, tls: bool) -> str | None:
    """What may be wrong with TLS, of what gRPC says about a connection that did not come about."""
    if "CERTIFICATE_VERIFY_FAILED" in message:
        return "its certificate is not of the CA that is trusted here; --ca-file names another"
    if "Hostname Verification" in message:
        return "its certificate is for another name"
    if "WRONG_VERSION_NUMBER" in message:
        return "the server speaks no TLS"
    if "failed to connect" in message and re.search(r"Socket closed|Connection reset", message):
        return (
            "it was closed at once; the server may ask for another certificate (--cert-file)"
            if tls
            else "it was closed at once; the server may speak TLS (--tls, --ca-file)"
        )
    return None


def _tls(address: str, tls: bool, files: Tls) -> Tls | None:
    """Raises UsageError when something does not go together."""
    if not tls and files == Tls(None, None, None):
        return None
    if (files.certificate is None) != (files.key is None):
        raise click.UsageError("--cert-file and --key-file go together")
    if address.startswith("unix:"):
        raise click.UsageError("there is no TLS on a unix socket")
    return files


_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


def connected(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options of a connection to a command, which gets them as `connection`."""

    @click.option(
        "--address",
        envvar="CODEQ_ADDRESS",
        default=DEFAULT_ADDRESS,
        show_default=True,
        show_envvar=True,
        help="Server to talk to, host:port or unix:///path.",
    )
    @click.option("--token", envvar="CODEQ_TOKEN", show_envvar=True, help="Credential.")
    @click.option("--tls", is_flag=True, envvar="CODEQ_TLS", show_envvar=True, help="Speak TLS.")
    @click.option(
        "--ca-file",
        type=_FILE,
        envvar="CODEQ_CA_FILE",
        show_envvar=True,
        help="CA of the server's certificate; implies --tls.",
    )
    @click.option(
        "--cert-file",
        type=_FILE,
        envvar="CODEQ_CERT_FILE",
        show_envvar=True,
        help="Certificate to show the server.",
    )
    @click.option(
        "--key-file", type=_FILE, envvar="CODEQ_KEY_FILE", show_envvar=True, help="Its key."
    )
    @click.option("--json", "as_json", is_flag=True, help="Write JSON on stdout.")
    @functools.wraps(command)
    def wrapper(*args: Any, address: str, token: str | None, as_json: bool, **rest: Any) -> None:
        from codeq_grpc.cli.running import silence_grpc

        silence_grpc()
        files = Tls(*(rest.pop(name) for name in ("ca_file", "cert_file", "key_file")))
        connection = Connection(
            address=address,
            token=token or None,
            as_json=as_json,
            tls=_tls(address, rest.pop("tls"), files),
        )
        command(*args, connection=connection, **rest)

    return wrapper
