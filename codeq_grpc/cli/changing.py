"""Cancels and redrives tasks: few by their ids, many by a filter."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import click

from codeq_grpc.cli import asking, documents, progress
from codeq_grpc.cli.connection import describe
from codeq_grpc.client.filters import task_filter
from codeq_grpc.core import limits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

    from codeq_grpc.cli.filters import Filter
    from codeq_grpc.cli.stepwise import StepwiseClient
    from codeq_grpc.core.errors import CodeQError

_COUNTED: Final = 10_000
"""Beyond this many, people need no exact number to know that it is a lot."""
_ERRORS_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Step:
    """What one call has done."""

    counts: dict[str, int]
    """How many, by their names in JSON; the sum is how far it went."""
    failures: dict[str, CodeQError] = field(default_factory=dict)
    """Task id -> why it could not be."""


class Change(Protocol):
    """What is done to each task, and how that is told."""

    @property
    def verb(self) -> str:
        """What one asks for: `cancel`."""

    @property
    def doing(self) -> str:
        """What goes on then: `cancelling`."""

    @property
    def nothing(self) -> Step:
        """A step that changed nothing."""

    async def named(self, client: StepwiseClient, task_ids: Sequence[str]) -> Step:
        """Does it to up to 1000 tasks."""

    def matching(
        self, client: StepwiseClient, command: str, chosen: Filter
    ) -> AsyncGenerator[Step]:
        """Does it to all that match."""

    def told(self, counts: Counter[str]) -> str:
        """The totals for people."""


class Cancel:
    """Withdraws tasks."""

    verb = "cancel"
    doing = "cancelling"

    def __init__(self, reason: str) -> None:
        self._reason = reason

    @property
    def nothing(self) -> Step:
        """A step that changed nothing."""
        return _cancelled(0, 0)

    async def named(self, client: StepwiseClient, task_ids: Sequence[str]) -> Step:
        """Cancels up to 1000 tasks."""
        total = await client.cancel(task_ids, reason=self._reason)
        return _cancelled(total.cancelled, total.requested, total.failures)

    async def matching(
        self, client: StepwiseClient, command: str, chosen: Filter
    ) -> AsyncGenerator[Step]:
        """Cancels all that match."""
        steps = client.cancel_steps(task_filter(command, **chosen.options()), self._reason)
        async with aclosing(steps):
            async for step in steps:
                yield _cancelled(step.cancelled_count, step.requested_count)

    def told(self, counts: Counter[str]) -> str:
        """The totals for people."""
        asked = counts["requestedCount"]
        more = f"; {asked} in progress, their workers were told" if asked else ""
        return f"cancelled {counts['cancelledCount']}{more}"


class Redrive:
    """Makes ended tasks claimable again, over `spread` seconds."""

    verb = "redrive"
    doing = "redriving"

    def __init__(self, spread: float | None) -> None:
        self._spread = spread

    @property
    def nothing(self) -> Step:
        """A step that changed nothing."""
        return _redriven(0)

    async def named(self, client: StepwiseClient, task_ids: Sequence[str]) -> Step:
        """Redrives up to 1000 tasks."""
        total = await client.redrive(task_ids, spread=self._spread)
        return _redriven(total.redriven, total.failures)

    async def matching(
        self, client: StepwiseClient, command: str, chosen: Filter
    ) -> AsyncGenerator[Step]:
        """Redrives all that match."""
        steps = client.redrive_steps(task_filter(command, **chosen.options()), self._spread)
        async with aclosing(steps):
            async for step in steps:
                yield _redriven(step.redriven_count)

    def told(self, counts: Counter[str]) -> str:
        """The totals for people."""
        return f"redriven {counts['redrivenCount']}"


def _cancelled(
    cancelled: int, requested: int, failures: dict[str, CodeQError] | None = None
) -> Step:
    return Step({"cancelledCount": cancelled, "requestedCount": requested}, failures or {})


def _redriven(redriven: int, failures: dict[str, CodeQError] | None = None) -> Step:
    return Step({"redrivenCount": redriven}, failures or {})


class Changing:
    """One run of `codeq tasks cancel` or `redrive`; `failures` has what could not be."""

    def __init__(self, change: Change, *, as_json: bool) -> None:
        self._change = change
        self._as_json = as_json
        self._counts = Counter(change.nothing.counts)
        self.failures: list[documents.Document] = []

    async def named(self, client: StepwiseClient, task_ids: Sequence[str]) -> None:
        """Changes these tasks.

        Raises:
            CodeQError: A call failed as a whole.
        """
        with (
            self._telling(),
            progress.bar(self._change.doing, len(task_ids)) as advance,
        ):
            for at in range(0, len(task_ids), limits.SELECTED_TASKS):
                part = task_ids[at : at + limits.SELECTED_TASKS]
                self._take(await self._change.named(client, part))
                advance(len(part))

    async def matching(
        self, client: StepwiseClient, command: str, chosen: Filter, *, sure: bool
    ) -> None:
        """Changes all tasks of a queue that match, after asking unless `sure`.

        Raises:
            CodeQError: A call failed.
            Failure: The answer was no.
        """
        total = None
        if not sure:
            total = await self._ask(client, command, chosen)
        with (
            self._telling(),
            progress.bar(f"{self._change.doing} {command}", total) as advance,
        ):
            if total == 0:
                return
            steps = self._change.matching(client, command, chosen)
            async with aclosing(steps):
                async for step in steps:
                    self._take(step)
                    advance(sum(step.counts.values()))

    async def _ask(self, client: StepwiseClient, command: str, chosen: Filter) -> int | None:
        """How many there are, None for too many to count; asks whether it is meant."""
        count = await _count(client, command, chosen)
        if count:
            many = f"more than {_COUNTED:,}" if count > _COUNTED else f"{count:,}"
            tasks = "task" if count == 1 else "tasks"
            asking.confirm(f"{self._change.verb} {many} {tasks} of {command}?")
        return None if count > _COUNTED else count

    def _take(self, step: Step) -> None:
        self._counts.update(step.counts)
        for task_id, error in step.failures.items():
            self.failures.append(documents.failure(error, task_id))
            if len(self.failures) <= _ERRORS_SHOWN:
                click.echo(f"error: {task_id}: {describe(error)}", err=True)
            elif len(self.failures) == _ERRORS_SHOWN + 1:
                click.echo("error: and more like these", err=True)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Tells the totals at the end, and those so far when it fails on the way."""
        try:
            yield
        except BaseException:
            if self._counts.total() or self.failures:
                self._tell()
            raise
        self._tell()

    def _tell(self) -> None:
        if self._as_json:
            click.echo(documents.line({**self._counts, "failures": self.failures}))
        else:
            click.echo(self._change.told(self._counts))


async def _count(client: StepwiseClient, command: str, chosen: Filter) -> int:
    """How many match; one more than _COUNTED for any more."""
    if chosen.by_state_only:
        response = await client.queues([command])
        names = [name.lower() for name in chosen.states]
        return sum(getattr(queue, name) for queue in response.queues for name in names)
    count = 0
    tasks = client.list_tasks(command, **chosen.options(), page_size=limits.PAGE_TASKS)
    async with aclosing(tasks):
        async for _ in tasks:
            count += 1
            if count > _COUNTED:
                break
    return count
