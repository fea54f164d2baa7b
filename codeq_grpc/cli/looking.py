"""Looks at queues and workers again and again: on a screen, as text, or as JSON."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Final

import click
from rich.live import Live

from codeq_grpc.cli import documents, tables
from codeq_grpc.cli.connection import describe, is_outage
from codeq_grpc.cli.keys import quit_keys
from codeq_grpc.cli.screen import Screen, Snapshot
from codeq_grpc.client import DeadlineExceeded
from codeq_grpc.core import clock
from codeq_grpc.core.errors import CodeQError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from codeq_grpc.cli.connection import Connection
    from codeq_grpc.client import Client

_PATIENCE: Final = 3.0
"""Seconds after which a server that does not answer counts as away."""


class Looking:
    """One run of `codeq top`: `count` looks, an `interval` of seconds apart."""

    def __init__(self, connection: Connection, *, interval: float, count: int | None) -> None:
        self._connection = connection
        self._interval = interval
        self._count = count
        self._screen = Screen(connection.address)

    async def run(self, client: Client) -> None:
        """Looks until it was often enough, or somebody ends it.

        Raises:
            CodeQError: The server refuses, or, where there is no screen, none answers at first.
        """
        if self._connection.as_json:
            await self._print(client, self._count)
        elif not sys.stdout.isatty():
            await self._print(client, self._count or 1)
        else:
            await self._show(client)

    async def _print(self, client: Client, count: int | None) -> None:
        seen = 0
        lost = False
        async for look in self._looks(client):
            if isinstance(look, CodeQError):
                if not seen:
                    raise look
                if not lost:
                    click.echo(f"waiting: {describe(look)}", err=True)
                lost = True
                continue
            lost = False
            seen += 1
            if self._connection.as_json:
                click.echo(documents.line(look.document()))
            else:
                self._screen.take(look)
                tables.show(self._screen.whole())
            if seen == count:
                return

    async def _show(self, client: Client) -> None:
        with (
            quit_keys() as stop,
            Live(console=tables.console(), screen=True, auto_refresh=False) as live,
        ):
            showing = asyncio.create_task(self._keep_showing(client, live))
            stopping = asyncio.create_task(stop.wait())
            tasks = {showing, stopping}
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
        # Here, where the terminal is as it was.
        if not showing.cancelled():
            showing.result()

    async def _keep_showing(self, client: Client, live: Live) -> None:
        seen = 0
        live.update(self._screen.fitted(live.console.size.height), refresh=True)
        async for look in self._looks(client):
            self._screen.take(look)
            live.update(self._screen.fitted(live.console.size.height), refresh=True)
            seen += 1
            if seen == self._count:
                return

    async def _looks(self, client: Client) -> AsyncIterator[Snapshot | CodeQError]:
        """What there is to see, or the outage instead of it.

        Raises:
            CodeQError: It is no outage.
        """
        while True:
            try:
                async with asyncio.timeout(_PATIENCE):
                    yield await _look(client)
            except TimeoutError:
                yield DeadlineExceeded(f"no answer within {_PATIENCE:g} s")
            except CodeQError as error:
                if not is_outage(error):
                    raise
                yield error
            await asyncio.sleep(self._interval)


async def _look(client: Client) -> Snapshot:
    queues = (await client.queues()).queues
    workers = await client.workers()
    return Snapshot(time=clock.now(), queues=queues, workers=workers)
