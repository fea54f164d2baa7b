"""`codeq work`: a worker that runs a program for each task."""

from __future__ import annotations

import os
import shlex
import shutil
from typing import TYPE_CHECKING, Final

import click

from codeq_grpc.cli.connection import connected
from codeq_grpc.cli.values import duration, text
from codeq_grpc.core import limits

if TYPE_CHECKING:
    from codeq_grpc.cli.connection import Connection


_EXAMPLES: Final = """\b
codeq work count --exec wc
codeq work thumbnail --concurrency 8 --exec 'convert - -resize 128x128 png:-'
"""


def _program(_: click.Context, __: click.Parameter, line: str) -> list[str]:
    """The words of a command line, the first one a program that is there."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise click.BadParameter(f"{error} in {line!r}") from None
    if not words:
        raise click.BadParameter("names no program")
    found = shutil.which(words[0])
    if found is None:
        raise click.BadParameter(f"there is no program {words[0]!r}")
    return [found, *words[1:]]


@click.command(epilog=_EXAMPLES)
@click.argument("commands", metavar="COMMAND...", nargs=-1, required=True, type=text)
@click.option(
    "--exec",
    "program",
    required=True,
    callback=_program,
    metavar="'PROGRAM ARGS'",
    help="What to run for each task, without a shell.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1000),
    default=os.cpu_count() or 4,
    show_default="CPUs",
    help="Programs at a time.",
)
@click.option("--lease", type=duration, help="Lease to ask for, e.g. 5m; default from the task.")
@click.option("--timeout", type=duration, help="Fail attempts that take longer.")
@click.option("--worker-id", type=text, help="Name of this worker; default host:pid:random.")
@connected
def work(
    commands: tuple[str, ...],
    program: list[str],
    concurrency: int,
    lease: float | None,
    timeout: float | None,
    worker_id: str | None,
    connection: Connection,
) -> None:
    """Run a program for each task of the kinds COMMAND.

    The program gets the payload on its standard input and CODEQ_TASK_ID, CODEQ_COMMAND,
    CODEQ_ATTEMPT, CODEQ_FENCE and CODEQ_HEADER_<NAME> in its environment. What it writes to
    standard output is the result. Any exit code but 0 fails the attempt, with the last line of
    standard error as its message. A program whose task is cancelled gets SIGTERM and, if it goes
    on for 5 seconds, SIGKILL.

    The first Ctrl-C or SIGTERM lets running programs finish, the second ends them and gives
    their tasks back.
    """
    if len(set(commands)) > limits.COMMANDS_PER_CLAIM:
        raise click.UsageError(f"a worker serves at most {limits.COMMANDS_PER_CLAIM} commands")

    from codeq_grpc.cli.programs import Program
    from codeq_grpc.cli.working import Working
    from codeq_grpc.worker import Worker

    working = Working(connection, Program(program, timeout=timeout), concurrency)
    connection.run(
        lambda client: working.run(
            client,
            Worker(
                client,
                dict.fromkeys(commands, working.program),
                concurrency=concurrency,
                worker_id=worker_id,
                lease_duration=lease,
                on_ended=working.ended,
            ),
        )
    )
