"""Reads that change nothing: tasks, lists of them, counts."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from codeq_grpc.core import limits
from codeq_grpc.core.errors import CodeQError
from codeq_grpc.store import scripts
from codeq_grpc.store.calls import Calls
from codeq_grpc.store.keys import EPOCH_MS
from codeq_grpc.store.rows import pack_label, read_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codeq_grpc.core.records import Filter
    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.rows import Row

_SAMPLE: Final = struct.Struct(">QQQQ")
_LAST_NUMBER: Final = (1 << 56) - 1
_WINDOW_MS: Final = 60_000
_PARTS: Final = 7


class Stored(NamedTuple):
    """One task as kept; messages are empty when there is none."""

    row: Row
    spec: bytes
    error: bytes
    progress: bytes
    result: bytes
    checkpoint: bytes
    history: bytes


class Scanned(NamedTuple):
    """Names of tasks, where to go on, empty at the end, and how many were looked at."""

    names: list[bytes]
    cursor: bytes
    looked: int


class Counts(NamedTuple):
    """Numbers of one queue; `oldest_ms` is 0 when nothing is pending. Rates per second, over the
    last minute.
    """

    now_ms: int
    pending: int
    scheduled: int
    blocked: int
    in_progress: int
    completed: int
    failed: int
    cancelled: int
    expired: int
    oldest_ms: int
    paused: bool
    enqueued_total: int
    completed_total: int
    attempt_failed_total: int
    lease_expired_total: int
    enqueue_rate: float
    complete_rate: float
    attempt_fail_rate: float


def _rates(now_ms: int, totals: Sequence[int], samples: bytes) -> list[float]:
    """From the oldest sample of the last minute, or else from the latest, as if it were that old:
    none is taken while nothing happens.
    """
    taken = list(_SAMPLE.iter_unpack(samples))
    if not taken:
        return [total * 1000 / _WINDOW_MS for total in totals]
    ages = [abs(now_ms - sample[0]) for sample in taken]  # the clock may have gone back
    at = next((i for i, age in enumerate(ages) if age <= _WINDOW_MS), -1)
    span = max(1_000, min(ages[at], _WINDOW_MS))
    before = taken[at][1:]
    return [(total - was) * 1000 / span for total, was in zip(totals, before, strict=True)]


class Reads(Calls):
    """Reads of queues."""

    async def read(
        self, queue: Queue, names: Sequence[bytes], *, full: bool, max_bytes: int
    ) -> list[Stored | None]:
        """Tasks, None for one that is not there; as many of them as fit, at least one."""
        reply = await self._run(scripts.READ, queue, (int(full), max_bytes, *names))
        it = iter(reply[2:])
        return [
            Stored(read_row(parts[0]), *parts[1:]) if parts[0] else None
            for parts in zip(*[it] * _PARTS, strict=True)
        ]

    async def scan(
        self, queue: Queue, state: int, wanted: Filter, cursor: bytes, *, most: int, budget: int
    ) -> Scanned:
        """Up to `most` tasks in a state (0: by the first label) that match, out of up to `budget`
        looked at.
        """
        states = "".join(map(str, sorted(wanted.states))) if state == 0 else str(state)
        reply = await self._run(
            scripts.SCAN,
            queue,
            (
                *(int(state), cursor, most, budget),
                _name_at(wanted.created_from_ms),
                _name_before(wanted.created_before_ms),
                *(wanted.worker_id, wanted.error_prefix, states),
                *(pack_label(*label) for label in wanted.labels),
            ),
        )
        return Scanned(reply[3:], reply[1], reply[2])

    async def states(self, queue: Queue, names: Sequence[bytes]) -> list[int]:
        """The state of each task, 0 if there is none."""
        states: list[int] = (await self._run(scripts.STATES, queue, names))[2:]
        return states

    async def unended(self, queues: Sequence[Queue]) -> int:
        """Tasks that have not ended, of all these queues together."""
        total = 0
        for at in range(0, len(queues), limits.BULK_BATCH):
            part = queues[at : at + limits.BULK_BATCH]
            suffixes = scripts.BACKLOG.suffixes
            calls = [([queue.keys[suffix] for suffix in suffixes], ()) for queue in part]
            for reply in await self._connection.run_each(scripts.BACKLOG, calls):
                if isinstance(reply, CodeQError):
                    raise reply
                total += reply[1]
        return total

    async def stats(self, queue: Queue) -> Counts:
        """Numbers of one queue."""
        _, now, *counts, samples = await self._run(scripts.STATS, queue)
        counts[9] = counts[9] == 1
        return Counts(now, *counts, *_rates(now, counts[10:13], samples))

    async def watch(self, queue: Queue, server: str, for_ms: int) -> None:
        """Asks to be told of every change in a queue for a while; 0 takes it back."""
        await self._run(scripts.WATCH, queue, (server, for_ms))


def _number_at(time_ms: int) -> int:
    return min(max(0, time_ms - EPOCH_MS) << 12, _LAST_NUMBER)


def _name_at(time_ms: int) -> bytes:
    """The first name that a task enqueued at that time can have; empty for 0."""
    return _number_at(time_ms).to_bytes(7, "big") if time_ms else b""


def _name_before(time_ms: int) -> bytes:
    """The last name that a task enqueued before that time can have; empty for 0."""
    return max(0, _number_at(time_ms) - 1).to_bytes(7, "big") if time_ms else b""
