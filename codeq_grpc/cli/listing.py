"""Lists tasks: a table for people, a document a line for programs."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import click

from codeq.v1.task_pb2 import TASK_STATE_COMPLETED, TASK_STATE_IN_PROGRESS, TASK_STATE_SCHEDULED
from codeq_grpc.cli import documents, tables
from codeq_grpc.cli.tables import Column
from codeq_grpc.core import clock, limits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from google.protobuf.timestamp_pb2 import Timestamp

    from codeq.v1.task_pb2 import Task
    from codeq_grpc.cli.filters import Filter
    from codeq_grpc.client import Client

SHOWN: Final = 50
"""Tasks in a table, unless more are asked for."""
_COLUMNS: Final = {
    "TASK": Column.FIXED,
    "STATE": Column.FIXED,
    "ATTEMPT": Column.NUMBER,
    "AGE": Column.NUMBER,
    "DETAIL": Column.FOLDED,
}


class Listing:
    """One run of `codeq tasks list`; without a `limit` programs get all and people SHOWN."""

    def __init__(
        self, command: str, chosen: Filter, *, limit: int | None, full: bool, as_json: bool
    ) -> None:
        self._command = command
        self._chosen = chosen
        self._limit = SHOWN if limit is None and not as_json else limit
        self._full = full
        self._as_json = as_json

    async def run(self, client: Client) -> None:
        """Prints the tasks, state by state, newest first within each.

        Raises:
            CodeQError: A call failed.
        """
        found: list[Task] = []
        count = 0
        async with aclosing(self._tasks(client)) as tasks:
            async for task in tasks:
                if count == self._limit:
                    self._tell_more()
                    break
                count += 1
                if self._as_json:
                    click.echo(documents.line(documents.task(task)))
                else:
                    found.append(task)
        if found:
            _print_table(found)
        elif not self._as_json:
            click.echo(f"no such tasks in {self._command}", err=True)

    def _tasks(self, client: Client) -> AsyncGenerator[Task]:
        page_size = limits.PAGE_TASKS
        if self._limit is not None:
            page_size = min(page_size, self._limit + 1)
        return client.list_tasks(
            self._command, **self._chosen.options(), full=self._full, page_size=page_size
        )

    def _tell_more(self) -> None:
        if not self._as_json:
            click.echo(f"only the first {self._limit}; --limit shows more", err=True)


def _print_table(tasks: list[Task]) -> None:
    table = tables.table(_COLUMNS)
    now = clock.now().timestamp()
    for task in tasks:
        age = tables.age(max(0.0, now - _seconds(task.create_time)))
        table.add_row(
            tables.plain(task.task_id),
            tables.state(task.state),
            str(task.attempt),
            age,
            tables.cut(detail(task)),
        )
    tables.show(table)


def detail(task: Task) -> str:
    """What matters about a task in its state, in a few words."""
    if task.state == TASK_STATE_IN_PROGRESS:
        asked = "cancel requested" if task.cancel_requested else ""
        return "; ".join(filter(None, (asked, documents.progress(task.progress), task.worker_id)))
    if task.state == TASK_STATE_COMPLETED:
        return documents.progress(task.progress)
    error = documents.error(task.error)
    if task.state == TASK_STATE_SCHEDULED and task.spec.HasField("run_time"):
        return "; ".join(filter(None, (f"due {documents.time(task.spec.run_time)}", error)))
    return error


def _seconds(time: Timestamp) -> float:
    return time.seconds + time.nanos / 1e9
