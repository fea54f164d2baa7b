"""Runs a worker in the foreground and shows what it does."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from codeq_grpc.cli import documents
from codeq_grpc.client import ServerUnavailable
from codeq_grpc.core import clock
from codeq_grpc.core.errors import CodeQError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.live import Live

    from codeq_grpc.cli.connection import Connection
    from codeq_grpc.cli.programs import Program
    from codeq_grpc.client import Client
    from codeq_grpc.worker import Ended, Worker

_EVERY: Final = 5.0
"""Seconds between lines where there is no terminal."""
_REFRESH: Final = 0.25
_RECENT: Final = 10.0
"""Seconds that the rate is about: of a worker that waits, one since its start would only fade."""
_PATIENCE: Final = 2.0
_KINDS: Final = {"complete": "COMPLETED", "fail": "ATTEMPT_FAILED", "abandon": "ABANDONED"}


class Working:
    """One run of `codeq work`: counts what ends and shows the counts."""

    def __init__(self, connection: Connection, program: Program, concurrency: int) -> None:
        self.program = program
        self._connection = connection
        self._concurrency = concurrency
        self._done = 0
        self._failed = 0
        self._cancelled = 0
        self._shown = 0
        self._looks = deque([(clock.monotonic(), 0)])
        """When how many had ended, over the recent time."""

    async def run(self, client: Client, worker: Worker) -> None:
        """Works until a signal.

        Raises:
            CodeQError: The server refuses the worker.
        """
        _say(f"worker {worker.worker_id}, {self._concurrency} at a time; Ctrl-C to stop")
        with _logging():
            showing = asyncio.create_task(self._show())
            greeting = asyncio.create_task(self._greet(client))
            try:
                await worker.run(install_signal_handlers=True)
            finally:
                showing.cancel()
                greeting.cancel()
                await asyncio.wait({showing, greeting})
                _say(self._totals())

    def ended(self, ended: Ended) -> None:
        """Counts an attempt; with --json, one line about it."""
        end = _end(ended)
        self._done += end == "COMPLETED"
        self._failed += end == "ATTEMPT_FAILED"
        self._cancelled += end == "CANCELLED"
        if not self._connection.as_json:
            return
        document: documents.Document = {
            "taskId": ended.context.task_id,
            "command": ended.context.command,
            "attempt": ended.context.attempt,
            "end": end,
            "seconds": round(ended.seconds, 3),
        }
        if ended.outcome is not None and end == "ATTEMPT_FAILED":
            error = ended.outcome.fail.error
            document["error"] = {"type": error.type, "message": error.message}
        click.echo(documents.line(document))

    async def _greet(self, client: Client) -> None:
        """Says so if there is no server: a worker waits for one, its user may not know."""
        try:
            await client.ready(_PATIENCE)
        except ServerUnavailable:
            # Any call learns why, and of no other does it matter what it would answer.
            try:
                await client.get_task("")
            except ServerUnavailable as error:
                _say(f"waiting: {self._connection.explain(error)}")
            except CodeQError:
                return

    async def _show(self) -> None:
        if sys.stderr.isatty() and not self._connection.as_json and _in_foreground():
            with _live() as live:
                while _in_foreground():
                    live.update(self._counts())
                    await asyncio.sleep(_REFRESH)
        while True:
            await asyncio.sleep(_EVERY)
            if self._shown != self._ended:
                _say(self._counts())
                self._shown = self._ended

    @property
    def _ended(self) -> int:
        return self._done + self._failed + self._cancelled

    def _counts(self) -> str:
        now = clock.monotonic()
        while len(self._looks) > 1 and self._looks[1][0] <= now - _RECENT:
            self._looks.popleft()
        then, before = self._looks[0]
        self._looks.append((now, self._ended))
        return f"{self._totals()}, {(self._ended - before) / max(now - then, 0.001):.1f}/s"

    def _totals(self) -> str:
        cancelled = f", cancelled {self._cancelled}" if self._cancelled else ""
        return f"done {self._done}, failed attempts {self._failed}{cancelled}"


def _in_foreground() -> bool:
    """Whether the terminal is ours: a line that is drawn again and again stands across what is
    typed there, if a shell has us in the background.
    """
    try:
        return os.tcgetpgrp(sys.stderr.fileno()) == os.getpgrp()
    except OSError:  # no terminal of ours, where nobody types either
        return True


def _end(ended: Ended) -> str:
    """How an attempt ended, as JSON has it."""
    kind = "lost" if ended.outcome is None else ended.outcome.WhichOneof("outcome")
    # Whatever is reported about a task that was cancelled ends it so, but for its completion.
    if ended.context.cancelled.is_set() and kind in {"fail", "abandon"}:
        return "CANCELLED"
    return _KINDS.get(kind or "", "LEASE_LOST")


@contextmanager
def _live() -> Iterator[Live]:
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True, highlight=False), transient=True) as live:
        yield live


def _say(line: str) -> None:
    """Writes to what stderr is at the moment: beside a live line it is not the usual one."""
    sys.stderr.write(f"{line}\n")


class _Stderr(logging.Handler):
    """Log records, one a line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one."""
        _say(f"{record.levelname.lower()}: {record.getMessage()}")


@contextmanager
def _logging() -> Iterator[None]:
    logger = logging.getLogger("codeq_grpc.worker")
    handler = _Stderr()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
