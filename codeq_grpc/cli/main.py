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
from codeq_grpc.cli.audit import audit
from codeq_grpc.cli.bench import bench
from codeq_grpc.cli.dev import dev
from codeq_grpc.cli.doctor import doctor
from codeq_grpc.cli.enqueue import enqueue
from codeq_grpc.cli.groups import Ordered
from codeq_grpc.cli.queues import queues
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
    *(dev, enqueue, work, queues, tasks, workers, top, audit),
    *(keys, serve, token, doctor, bench),
):
    codeq.add_command(command)


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    try:
        code = codeq.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python must not complain at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
