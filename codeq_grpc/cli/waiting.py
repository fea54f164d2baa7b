"""Waits for tasks and tells how each ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from codeq.v1.task_pb2 import TASK_STATE_COMPLETED
from codeq_grpc.cli import documents
from codeq_grpc.client import DeadlineExceeded
from codeq_grpc.core import clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codeq.v1.task_pb2 import Task
    from codeq_grpc.client import Client

_AT_A_TIME: Final = 64
"""Each is a call that the server holds."""
_LINE: Final = 100


class Sent(NamedTuple):
    """A task that was enqueued, and the file it came from."""

    task_id: str
    file: str | None

    def name(self) -> dict[str, str]:
        """The file, for a JSON document."""
        return {} if self.file is None else {"file": self.file}


class Waiting:
    """Waits for many tasks. A `single` one has its whole result printed, others a line."""

    def __init__(self, client: Client, *, as_json: bool, single: bool) -> None:
        self._client = client
        self._as_json = as_json
        self._single = single
        self._bad = 0
        self._late = 0

    async def run(self, tasks: list[Sent], until: float | None) -> int:
        """Waits till all have ended, or till the monotonic clock says `until`; how many have
        not completed.

        Raises:
            CodeQError: A call failed.
        """
        left = iter(tasks)
        waiters = [self._each(left, until) for _ in range(min(_AT_A_TIME, len(tasks)))]
        try:
            async with asyncio.TaskGroup() as group:
                for waiter in waiters:
                    group.create_task(waiter)
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        if self._late:
            click.echo(f"error: {self._late} of {len(tasks)} have not ended in time", err=True)
        return self._bad + self._late

    async def _each(self, tasks: Iterator[Sent], until: float | None) -> None:
        for sent in tasks:
            limit = None if until is None else max(0.0, until - clock.monotonic())
            try:
                task = await self._client.wait_for_end(sent.task_id, limit)
            except DeadlineExceeded:
                self._late += 1
                continue
            self._bad += task.state != TASK_STATE_COMPLETED
            self._tell(task, sent)

    def _tell(self, task: Task, sent: Sent) -> None:
        if self._as_json:
            click.echo(documents.line({**documents.task(task), **sent.name()}))
            return
        parts = [documents.state_name(task.state), task.task_id, sent.file or ""]
        outcome = documents.text(task.result)
        if task.state != TASK_STATE_COMPLETED:
            outcome = documents.error(task.error)
        if self._single:
            documents.echo(" ".join(filter(None, parts)))
            if outcome:
                documents.echo(outcome.rstrip("\n"))
        else:
            documents.echo(" ".join(filter(None, [*parts, _short(outcome)])))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LINE else line[: _LINE - 3] + "..."
