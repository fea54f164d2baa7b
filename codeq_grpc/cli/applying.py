"""Makes a server what a file says, and tells what that changes."""

from __future__ import annotations

import asyncio
import difflib
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import click
from rich.text import Text

from codeq_grpc.cli import asking, documents, tables
from codeq_grpc.cli.connection import describe, is_outage
from codeq_grpc.cli.planning import Plan
from codeq_grpc.cli.settings_files import SettingsFile
from codeq_grpc.core.errors import CodeQError
from codeq_grpc.files import messages, yaml_text
from codeq_grpc.files.model import QueueEntry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from codeq_grpc.cli.planning import Entry, Step
    from codeq_grpc.cli.stepwise import StepwiseClient

_SIGNS: Final = {"create": "+", "update": "~", "delete": "-"}
_STYLES: Final = {"+": "green", "-": "red"}
_DONE: Final = {"create": "made", "update": "changed", "delete": "deleted"}
_AT_ONCE: Final = 16
_CONTEXT: Final = 2
"""Lines around a change."""


class Applying:
    """One run of `codeq apply`; `failed` counts what could not be."""

    def __init__(
        self, path: Path, *, prune: bool, dry_run: bool, yes: bool, reason: str, as_json: bool
    ) -> None:
        self._source = SettingsFile(path)
        self._prune = prune
        self._dry_run = dry_run
        self._yes = yes
        self._reason = reason or f"codeq apply -f {self._source.name}"
        self._as_json = as_json
        self._done: Counter[str] = Counter()
        self._same = 0
        self.failed = 0

    async def run(self, client: StepwiseClient) -> None:
        """Tells what is to change, and changes it unless it is a dry run.

        Raises:
            CodeQError: A call failed as a whole; what was told before stands.
            Failure: The file is not valid, and nothing was changed.
        """
        plan = Plan(client, self._source, prune=self._prune)
        await plan.make()
        self._same = plan.same
        if self._source.problems:
            raise self._source.useless()
        self._ask(plan.steps)
        for at in range(0, len(plan.steps), _AT_ONCE):
            await self._go(client, plan.steps[at : at + _AT_ONCE])
        self._sum_up()

    async def _go(self, client: StepwiseClient, steps: list[Step]) -> None:
        """Takes some steps side by side, and tells of each in their order."""
        if self._dry_run:
            for step in steps:
                self._tell(step, None)
            return
        async with asyncio.TaskGroup() as group:
            taken = [group.create_task(self._take(client, step)) for step in steps]
        errors = [task.result() for task in taken]
        outage = next((error for error in errors if error and is_outage(error)), None)
        for step, error in zip(steps, errors, strict=True):
            if error is None or not is_outage(error):
                self._tell(step, error)
        if outage is not None:
            raise outage

    def _ask(self, steps: list[Step]) -> None:
        """Before anything that the file does not have is lost."""
        known = self._source.file.queues or {}
        gone = {
            "delete": [step.name for step in steps if step.word == "delete"],
            "reset": [
                step.name for step in steps if step.kind == "queue" and step.name not in known
            ],
        }
        if self._dry_run or not any(gone.values()):
            return
        asking.demand(yes=self._yes)
        if not self._yes:
            told = [
                f"{verb} {_counted(names, kind)}"
                for (verb, names), kind in zip(gone.items(), ("schedule", "queue"), strict=True)
                if names
            ]
            asking.confirm(f"{' and '.join(told)} that the file does not have?")

    async def _take(self, client: StepwiseClient, step: Step) -> CodeQError | None:
        try:
            await self._change(client, step)
        except CodeQError as error:
            return error
        return None

    async def _change(self, client: StepwiseClient, step: Step) -> None:
        file = self._source.file
        if step.kind == "queue":
            entry = (file.queues or {}).get(step.name) or QueueEntry()
            await client.update_fields(messages.queue_message(step.name, entry), step.paths)
        elif step.after is None:
            if failures := await client.delete_schedules([step.name], self._reason):
                raise failures[step.name]
        else:
            message = messages.schedule_message(step.name, (file.schedules or {})[step.name])
            if step.before is None:
                await client.add_schedule(message)
                return
            message.etag = step.etag
            await client.save_schedule(message, step.paths, self._reason)

    def _tell(self, step: Step, error: CodeQError | None) -> None:
        if error is None:
            self._done[step.word] += 1
        else:
            self.failed += 1
        if self._as_json:
            told: dict[str, Any] = {"kind": step.kind, "name": step.name, "change": step.word}
            told |= {"fields": step.paths, "before": step.before, "after": step.after}
            if error is not None:
                told |= {"reason": error.reason, "message": error.message}
            click.echo(documents.line(told))
        elif error is None:
            _print_line(f"{_SIGNS[step.word]} {step.kind} {step.name}")
            if self._dry_run:
                for line in _diff(step.before, step.after):
                    _print_line(line)
        if error is not None:
            if step.after is None:
                click.echo(f"error: {step.kind} {step.name}: {describe(error)}", err=True)
            else:
                self._source.refused(step.place, error)

    def _sum_up(self) -> None:
        counts = {word: self._done[word] for word in _SIGNS}
        if self._as_json:
            summary = {**counts, "same": self._same, "failed": self.failed}
            click.echo(documents.line({"summary": {**summary, "dryRun": self._dry_run}}))
        elif not (sum(counts.values()) or self.failed):
            click.echo(f"nothing to change: {self._same} as the file says", err=True)
        else:
            told = [
                f"{count} to {word}" if self._dry_run else f"{_DONE[word]} {count}"
                for word, count in counts.items()
                if count
            ]
            told += [f"failed {self.failed}"] * bool(self.failed)
            told += [f"{self._same} as the file says"] * bool(self._same)
            click.echo(", ".join(told), err=True)


def create_all(path: Path, *, as_json: bool) -> Callable[[StepwiseClient], Awaitable[bool]]:
    """Makes all schedules of a file, which must not exist yet; whether all could be made.

    Raises:
        Failure: The file cannot be used.
    """
    source = SettingsFile(path)
    if source.file.queues:
        raise click.UsageError(f"{source.name} has queues, too: `codeq apply -f` takes it")

    async def run(client: StepwiseClient) -> bool:
        for name, entry in (source.file.schedules or {}).items():
            try:
                await client.add_schedule(messages.schedule_message(name, entry))
            except CodeQError as error:
                if is_outage(error):
                    raise
                source.refused(("schedules", name), error)
            else:
                made = {"scheduleId": name, "created": True}
                click.echo(documents.line(made) if as_json else f"made {name}")
        return not source.problems

    return run


def _counted(names: list[str], kind: str) -> str:
    return f"{kind} {names[0]}" if len(names) == 1 else f"{len(names):,} {kind}s"


def _diff(before: Entry | None, after: Entry | None) -> Iterator[str]:
    """Lines of the entry with what goes and what comes, indented."""
    old, new = (_lines(entry) for entry in (before, after))
    if before is None or after is None:
        sign, lines = ("+", new) if before is None else ("-", old)
        yield from (f"{sign}   {line}" for line in lines)
        return
    lines = list(difflib.unified_diff(old, new, n=_CONTEXT, lineterm=""))
    for line in lines[3:]:
        yield "    ..." if line.startswith("@@") else f"{line[:1]}   {line[1:]}"


def _lines(entry: Entry | None) -> list[str]:
    return yaml_text.write(entry).splitlines() if entry else []


def _print_line(line: str) -> None:
    style = _STYLES.get(line[:1], "")
    tables.console().print(Text(documents.harmless(line), style=style), soft_wrap=True)
