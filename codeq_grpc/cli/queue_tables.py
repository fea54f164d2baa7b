"""Queues and workers for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from codeq_grpc.cli import documents, queue_settings, tables
from codeq_grpc.cli.tables import Column

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.table import Table

    from codeq.v1.admin_service_pb2 import Worker
    from codeq.v1.queue_pb2 import Queue, QueueStats

_COUNTS: Final = ("pending", "scheduled", "in_progress", "failed", "completed")
_KEPT: Final = ("completed", "failed", "cancelled", "expired")
_WAITING: Final = ("pending", "scheduled", "blocked", "in_progress")
_TOTALS: Final = (
    "enqueued_total",
    "completed_total",
    "attempt_failed_total",
    "lease_expired_total",
)


def counts(queues: Sequence[QueueStats]) -> Table:
    """How many tasks queues have in each state; columns that few need only where they do."""
    names = list(_COUNTS)
    if any(queue.blocked for queue in queues):
        names.insert(2, "blocked")
    columns = {"COMMAND": Column.FOLDED}
    columns |= {name.replace("_", "\n").upper(): Column.NUMBER for name in names}
    columns["OLDEST"] = Column.NUMBER
    if any_paused := any(queue.paused for queue in queues):
        columns[""] = Column.FIXED
    table = tables.table(columns)
    for queue in queues:
        cells = [f"{getattr(queue, name):,}" for name in names]
        cells.append(oldest(queue))
        if any_paused:
            cells.append("paused" if queue.paused else "")
        table.add_row(tables.plain(queue.command), *cells)
    return table


def oldest(queue: QueueStats) -> str:
    """How long the oldest claimable task waits."""
    if not queue.HasField("oldest_pending_age"):
        return ""
    return tables.age(queue.oldest_pending_age.ToTimedelta().total_seconds())


def workers(found: Iterable[Worker]) -> Table:
    """Workers, what they serve and what they hold."""
    table = tables.table(
        {
            "WORKER": Column.FOLDED,
            "COMMANDS": Column.FOLDED,
            "HELD": Column.NUMBER,
            "SINCE": Column.FIXED,
            "PEER": Column.FOLDED,
            "SERVER": Column.FOLDED,
        }
    )
    for worker in found:
        table.add_row(
            tables.plain(worker.worker_id),
            tables.plain(" ".join(worker.commands)),
            held(worker),
            f"{worker.connect_time.ToDatetime():%m-%d %H:%M}",
            tables.plain(worker.peer),
            tables.plain(worker.server_id),
        )
    return table


def held(worker: Worker) -> str:
    """Leases held of those allowed: `3/10`; nothing for one that claims by call."""
    if not worker.max_outstanding:
        return ""
    return f"{worker.in_progress}/{worker.max_outstanding}"


def print_queue(queue: Queue, stats: QueueStats | None) -> None:
    """A queue, a fact a line."""
    _print_row("command", queue.command)
    if queue.paused:
        reason = f": {queue.pause_reason}" if queue.pause_reason else ""
        _print_row("paused", f"yes{reason}")
    for key, value in queue_settings.rows(queue):
        _print_row(key, value)
    if stats is not None:
        documents.echo("")
        _print_stats(stats)


def _print_stats(stats: QueueStats) -> None:
    for name in (*_WAITING, *_KEPT, *_TOTALS):
        _print_row(name, f"{getattr(stats, name):,}")
    if age := oldest(stats):
        _print_row("oldest_pending_age", age)
    for name in ("enqueue_rate", "complete_rate", "attempt_fail_rate"):
        _print_row(name, f"{getattr(stats, name):.1f}/s")
    _print_row("idle_credit", f"{stats.idle_credit:,}")


def _print_row(name: str, value: str) -> None:
    documents.echo(f"{name:<38} {value}")
