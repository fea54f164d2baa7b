"""Shows one task: a fact a line, its attempts, and what it carries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, Literal

import click

from codeq_grpc.cli import documents, tables
from codeq_grpc.cli.tables import Column
from codeq_grpc.client import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codeq.v1.task_pb2 import Attempt, Task, TaskSpec
    from codeq_grpc.client import Client

_Time = Literal["create_time", "update_time", "lease_expire_time", "end_time"]
_TIMES: Final[tuple[tuple[str, _Time], ...]] = (
    ("created", "create_time"),
    ("changed", "update_time"),
    ("lease ends", "lease_expire_time"),
    ("ended", "end_time"),
)
_COLUMNS: Final = {
    "ATTEMPT": Column.NUMBER,
    "STARTED": Column.FIXED,
    "TOOK": Column.NUMBER,
    "WORKER": Column.FOLDED,
    "ERROR": Column.FOLDED,
}


class Showing:
    """One run of `codeq tasks show`; `full` adds what the task carries."""

    def __init__(self, task_id: str, *, full: bool, as_json: bool) -> None:
        self._task_id = task_id
        self._full = full
        self._as_json = as_json

    async def run(self, client: Client, wait: float | None) -> None:
        """Prints the task, once it has ended or after `wait` seconds.

        Raises:
            CodeQError: A call failed.
        """
        task = await self._read(client, wait)
        if self._as_json:
            click.echo(json.dumps(documents.task(task), ensure_ascii=False, indent=2))
            return
        for name, value in _rows(task):
            documents.echo(f"{name:<15} {value}")
        if task.attempts:
            _print_attempts(task)
        if self._full:
            _print_contents(task)

    async def _read(self, client: Client, wait: float | None) -> Task:
        # People see the attempts in any case, and only the full view has them.
        full = self._full or not self._as_json
        if wait is not None:
            try:
                return await client.wait_for_end(self._task_id, wait, full=full)
            except DeadlineExceeded:
                pass  # it is shown as it is
        return await client.get_task(self._task_id, full=full)


def _rows(task: Task) -> Iterator[tuple[str, str]]:
    yield "task", task.task_id
    yield "command", task.spec.command
    asked = task.cancel_requested and not task.HasField("end_time")
    yield "state", documents.state_name(task.state) + (", cancel requested" if asked else "")
    yield "attempt", str(task.attempt)
    if task.worker_id:
        yield "worker", task.worker_id
    if progress := documents.progress(task.progress):
        yield "progress", progress
    for label, name in _TIMES:
        if task.HasField(name):
            yield label, documents.time(getattr(task, name))
    yield from _asked_for(task.spec)
    if task.HasField("error"):
        yield "error", documents.error(task.error)


def _asked_for(spec: TaskSpec) -> Iterator[tuple[str, str]]:
    if spec.HasField("priority"):
        yield "priority", str(spec.priority)
    if spec.HasField("run_time"):
        yield "not before", documents.time(spec.run_time)
    if spec.HasField("expire_time"):
        yield "expires", documents.time(spec.expire_time)
    if spec.HasField("attempt_timeout"):
        yield "attempt timeout", tables.age(spec.attempt_timeout.ToTimedelta().total_seconds())
    if spec.idempotency_key:
        yield "idempotency key", spec.idempotency_key
    if spec.concurrency_key:
        yield "concurrency key", spec.concurrency_key
    for task_id in spec.depends_on:
        yield "depends on", task_id
    for name, pairs in (("label", spec.labels), ("header", spec.headers)):
        for key, value in sorted(pairs.items()):
            yield name, f"{key}={value}"


def _print_attempts(task: Task) -> None:
    table = tables.table(_COLUMNS)
    for attempt in task.attempts:
        table.add_row(
            str(attempt.number),
            documents.time(attempt.start_time),
            _took(attempt),
            tables.plain(attempt.worker_id),
            tables.cut(documents.error(attempt.error)),
        )
    tables.show(table)


def _took(attempt: Attempt) -> str:
    if not attempt.HasField("end_time"):
        return ""
    took = attempt.end_time.ToDatetime() - attempt.start_time.ToDatetime()
    return tables.age(max(0.0, took.total_seconds()))


def _print_contents(task: Task) -> None:
    contents = (
        ("payload", documents.text(task.spec.payload)),
        ("checkpoint", documents.text(task.progress.checkpoint)),
        ("result", documents.text(task.result)),
        ("error detail", task.error.detail),
    )
    for name, content in contents:
        if content:
            documents.echo(f"\n--- {name}\n{content.rstrip()}")
