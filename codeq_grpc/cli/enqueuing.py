"""Sends tasks and, if asked to, sees them to their end."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from codeq_grpc.cli import documents, progress
from codeq_grpc.cli.connection import describe
from codeq_grpc.cli.waiting import Sent, Waiting
from codeq_grpc.client import RetryPolicy, spec
from codeq_grpc.core import clock
from codeq_grpc.core.errors import CodeQError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from datetime import datetime

    from codeq.v1.codeq_service_pb2 import EnqueueResponse
    from codeq.v1.task_pb2 import TaskSpec
    from codeq_grpc.cli.inputs import Input
    from codeq_grpc.client import Client, SpecOptions

_FEW: Final = 20
"""More ids than this are for programs, not for a terminal."""
_ERRORS_SHOWN: Final = 20


def spec_options(options: dict[str, Any]) -> SpecOptions:
    """What the command line asks for, as the client takes it."""
    attempts = options["max_attempts"]
    return {
        "priority": options["priority"],
        "delay": options["delay"],
        "expire_time": _expire_time(options),
        "lease_duration": options["lease"],
        "attempt_timeout": options["attempt_timeout"],
        "retry_policy": None if attempts is None else RetryPolicy(max_attempts=attempts),
        "idempotency_key": options["idempotency_key"],
        "idempotency_ttl": options["idempotency_ttl"],
        "conflict_policy": options["on_conflict"],
        "concurrency_key": options["concurrency_key"],
        "depends_on": options["depends_on"],
        "labels": dict(options["labels"]),
        "headers": dict(options["headers"]),
    }


def _expire_time(options: dict[str, Any]) -> datetime | None:
    if options["expire_in"] is None:
        at: datetime | None = options["expire_at"]
        return at
    try:
        return clock.now() + timedelta(seconds=options["expire_in"])
    except OverflowError:
        raise click.UsageError("--expire-in lies beyond the calendar") from None


class Enqueuing:
    """One run of `codeq enqueue`.

    `failures` counts the tasks that could not be enqueued or, when waited for, did not complete.
    """

    def __init__(
        self, command: str, inputs: list[Input], options: SpecOptions, *, as_json: bool
    ) -> None:
        self._command = command
        self._inputs = inputs
        self._options = options
        self._as_json = as_json
        self._on_way: deque[Input] = deque()
        self._sent: list[Sent] = []
        self.failures = 0

    async def run(self, client: Client, *, wait: bool, timeout: float | None) -> None:
        """Enqueues everything, then waits if asked to, `timeout` seconds in all.

        Raises:
            CodeQError: A call failed as a whole.
        """
        until = None if timeout is None else clock.monotonic() + timeout
        for_people = sys.stdout.isatty() and not self._as_json and len(self._inputs) > _FEW
        try:
            await self._enqueue(client, quiet=wait or for_people)
        except (CodeQError, asyncio.CancelledError):
            self._tell("at least ")
            raise
        self._tell()
        if wait:
            waiting = Waiting(client, as_json=self._as_json, single=len(self._inputs) == 1)
            self.failures += await waiting.run(self._sent, until)

    def _tell(self, about: str = "") -> None:
        if len(self._inputs) > 1:
            count = f"{about}{len(self._sent)} of {len(self._inputs)}"
            click.echo(f"enqueued {count} tasks as {self._command}", err=True)

    async def _enqueue(self, client: Client, *, quiet: bool) -> None:
        label = f"enqueuing {self._command}"
        with progress.bar(label, len(self._inputs)) as advance:
            async for result in self._results(client):
                one = self._on_way.popleft()
                if isinstance(result, CodeQError):
                    self._fail(one, describe(result))
                else:
                    self._take(one, result, quiet=quiet)
                advance()

    async def _results(self, client: Client) -> AsyncIterator[EnqueueResponse | CodeQError]:
        if len(self._inputs) > 1:
            async for result in client.enqueue_many(self._specs()):
                yield result
            return
        # A call of its own: its error names the field and not a place in a batch.
        for one in self._specs():
            yield await client.enqueue_spec(one)

    def _specs(self) -> Iterator[TaskSpec]:
        headers = self._options.get("headers") or {}
        for one in self._inputs:
            options = self._options.copy()
            options["content_type"] = one.content_type
            if one.label is not None:
                options["headers"] = {"file": one.label, **headers}
            try:
                made = spec(self._command, one.read(), **options)
            except OSError as error:
                self._fail(one, error.strerror or str(error))
                continue
            self._on_way.append(one)
            yield made

    def _take(self, one: Input, result: EnqueueResponse, *, quiet: bool) -> None:
        sent = Sent(result.task_id, one.label)
        self._sent.append(sent)
        if self._options["idempotency_key"] and not (result.created or self._as_json):
            state = documents.state_name(result.state)
            click.echo(f"{sent.task_id} has this key already, {state}", err=True)
        if quiet:
            return
        if self._as_json:
            state = documents.state_name(result.state)
            document = {"taskId": sent.task_id, "state": state, "created": result.created}
            click.echo(documents.line({**document, **sent.name()}))
        else:
            click.echo(sent.task_id)

    def _fail(self, one: Input, problem: str) -> None:
        self.failures += 1
        if self.failures <= _ERRORS_SHOWN:
            where = f"{one.label}: " if one.label is not None else ""
            click.echo(f"error: {where}{problem}", err=True)
        elif self.failures == _ERRORS_SHOWN + 1:
            click.echo("error: and more like these", err=True)
