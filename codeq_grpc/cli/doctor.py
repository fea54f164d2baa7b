"""`codeq doctor`: is what the store keeps whole, and if not, make it so."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from codeq_grpc.cli.connection import Failure, describe
from codeq_grpc.cli.progress import bar
from codeq_grpc.core.errors import CodeQError
from codeq_grpc.core.findings import KINDS, Mode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from codeq_grpc.cli.progress import Advance
    from codeq_grpc.core.findings import Finding, Look
    from codeq_grpc.settings import Settings


def _names(_: click.Context, __: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if "/" not in name:
            raise click.BadParameter(f"{name!r} is not of the form tenant/command")
    return names


@click.command()
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Settings file of the server (CODEQ_CONFIG).",
)
@click.option(
    "--queue",
    "wanted",
    multiple=True,
    callback=_names,
    metavar="TENANT/COMMAND",
    help="Look at this queue only; may be repeated.",
)
@click.option("--repair", is_flag=True, help="Mend what is found.")
@click.option(
    "--restore",
    is_flag=True,
    help="With --repair: a body without a task becomes one.",
)
@click.option("--discard", is_flag=True, help="With --repair: a body without a task is removed.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON lines on stdout.")
def doctor(
    config: Path | None,
    wanted: tuple[str, ...],
    *,
    repair: bool,
    restore: bool,
    discard: bool,
    as_json: bool,
) -> int:
    """Check the store of a server: every index of every queue against its tasks, and back.

    Reads the settings of `codeq serve` for where the store is (CODEQ_REDIS_URL). It may run at any
    time, also while servers work. Exit code 0: nothing is wrong, or no longer; 1: something is.
    """
    from codeq_grpc.settings import SettingsError, load_settings
    from codeq_grpc.transport.certificates import BadCertificate

    mode = _mode(repair=repair, restore=restore, discard=discard)
    try:
        settings = load_settings(config)
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    report = _Report(as_json=as_json)
    try:
        asyncio.run(_run(settings, wanted, report, mode))
    except CodeQError as error:
        raise Failure(describe(error) + _hint(error.message)) from error
    except BadCertificate as error:
        raise Failure(str(error)) from error
    return report.close()


def _hint(message: str) -> str:
    """What the store says of a user who may not do something, in a script or without one."""
    if not re.search("no permissions|can't (run|access)", message):
        return ""
    return (
        " The store's user may not do what the doctor does: docs/operations.md has the line for"
        " one who may."
    )


def _mode(*, repair: bool, restore: bool, discard: bool) -> Mode:
    if restore and discard:
        raise click.UsageError("--restore and --discard exclude each other")
    if (restore or discard) and not repair:
        name = "restore" if restore else "discard"
        raise click.UsageError(f"--{name} says how to repair: add --repair")
    if restore or discard:
        return Mode.RESTORE if restore else Mode.DISCARD
    return Mode.REPAIR if repair else Mode.LOOK


class _Report:
    """Writes findings as they come, and counts them."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._found: Counter[str] = Counter()
        self._left = 0
        self.queues = 0
        self.tasks = 0

    def add(self, look: Look) -> None:
        """A step."""
        for one in look.findings:
            self._found[one.kind] += 1
            self._left += not one.mended
            click.echo(_as_json(one) if self._as_json else _as_line(one))

    def close(self) -> int:
        """Writes the summary; the exit code."""
        if self._as_json:
            click.echo(
                json.dumps(
                    {
                        "summary": {
                            "queues": self.queues,
                            "tasks": self.tasks,
                            "findings": sum(self._found.values()),
                            "left": self._left,
                            "kinds": dict(self._found),
                        }
                    }
                )
            )
        else:
            click.echo(self._summary(), err=True)
        return 1 if self._left else 0

    def _summary(self) -> str:
        looked = f"{self.queues} queues, {self.tasks} tasks"
        total = sum(self._found.values())
        if not total:
            return f"{looked}: nothing is wrong"
        kinds = ", ".join(f"{count} {kind}" for kind, count in self._found.most_common())
        return f"{looked}: {total} findings, {total - self._left} of them mended: {kinds}"


def _as_json(one: Finding) -> str:
    kind = KINDS[one.kind]
    return json.dumps(
        {
            "kind": one.kind,
            "severity": kind.severity,
            "queue": one.queue,
            "key": one.where,
            "task_id": one.task_id,
            "entry": one.entry,
            "meaning": kind.meaning,
            "hint": kind.hint,
            "mended": one.mended,
        },
        ensure_ascii=False,
    )


def _as_line(one: Finding) -> str:
    kind = KINDS[one.kind]
    what = one.task_id or one.entry
    done = f"; mended: {kind.remedy}" if one.mended else "; " * bool(kind.hint) + kind.hint
    where = " ".join(filter(None, (one.queue, one.where, what)))
    return f"{kind.severity}: {where}: {kind.meaning} ({one.kind}){done}"


async def _run(settings: Settings, wanted: Sequence[str], report: _Report, mode: Mode) -> None:
    from codeq_grpc.app import doctor

    async with doctor(settings, mode) as looking:
        async for look in looking.examine_registry():
            report.add(look)
        async for look in looking.examine_keys():
            report.add(look)
        if not looking.reads_queues:
            return
        for calendar in await looking.calendars():
            async for look in looking.examine_calendar(calendar):
                report.add(look)
        queues = await looking.queues()
        names = {f"{queue.tenant}/{queue.command}": queue for queue in queues}
        if unknown := [name for name in wanted if name not in names]:
            raise click.UsageError(f"there is no queue {unknown[0]}")
        chosen = [names[name] for name in wanted] or queues
        with bar("entries looked at", None) as advance:
            for queue in chosen:
                await _examine(looking.examine(queue), report, advance)
                report.queues += 1


async def _examine(looks: AsyncIterator[Look], report: _Report, advance: Advance) -> None:
    tasks = 0
    async for look in looks:
        report.add(look)
        tasks = 0 if look.part == "keys" else tasks + look.looked * (look.part == "m")
        advance(look.looked)
    report.tasks += tasks
