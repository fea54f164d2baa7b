"""`codeq import-legacy`: the tasks of codeQ's predecessors, from their own keys in Redis."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from codeq_grpc.cli.connection import Failure, connected
from codeq_grpc.cli.values import duration, text
from codeq_grpc.core.errors import CodeQError

if TYPE_CHECKING:
    from codeq_grpc.cli.connection import Connection
    from codeq_grpc.cli.import_sending import Sender
    from codeq_grpc.cli.import_telling import Report, Rest
    from codeq_grpc.cli.importing import Options
    from codeq_grpc.legacy.book import Book
    from codeq_grpc.legacy.reader import Reader

_ENDED: Final = click.Choice(["fail", "enqueue", "leave"])
_EXAMPLES: Final = """\b
codeq import-legacy --from redis://old:6379 --dry-run
codeq import-legacy --from redis://old:6379 --rest not-moved.jsonl
"""


def _source(_: click.Context, __: click.Parameter, url: str) -> str:
    from codeq_grpc.legacy.reader import place_of

    try:
        place_of(url)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return url


class TenantFile(NamedTuple):
    """Whose tasks are whose."""

    tenant: str
    token: str | None
    """None: the caller's own."""


def _tenant(value: str) -> TenantFile:
    """`acme`, or `acme=FILE` with the credential that its tasks are enqueued with.

    Raises:
        BadParameter: There is no such file, or no credential in it.
    """
    tenant, equals, name = text(value).partition("=")
    if not equals:
        return TenantFile(tenant, None)
    try:
        token = Path(name).read_text().strip()
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{name}: {error}") from None
    if not token:
        raise click.BadParameter(f"{name} is empty")
    return TenantFile(tenant, token)


def _command(value: str) -> tuple[str, str]:
    old, equals, new = text(value).rpartition("=")
    if not (old and equals and new):
        raise click.BadParameter(f"{value!r} is not of the form old=new")
    return old, new


@click.command("import-legacy", epilog=_EXAMPLES)
@click.option(
    "--from",
    "url",
    required=True,
    callback=_source,
    envvar="CODEQ_LEGACY_URL",
    show_envvar=True,
    metavar="URL",
    help="The old store: redis://[:password@]host:port/db, rediss:// or unix:///path.",
)
@click.option(
    "--prefix", metavar="PREFIX", help="Of its keys; without it `legacy:` or `codeq:` is found."
)
@click.option("--dry-run", is_flag=True, help="Only tell what would be done; needs no server.")
@click.option(
    "--in-progress",
    type=click.Choice(["wait", "end", "leave"]),
    default="wait",
    show_default=True,
    help="What an old worker holds: claimable when its lease ends, at once, or not moved.",
)
@click.option(
    "--dead-letters",
    type=_ENDED,
    default="fail",
    show_default=True,
    help="They become FAILED tasks, claimable ones, or are not moved.",
)
@click.option(
    "--failed",
    type=_ENDED,
    default="leave",
    show_default=True,
    help="The same of tasks that a worker gave up for good.",
)
@click.option(
    "--attempts",
    type=click.Choice(["intended", "actual"]),
    default="intended",
    show_default=True,
    help="Their maxAttempts as a number of attempts, or the half that they came to.",
)
@click.option(
    "--tenant-map",
    "tenants",
    type=_tenant,
    multiple=True,
    metavar="TENANT[=FILE]",
    help="Tasks of this old tenant (* is any) are yours, or of the credential in FILE."
    " Without it only tasks that have no tenant are moved. May be repeated.",
)
@click.option(
    "--command-map",
    "commands",
    type=_command,
    multiple=True,
    metavar="OLD=NEW",
    help="Another name for a command. May be repeated.",
)
@click.option("--keep-keys", is_flag=True, help="Idempotency keys go on finding their tasks.")
@click.option(
    "--rest",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write what is not moved, completed tasks and results too, as JSON lines.",
)
@click.option("--delete-moved", is_flag=True, help="Remove from the old store what was moved.")
@click.option(
    "--rate",
    type=click.FloatRange(0.1, 1_000_000),
    default=1_000,
    show_default=True,
    help="Tasks enqueued a second, at most.",
)
@click.option(
    "--patience",
    type=duration,
    default="10m",
    show_default=True,
    help="How long to wait while the server is away or a queue is full.",
)
@click.option(
    "--progress",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="What was moved; by default a file in this folder, named after stores and server.",
)
@click.option("--trust-progress", is_flag=True, help="Though the server knows none of its tasks.")
@connected
def import_legacy(connection: Connection, **given: Any) -> None:
    """Move the tasks of codeQ's predecessors out of their store.

    Stop the old programs first. It may be broken off at any point and started again: nothing is
    moved twice, nothing is left out. The exit code is 1 if something could not be moved.
    """
    from codeq_grpc.cli.import_telling import Rest
    from codeq_grpc.legacy.book import BadBook, BookInUse
    from codeq_grpc.legacy.reader import OldStoreError

    if given["dry_run"] and given["delete_moved"]:
        raise click.UsageError("--dry-run moves nothing, so --delete-moved has nothing to delete")
    names = [one.tenant for one in given["tenants"]]
    if len(set(names)) != len(names):
        raise click.UsageError("--tenant-map names a tenant twice")
    try:
        rest = given["rest"] and Rest(given["rest"])
        code = asyncio.run(_Run(connection, given, rest).run())
    except CodeQError as error:
        raise Failure(connection.explain(error)) from error
    except (OldStoreError, BookInUse, BadBook, OSError) as error:
        raise Failure(str(error)) from error
    if code:
        raise click.exceptions.Exit(code)


class _Run:
    def __init__(self, connection: Connection, given: dict[str, Any], rest: Rest | None) -> None:
        self._connection = connection
        self._given = given
        self._rest = rest

    async def run(self) -> int:
        from codeq_grpc.cli.import_telling import Report
        from codeq_grpc.cli.importing import Importing
        from codeq_grpc.legacy.reader import Reader, place_of

        given, dry = self._given, bool(self._given["dry_run"])
        source = place_of(given["url"])
        async with Reader(given["url"]) as reader, AsyncExitStack() as stack:
            prefix = await self._prefix(reader, source)
            book = stack.enter_context(self._book(source, prefix))
            report = Report(source, prefix, dry=dry, as_json=self._connection.as_json)
            senders = None if dry else await self._senders(stack)
            importing = Importing(
                reader, book, self._options(), report, senders=senders, rest=self._rest
            )
            try:
                await importing.run()
            finally:
                book.commit()  # what one tenant has, though another one failed
                if self._rest is not None:
                    self._rest.close(finished=report.finished)
                code = self._close(report, book)
            return code

    @staticmethod
    def _close(report: Report, book: Book) -> int:
        if not report.finished:
            click.echo("broken off; the same command goes on", err=True)
        return report.close(book)

    async def _prefix(self, reader: Reader, source: str) -> str:
        wanted = self._given["prefix"]
        found = await reader.find(wanted)
        if not found:
            named = f"{wanted}tasks" if wanted is not None else "legacy:tasks or codeq:tasks"
            raise Failure(f"{source} has no hash {named}: there are no tasks of the old programs")
        if len(found) > 1:
            raise click.UsageError(f"there are tasks with {' and '.join(found)}: choose a --prefix")
        return found[0]

    def _book(self, source: str, prefix: str) -> Book:
        from codeq_grpc.legacy.book import Book

        about = {"source": source, "prefix": prefix, "server": self._connection.address}
        digest = hashlib.sha256("\n".join(about.values()).encode()).hexdigest()[:12]
        path = self._given["path"] or Path(f"codeq-import-{digest}.progress")
        if not self._given["dry_run"]:
            click.echo(f"progress is kept in {path}", err=True)
        return Book(path, about, dry=self._given["dry_run"])

    async def _senders(self, stack: AsyncExitStack) -> dict[str, Sender]:
        """By the old tenant."""
        from codeq_grpc.cli.import_sending import Pace, Sender

        pace = Pace(self._given["rate"])
        tenants = {"": None, **{one.tenant: one.token for one in self._given["tenants"]}}
        made: dict[str | None, Sender] = {}
        for token in tenants.values():
            if token not in made:
                own = self._connection
                given = own if token is None else replace(own, token=token)
                client = await stack.enter_async_context(given.client())
                made[token] = Sender(client, pace, self._given["patience"])
        return {tenant: made[token] for tenant, token in tenants.items()}

    def _options(self) -> Options:
        from codeq_grpc.cli.importing import Options
        from codeq_grpc.legacy.plan import Choices

        given = self._given
        return Options(
            Choices(
                in_progress=given["in_progress"],
                dead_letters=given["dead_letters"],
                failed=given["failed"],
                attempts=given["attempts"],
                commands=dict(given["commands"]),
                tenants=frozenset({"", *(one.tenant for one in given["tenants"])}),
            ),
            keep_keys=given["keep_keys"],
            delete_moved=given["delete_moved"],
            trust=given["trust_progress"],
        )
