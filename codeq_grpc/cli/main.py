"""The `codeq` command: its subcommands and its exit codes.

0 is success, 1 a failure that one line on stderr explains, 2 wrong usage, 130 an interruption.
Results go to stdout; messages and progress go to stderr.
"""

from __future__ import annotations

import os
import sys

import click

from codeq_grpc import __version__
from codeq_grpc.cli.api_keys import keys
from codeq_grpc.cli.apply import apply, export
from codeq_grpc.cli.audit import audit
from codeq_grpc.cli.bench import bench
from codeq_grpc.cli.dev import dev
from codeq_grpc.cli.doctor import doctor
from codeq_grpc.cli.enqueue import enqueue
from codeq_grpc.cli.groups import Ordered
from codeq_grpc.cli.import_legacy import import_legacy
from codeq_grpc.cli.queues import queues
from codeq_grpc.cli.schedules import schedules
from codeq_grpc.cli.serve import serve
from codeq_grpc.cli.tasks import tasks
from codeq_grpc.cli.token import token
from codeq_grpc.cli.top import top
from codeq_grpc.cli.work import work
from codeq_grpc.cli.workers import workers


@click.group(cls=Ordered, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="codeq")
def codeq() -> None:
    """Work with codeQ, a task queue in front of Redis or Valkey."""


for command in (
    *(dev, enqueue, work, queues, tasks, schedules, workers, top, audit),
    *(keys, export, apply, serve, token, doctor, bench, import_legacy),
):
    codeq.add_command(command)


def main() -> None:
    """Runs the command line and ends the process with its exit code. All is closed by then, and
    gRPC's own end, which takes seconds at times on a busy machine, is left out.
    """
    code = _run()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = code or 1
    os._exit(code)


def _run() -> int:
    try:
        code = codeq.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        return 1
    except SystemExit as end:
        if isinstance(end.code, str):
            click.echo(end.code, err=True)
            return 1
        return end.code or 0
    return code if isinstance(code, int) else 0
