"""`codeq bench`: what a running server does with this machine as its client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from codeq_grpc.cli.connection import connected
from codeq_grpc.cli.values import text
from codeq_grpc.cli.verifying import LEAST
from codeq_grpc.core import limits

if TYPE_CHECKING:
    from codeq_grpc.cli.connection import Connection
    from codeq_grpc.cli.measuring import Found, Plan

_EXAMPLES: Final = """\b
codeq bench
codeq bench --tasks 100000 --batch 500 --concurrency 1000
codeq bench --size 10000 --json
"""


@click.command(epilog=_EXAMPLES)
@click.option(
    "--tasks",
    type=click.IntRange(1, 10_000_000),
    default=20_000,
    show_default=True,
    help="Tasks to enqueue and to work on.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, limits.BATCH_TASKS),
    default=200,
    show_default=True,
    help="Tasks in a call.",
)
@click.option(
    "--size",
    type=click.IntRange(LEAST, limits.PAYLOAD_BYTES),
    default=100,
    show_default=True,
    help="Bytes of a payload.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 2_000),
    default=200,
    show_default=True,
    help="Handlers at a time.",
)
@click.option(
    "--queue",
    type=text,
    metavar="COMMAND",
    default="codeq-bench",
    show_default=True,
    help="Queue to use.",
)
@click.option("--keep", is_flag=True, help="Leave the tasks where they are.")
@click.option(
    "--force",
    is_flag=True,
    help="Run though the queue holds tasks: those that are claimed meanwhile are given back"
    " at the end.",
)
@connected
def bench(  # noqa: PLR0913 - one for each option
    tasks: int,
    batch: int,
    size: int,
    concurrency: int,
    queue: str,
    connection: Connection,
    *,
    keep: bool,
    force: bool,
) -> None:
    """Measure a running server.

    Enqueues tasks, works on them and verifies each payload, all in this one process, whose own
    speed is part of the figures. First one task after the other, for the time until a waiting
    worker has it; then all at once, for rates. Runs on a queue of its own, whose tasks the
    server then deletes; of a queue that was there before it leaves them. The exit code is 1 if a
    task was lost.
    """
    from codeq_grpc.cli import progress
    from codeq_grpc.cli.measuring import Measuring, Plan

    plan = Plan(
        queue=queue,
        tasks=tasks,
        batch=batch,
        size=size,
        concurrency=concurrency,
        keep=keep,
        force=force,
    )

    def say(line: str) -> None:
        click.echo(line, err=True)

    with progress.bar("ended", tasks) as advance:
        found = connection.run(lambda client: Measuring(plan, say, advance).run(client))
    if connection.as_json:
        from codeq_grpc.cli import documents

        click.echo(documents.line(_document(plan, found)))
    else:
        _print(plan, found)
    if found.lost:
        raise click.exceptions.Exit(1)


def _document(plan: Plan, found: Found) -> dict[str, object]:
    return {
        "queue": plan.queue,
        "tasks": plan.tasks,
        "batch": plan.batch,
        "size": plan.size,
        "concurrency": plan.concurrency,
        "enqueuesPerSecond": round(found.enqueue_rate, 1),
        "cyclesPerSecond": round(found.cycle_rate, 1),
        "pickUpP50Ms": round(found.p50, 3),
        "pickUpP99Ms": round(found.p99, 3),
        "lost": found.lost,
        "duplicates": found.duplicates,
        "damaged": found.damaged,
        "client": _client(),
    }


def _print(plan: Plan, found: Found) -> None:
    from codeq_grpc.cli import tables

    table = tables.table({"WHAT": tables.Column.FIXED, "": tables.Column.NUMBER})
    what = f"{plan.tasks:,} tasks of {plan.size:,} B, {plan.batch} a call"
    table.add_row("enqueues/s", f"{found.enqueue_rate:,.0f}")
    table.add_row("full cycles/s", f"{found.cycle_rate:,.0f}")
    table.add_row("pick-up when idle, p50 ms", f"{found.p50:.2f}")
    table.add_row("pick-up when idle, p99 ms", f"{found.p99:.2f}")
    table.add_row("lost", f"{found.lost:,}", style="bold red" if found.lost else "")
    table.add_row("duplicates", f"{found.duplicates:,}")
    table.add_row("damaged", f"{found.damaged:,}", style="bold red" if found.damaged else "")
    click.echo(f"{what}, concurrency {plan.concurrency}; {_client()}")
    tables.show(table)


def _client() -> str:
    """What measured."""
    import platform

    import grpc

    from codeq_grpc import __version__

    return f"codeq {__version__}, grpcio {grpc.__version__}, Python {platform.python_version()}"
