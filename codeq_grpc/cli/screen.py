"""What `codeq top` shows, fitted into the lines and columns that there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from rich.console import Group
from rich.table import Table
from rich.text import Text

from codeq_grpc.cli import documents, queue_tables, tables
from codeq_grpc.cli.connection import describe
from codeq_grpc.core import clock

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from rich.console import RenderableType

    from codeq.v1.admin_service_pb2 import Worker
    from codeq.v1.queue_pb2 import QueueStats
    from codeq_grpc.core.errors import CodeQError

T = TypeVar("T")

_NUMBERS: Final = ("PEND", "SCHED", "BLOCK", "PROG", "FAIL", "ENQ/s", "DONE/s", "FAIL/s")
_FRAME: Final = 5
"""Lines that are neither a queue nor a worker: title, two empty ones, two heads."""
_PAUSED: Final = "|| "


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Queues and workers at one time."""

    time: datetime
    queues: Sequence[QueueStats]
    workers: Sequence[Worker]

    def document(self) -> documents.Document:
        """As JSON has it."""
        return {
            "time": self.time.isoformat(),
            "queues": [documents.complete(queue) for queue in self.queues],
            "workers": [documents.complete(worker) for worker in self.workers],
        }


class Screen:
    """The latest snapshot, and since when there is no newer one."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._snapshot: Snapshot | None = None
        self._outage: CodeQError | None = None
        self._since = clock.monotonic()

    def take(self, look: Snapshot | CodeQError) -> None:
        """The latest look: a snapshot, or why there is none."""
        if isinstance(look, Snapshot):
            self._snapshot, self._outage = look, None
            self._since = clock.monotonic()
        else:
            self._outage = look

    def whole(self) -> RenderableType:
        """All of it, however long."""
        return self._render(None)

    def fitted(self, height: int) -> RenderableType:
        """As much as so many lines hold."""
        return self._render(max(height - _FRAME, 2))

    def _render(self, lines: int | None) -> RenderableType:
        if self._snapshot is None:
            return Group(self._title(), self._trouble())
        queues = sorted(self._snapshot.queues, key=_busy, reverse=True)
        workers = _whole(self._snapshot.workers)
        if lines is not None and self._outage is not None:
            lines -= 1
        shares = _shares(len(queues), len(workers), lines)
        trouble = [self._trouble()] if self._outage is not None else []
        return Group(
            *(self._title(), *trouble, Text()),
            *(*_queue_part(queues, shares[0]), Text()),
            *_worker_part(workers, shares[1]),
        )

    def _title(self) -> Text:
        title = Text(f"codeQ {self._address}", style="bold", no_wrap=True, overflow="ellipsis")
        if (snapshot := self._snapshot) is not None:
            paused = sum(queue.paused for queue in snapshot.queues)
            title.append(f"  {snapshot.time:%H:%M:%S} UTC", style="not bold")
            title.append(f"  queues {len(snapshot.queues)}", style="not bold")
            title.append(f", paused (||) {paused}" if paused else "", style="not bold yellow")
            title.append(f", workers {len(_whole(snapshot.workers))}", style="not bold")
        return title

    def _trouble(self) -> Text:
        if self._outage is None:
            return Text("waiting for an answer")
        seconds = clock.monotonic() - self._since
        said = f"no answer for {seconds:.0f}s: {describe(self._outage)}"
        return Text(documents.harmless(said), style="bold red", no_wrap=True, overflow="ellipsis")


def _whole(streams: Iterable[Worker]) -> list[Worker]:
    """One for each worker: it may have several streams, of several servers, too."""
    whole: dict[str, Worker] = {}
    for stream in streams:
        worker = whole.setdefault(stream.worker_id, type(stream)(worker_id=stream.worker_id))
        worker.in_progress += stream.in_progress
        worker.max_outstanding += stream.max_outstanding
        worker.commands.extend(name for name in stream.commands if name not in worker.commands)
        known, since = worker.HasField("connect_time"), stream.connect_time
        if stream.HasField("connect_time") and (
            not known or since.seconds < worker.connect_time.seconds
        ):
            worker.connect_time.CopyFrom(since)
    return list(whole.values())


def _busy(queue: QueueStats) -> tuple[int, float, str]:
    return (queue.in_progress + queue.pending, queue.enqueue_rate + queue.complete_rate, "")


def _shares(queues: int, workers: int, lines: int | None) -> tuple[int, int]:
    """How many lines both get: workers a third if need be, each what the other leaves."""
    if lines is None:
        return queues, workers
    for_workers = min(workers, max(lines // 3, lines - queues, 1))
    return max(lines - for_workers, 1), for_workers


def _queue_part(queues: Sequence[QueueStats], lines: int) -> list[RenderableType]:
    if not queues:
        return [Text("no queues yet: a queue exists from its first task on", style="dim")]
    table = _table("COMMAND")
    for name in (*_NUMBERS, "OLDEST", "IDLE"):
        table.add_column(name, justify="right", no_wrap=True)
    shown = _that_fit(queues, lines)
    for queue in shown:
        table.add_row(*_queue_cells(queue), style="yellow" if queue.paused else "")
    return [table, *_more(len(queues) - len(shown))]


def _queue_cells(queue: QueueStats) -> Iterable[RenderableType]:
    yield tables.cut((_PAUSED if queue.paused else "") + queue.command)
    for number in (queue.pending, queue.scheduled, queue.blocked, queue.in_progress):
        yield tables.short(number)
    yield Text(tables.short(queue.failed), style="red" if queue.failed else "")
    yield tables.rate(queue.enqueue_rate)
    yield tables.rate(queue.complete_rate)
    yield tables.rate(queue.attempt_fail_rate)
    yield queue_tables.oldest(queue)
    yield tables.short(queue.idle_credit)


def _worker_part(workers: Sequence[Worker], lines: int) -> list[RenderableType]:
    if not workers:
        return [Text("no workers", style="dim")]
    table = _table("WORKER", "COMMANDS")
    table.add_column("HELD", justify="right", no_wrap=True)
    table.add_column("FOR", justify="right", no_wrap=True)
    now = clock.now().timestamp()
    shown = _that_fit(workers, lines)
    for worker in shown:
        table.add_row(
            tables.cut(worker.worker_id),
            tables.cut(" ".join(worker.commands)),
            queue_tables.held(worker),
            tables.age(max(0.0, now - worker.connect_time.seconds))
            if worker.HasField("connect_time")
            else "",
        )
    return [table, *_more(len(workers) - len(shown))]


def _table(*names: str) -> Table:
    """As wide as the screen; the columns with names share what the numbers leave."""
    table = Table(
        box=None, expand=True, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold reverse"
    )
    for name in names:
        table.add_column(name, ratio=1, no_wrap=True, overflow="ellipsis")
    return table


def _that_fit(rows: Sequence[T], lines: int) -> Sequence[T]:
    """The first ones, with a line left to tell of the others."""
    return rows if len(rows) <= lines else rows[: max(lines - 1, 0)]


def _more(count: int) -> list[RenderableType]:
    return [Text(f"and {count} more", style="dim")] if count else []
