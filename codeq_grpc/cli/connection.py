"""How commands reach a server, and how they tell what went wrong."""

from __future__ import annotations

import asyncio
import functools
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from codeq_grpc.core.errors import CodeQError, CredentialMissing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from codeq_grpc.cli.stepwise import StepwiseClient

T = TypeVar("T")

DEFAULT_ADDRESS = "127.0.0.1:50051"
_OUTAGES = frozenset(
    {"DEADLINE_EXCEEDED", "DRAINING", "NOT_DURABLE", "SERVER_UNAVAILABLE", "STORE_UNAVAILABLE"}
)


class Failure(click.ClickException):
    """An expected failure: one line on stderr, exit code 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Writes the line."""
        click.echo(f"error: {self.message}", file=file, err=file is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """The options that all commands with a server have."""

    address: str
    token: str | None
    as_json: bool

    def client(self) -> StepwiseClient:
        """A client, not yet open."""
        from codeq_grpc.cli.stepwise import StepwiseClient

        return StepwiseClient(self.address, token=self.token)

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
            return (
                f"{error.reason}: no server answers at {self.address}; `codeq dev` starts one,"
                f" --address or CODEQ_ADDRESS names another ({_cause(error)})"
            )
        line = describe(error)
        if isinstance(error, CredentialMissing):
            return f"{line} With this command: --token, or CODEQ_TOKEN."
        return line


def describe(error: CodeQError) -> str:
    """Reason and message of an error in one line, with the field at fault."""
    message = " ".join(error.message.split())
    unnamed = [path for path in error.fields if path not in message]
    return f"{error.reason}: {message}" + (f" ({', '.join(unnamed)})" if unnamed else "")


def is_outage(error: CodeQError) -> bool:
    """Whether the call may well succeed a moment later, without anybody doing anything here."""
    return error.reason in _OUTAGES


def _cause(error: CodeQError) -> str:
    """The last clause of gRPC's long message, e.g. "Connection refused (111)"."""
    return " ".join(error.message.split()).rpartition(": ")[2] or "no answer"


def connected(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options of a connection to a command, which gets them as `connection`."""

    @click.option(
        "--address",
        envvar="CODEQ_ADDRESS",
        default=DEFAULT_ADDRESS,
        show_default=True,
        show_envvar=True,
        help="Server to talk to, host:port.",
    )
    @click.option("--token", envvar="CODEQ_TOKEN", show_envvar=True, help="Credential.")
    @click.option("--json", "as_json", is_flag=True, help="Write JSON on stdout.")
    @functools.wraps(command)
    def wrapper(*args: Any, address: str, token: str | None, as_json: bool, **rest: Any) -> None:
        connection = Connection(address=address, token=token or None, as_json=as_json)
        command(*args, connection=connection, **rest)

    return wrapper
