"""Asks before much is changed at once."""

from __future__ import annotations

import sys

import click

from codeq_grpc.cli.connection import Failure

yes = click.option("--yes", is_flag=True, help="Do not ask.")
"""The option that goes with it."""


def demand(*, yes: bool) -> None:
    """Sees to it that somebody can be asked.

    Raises:
        UsageError: Nobody is there and `--yes` was not given.
    """
    if not (yes or sys.stdin.isatty()):
        raise click.UsageError("there is no terminal to ask at whether you are sure: add --yes")


def confirm(question: str) -> None:
    """Asks on stderr, so that stdout has results only.

    Raises:
        Failure: The answer was no.
    """
    if not click.confirm(question, err=True):
        raise Failure("nothing was changed")
