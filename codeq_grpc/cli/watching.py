"""Prints changes of tasks as they happen, through outages of the server."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click
from rich.text import Text

from codeq_grpc.cli import documents, tables
from codeq_grpc.cli.connection import describe, is_outage
from codeq_grpc.cli.listing import detail
from codeq_grpc.client import ENDED
from codeq_grpc.core.errors import CodeQError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from codeq.v1.codeq_service_pb2 import WatchTasksResponse
    from codeq.v1.task_pb2 import Task
    from codeq_grpc.cli.filters import Filter
    from codeq_grpc.client import Client

_GAP: Final = "--- gap: changes were missed here; `codeq tasks list` has the tasks as they are"
_PAUSE: Final = 1.0
"""Seconds before the stream is opened again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Tasks by id, or those of a queue that match."""

    task_ids: Sequence[str] = ()
    command: str = ""
    chosen: Filter | None = None

    def open(self, client: Client) -> AsyncGenerator[WatchTasksResponse]:
        """A stream of their changes."""
        if self.chosen is None:
            return client.watch_tasks(task_ids=self.task_ids)
        return client.watch_tasks(self.command, **self.chosen.options())


class Watching:
    """One run of `codeq tasks watch`.

    Named tasks are printed as they are, then as they change; it ends when all of them have.
    Those of a queue are printed as they change, without end.
    """

    def __init__(self, watched: Watched, *, as_json: bool) -> None:
        self._watched = watched
        self._as_json = as_json
        self._console = tables.console()
        self._running = dict.fromkeys(watched.task_ids)
        """Named tasks that have not ended."""
        self._seen: dict[str, Task] = {}
        self._began = False
        self._lost = False

    async def run(self, client: Client) -> None:
        """Prints changes.

        Raises:
            CodeQError: The server refuses, or none answered at the beginning.
        """
        while True:
            try:
                if await self._watch(client):
                    return
                self._lose("the server has closed the stream")
            except CodeQError as error:
                if not (self._began and is_outage(error)):
                    raise
                self._lose(describe(error))
            await asyncio.sleep(_PAUSE)

    async def _watch(self, client: Client) -> bool:
        """Prints what one stream has; whether all that was named has ended."""
        async with aclosing(self._watched.open(client)) as stream:
            async for response in stream:
                gap = response.gap or self._lost
                if gap:
                    self._gap()
                if self._running and (gap or not self._began):
                    # Now that the stream is open, so that nothing is missed in between.
                    for task_id in tuple(self._running):
                        self._show(await client.get_task(task_id))
                if not (self._began or self._watched.task_ids):
                    click.echo(f"watching {self._watched.command}; Ctrl-C to stop", err=True)
                self._began, self._lost = True, False
                for task in response.tasks:
                    self._show(task)
                if self._watched.task_ids and not self._running:
                    return True
        return False

    def _lose(self, why: str) -> None:
        if not self._lost:
            click.echo(f"waiting: {why}", err=True)
        self._lost = True

    def _gap(self) -> None:
        if self._as_json:
            click.echo(documents.line({"gap": True}))
        else:
            self._console.print(Text(_GAP, style="yellow"), soft_wrap=True)

    def _show(self, task: Task) -> None:
        if self._watched.task_ids:
            if self._seen.get(task.task_id) == task:
                return
            self._seen[task.task_id] = task
            if task.state in ENDED:
                self._running.pop(task.task_id, None)
        if self._as_json:
            click.echo(documents.line(documents.task(task)))
        else:
            self._console.print(_line(task), soft_wrap=True)


def _line(task: Task) -> Text:
    return Text.assemble(
        f"{task.update_time.ToDatetime():%H:%M:%S} {task.task_id} ",
        tables.state(task.state),
        f" {task.attempt} ",
        tables.plain(detail(task)),
    )
