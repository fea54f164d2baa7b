"""`codeq show`: one task."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, Literal

import click

from codeq_grpc.cli.connection import connected
from codeq_grpc.cli.values import duration, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codeq.v1.task_pb2 import Task
    from codeq_grpc.cli.connection import Connection
    from codeq_grpc.client import Client

_TimeName = Literal["create_time", "update_time", "lease_expire_time", "end_time"]
_TIMES: Final[tuple[tuple[str, _TimeName], ...]] = (
    ("created", "create_time"),
    ("changed", "update_time"),
    ("lease ends", "lease_expire_time"),
    ("ended", "end_time"),
)


@click.command()
@click.argument("task_id", type=text)
@click.option("--wait", type=duration, help="Wait so long for the task to end.")
@click.option("--full", is_flag=True, help="Show payload and result, too.")
@connected
def show(task_id: str, wait: float | None, full: bool, connection: Connection) -> None:
    """Show a task."""

    async def read(client: Client) -> Task:
        from codeq_grpc.client import DeadlineExceeded

        if wait is not None:
            try:
                return await client.wait_for_end(task_id, wait, full=full)
            except DeadlineExceeded:
                pass  # it is shown as it is
        return await client.get_task(task_id, full=full)

    task = connection.run(read)
    from codeq_grpc.cli import documents

    if connection.as_json:
        click.echo(json.dumps(documents.task(task), ensure_ascii=False, indent=2))
        return
    for name, value in _rows(task):
        documents.echo(f"{name:<10} {value}")
    if full:
        _print_contents(task)


def _rows(task: Task) -> Iterator[tuple[str, str]]:
    from codeq_grpc.cli import documents

    yield "task", task.task_id
    yield "command", task.spec.command
    yield "state", documents.state_name(task.state)
    yield "attempt", str(task.attempt)
    if task.worker_id:
        yield "worker", task.worker_id
    if task.spec.HasField("priority"):
        yield "priority", str(task.spec.priority)
    for label, name in _TIMES:
        if task.HasField(name):
            yield label, documents.time(getattr(task, name))
    for key, value in sorted(task.spec.headers.items()):
        yield "header", f"{key}={value}"
    if task.HasField("error"):
        yield "error", documents.error(task.error)


def _print_contents(task: Task) -> None:
    from codeq_grpc.cli import documents

    contents = (
        ("payload", documents.text(task.spec.payload)),
        ("result", documents.text(task.result)),
        ("error detail", task.error.detail),
    )
    for name, content in contents:
        if content:
            documents.echo(f"\n--- {name}\n{content.rstrip()}")
