"""Schedules, firings and versions for people."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Final

from codeq_grpc.cli import documents, fire_times, schedule_documents, tables
from codeq_grpc.cli.queue_settings import span
from codeq_grpc.cli.tables import Column
from codeq_grpc.core import clock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from google.protobuf.timestamp_pb2 import Timestamp
    from rich.table import Table
    from rich.text import Text

    from codeq.v1.schedule_service_pb2 import (
        Firing,
        Schedule,
        ScheduleSpec,
        ScheduleStatus,
        ScheduleVersion,
    )
    from codeq.v1.task_pb2 import TaskSpec

_COUNTS: Final = (
    ("fired", "fired_count"),
    ("completed", "completed_count"),
    ("failed", "failed_count"),
    ("open", "open_count"),
    ("skipped: overlap", "overlap_count"),
    ("skipped: misfire", "misfire_count"),
    ("skipped: refused", "refused_count"),
    ("failures in a row", "failures_in_row"),
)
_PROMPT: Final = 0.05
_SET: Final = (
    *("description", "spec", "task", "overlap_policy", "misfire_policy", "misfire_grace"),
    *("max_firings", "pause_after_failures", "labels"),
)
"""Fields of a version."""


def listed(found: Sequence[Schedule]) -> Table:
    """What fires when and has done what."""
    columns = {"SCHEDULE": Column.FOLDED, "WHEN": Column.FOLDED, "NEXT": Column.NUMBER}
    columns |= {"FIRED": Column.NUMBER, "FAILED": Column.NUMBER}
    marks = [mark(schedule) for schedule in found]
    if any(marks):
        columns[""] = Column.FIXED
    table = tables.table(columns)
    for schedule, told in zip(found, marks, strict=True):
        status = schedule.status
        cells: list[str | Text] = [
            tables.plain(schedule.schedule_id),
            tables.plain(when(schedule.spec)),
            _next(schedule),
            f"{status.fired_count:,}",
            f"{status.failed_count:,}",
        ]
        if any(marks):
            cells.append(told)
        table.add_row(*cells)
    return table


def when(spec: ScheduleSpec) -> str:
    """The rules in one line: `0 3 * * * Europe/Berlin`."""
    parts = []
    if spec.crons:
        parts.append(" | ".join(spec.crons))
        if spec.time_zone not in {"", "UTC"}:
            parts[-1] += f" {spec.time_zone}"
    if spec.HasField("every"):
        parts.append(f"every {span(spec.every.ToMilliseconds())}")
    if len(spec.times) == 1:
        parts.append(f"at {_utc(spec.times[0])}")
    elif spec.times:
        parts.append(f"at {len(spec.times)} times")
    return ", ".join(parts)


def mark(schedule: Schedule) -> str:
    """What is special about one, in a word or two."""
    words = [
        "system" if schedule.system else "",
        "paused" if schedule.paused else "",
        "ended" if schedule.status.ended else "",
    ]
    return " ".join(filter(None, words))


def print_schedule(schedule: Schedule) -> None:
    """A schedule, a fact a line, then its next fire times."""
    for name, value in (*_rows(schedule), *_counts(schedule.status)):
        documents.echo(f"{name:<19} {value}")
    times = [time.ToDatetime(UTC) for time in schedule.status.next_times]
    if times:
        fire_times.show(schedule.spec, times)


def firings(found: Sequence[Firing]) -> Table:
    """Fire times and what came of them."""
    columns = {"FIRE TIME, UTC": Column.FIXED, "LATE": Column.NUMBER, "CAUSE": Column.FIXED}
    columns |= {"TASK": Column.FIXED, "STATE": Column.FOLDED}
    table = tables.table(columns)
    for firing in found:
        late = (firing.actual_time.ToDatetime() - firing.fire_time.ToDatetime()).total_seconds()
        state: str | Text = "not kept"
        if firing.skip_reason:
            state = tables.plain(f"skipped: {firing.skip_reason}")
        elif firing.state:
            state = tables.state(firing.state)
        elif not firing.task_id:
            state = "to be enqueued"
        table.add_row(
            _utc(firing.fire_time, seconds=True),
            tables.age(late) if late >= _PROMPT else "0s",
            schedule_documents.cause(firing.cause).lower(),
            tables.plain(firing.task_id),
            state,
        )
    return table


def versions(found: Sequence[ScheduleVersion]) -> Table:
    """Newest first, with the fields in which each differs from the one before it."""
    columns = {"VERSION": Column.NUMBER, "TIME, UTC": Column.FIXED, "BY": Column.FOLDED}
    columns |= {"CHANGED": Column.FOLDED, "REASON": Column.FOLDED}
    table = tables.table(columns)
    for at, version in enumerate(found):
        before = found[at + 1].schedule if at + 1 < len(found) else None
        table.add_row(
            str(version.schedule.version),
            _utc(version.change_time, seconds=True),
            tables.plain(version.changed_by),
            tables.plain(_changed(version.schedule, before)),
            tables.plain(version.reason),
        )
    return table


def _changed(schedule: Schedule, before: Schedule | None) -> str:
    if before is None:
        return "made" if schedule.version == 1 else ""
    return ", ".join(name for name in _SET if getattr(schedule, name) != getattr(before, name))


def _next(schedule: Schedule) -> str:
    if schedule.paused or not schedule.status.next_times:
        return ""
    return fire_times.distance(schedule.status.next_times[0].ToDatetime(UTC) - clock.now())


def _rows(schedule: Schedule) -> Iterator[tuple[str, str]]:
    yield "schedule", schedule.schedule_id
    if schedule.description:
        yield "description", " ".join(schedule.description.split())
    if schedule.paused:
        reason = f": {schedule.pause_reason}" if schedule.pause_reason else ""
        yield "paused", f"yes{reason}"
    if schedule.system:
        yield "system", "yes: a part of codeQ"
    if schedule.status.ended:
        counts = schedule.status
        is_full = 0 < schedule.max_firings <= counts.fired_count + counts.refused_count
        yield "ended", f"yes: {'max firings is reached' if is_full else 'no fire time is left'}"
    yield "when", when(schedule.spec)
    for label, at in (("start", "start_time"), ("end", "end_time")):
        if schedule.spec.HasField(at):
            yield label, documents.time(getattr(schedule.spec, at))
    if schedule.spec.HasField("jitter"):
        yield "jitter", f"up to {span(schedule.spec.jitter.ToMilliseconds())}"
    yield from _task(schedule.task)
    yield from _policies(schedule)
    for key, value in sorted(schedule.labels.items()):
        yield "label", f"{key}={value}"
    changed = documents.time(schedule.update_time)
    yield "version", f"{schedule.version} of {changed}, made by {schedule.created_by}"


def _policies(schedule: Schedule) -> Iterator[tuple[str, str]]:
    yield "overlap", schedule_documents.overlap(schedule.overlap_policy).lower()
    has_grace = schedule.HasField("misfire_grace")
    grace = span(schedule.misfire_grace.ToMilliseconds()) if has_grace else "5m"
    yield "misfire", f"{schedule_documents.misfire(schedule.misfire_policy).lower()} after {grace}"
    if schedule.max_firings:
        yield "max firings", f"{schedule.max_firings:,}"
    if schedule.pause_after_failures:
        yield "pauses after", f"{schedule.pause_after_failures} failures in a row"


def _task(task: TaskSpec) -> Iterator[tuple[str, str]]:
    yield "command", task.command
    if task.payload.data:
        yield "payload", " ".join(documents.text(task.payload).split())
    if task.HasField("priority"):
        yield "priority", str(task.priority)
    for label, name in (("lease", "lease_duration"), ("attempt timeout", "attempt_timeout")):
        if task.HasField(name):
            yield label, span(getattr(task, name).ToMilliseconds())
    if task.retry_policy.HasField("max_attempts"):
        yield "max attempts", str(task.retry_policy.max_attempts)
    if task.concurrency_key:
        yield "concurrency key", task.concurrency_key
    for label, pairs in (("task label", task.labels), ("header", task.headers)):
        for key, value in sorted(pairs.items()):
            yield label, f"{key}={value}"


def _counts(status: ScheduleStatus) -> Iterator[tuple[str, str]]:
    for label, name in _COUNTS:
        yield label, f"{getattr(status, name):,}"
    if status.HasField("average_run_time"):
        yield "mean run time", tables.age(status.average_run_time.ToTimedelta().total_seconds())
    if status.HasField("last_time"):
        yield "last fire time", documents.time(status.last_time)


def _utc(time: Timestamp, *, seconds: bool = False) -> str:
    shown = time.ToDatetime()
    if seconds:
        return f"{shown:%Y-%m-%d %H:%M:%S}"
    return f"{shown:%Y-%m-%d %H:%M:%S}".removesuffix(":00") + " UTC"
