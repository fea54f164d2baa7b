"""Transitions and reads of tasks: one script call each.

Arguments and replies are plain tuples, bytes and lists: this is the hot path.
"""

from __future__ import annotations

import secrets
import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from codeq_grpc.core.clock import monotonic
from codeq_grpc.store import scripts
from codeq_grpc.store.rows import pack_policy, read_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codeq_grpc.core.retry import RetryPolicy
    from codeq_grpc.core.task import Ending
    from codeq_grpc.store.connection import Connection
    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.rows import Row

_NEW: Final = struct.Struct(">BBIq")
_REPORT: Final = struct.Struct(">BBQQI")
_NOW: Final = {"enqueue": 2, "claim": 1}
"""Where the store's time stands in a reply."""
_NO_RETRY: Final = 1
_HAS_DELAY: Final = 2

DONE: Final = b"DONE"
REPEATED: Final = b"REPEATED"
LOST: Final = b"LOST"
UNKNOWN: Final = b"UNKNOWN"
EXTENDED: Final = b"EXTENDED"


def new_task(
    spec: bytes, *, priority: int, max_attempts: int, lease_ms: int, when: int, policy: bytes
) -> tuple[bytes, bytes]:
    """The two arguments of one task for `enqueue`.

    `when` is 0 for now, a time in ms, or minus a delay in ms; `lease_ms` 0 for the default;
    `policy` empty for the default.
    """
    return _NEW.pack(priority, max_attempts, lease_ms, when) + policy, spec


class Report(NamedTuple):
    """How one attempt ended. `delay_ms` None lets the retry policy decide; `text` is the
    result or the error.
    """

    name: bytes
    fence: int
    ending: Ending
    text: bytes = b""
    delay_ms: int | None = None
    no_retry: bool = False


class Claimed(NamedTuple):
    """A reply to `claim`: (name, row, spec) of each task; when none is due yet, `next_due_ms`
    (0: nothing scheduled). `empty` tells that from a claim that only cleared away what aborted
    scripts had left; `armed`, whether the wish to be woken was noted.
    """

    now_ms: int
    tasks: list[tuple[bytes, Row, bytes]]
    next_due_ms: int
    empty: bool
    armed: bool


class Verdict(NamedTuple):
    """What became of one report: word, state and its time after it, owner stream of the lease."""

    word: bytes
    state: int
    time_ms: int
    owner: str


class Expired(NamedTuple):
    """A lease that the reaper ended."""

    name: bytes
    fence: int
    owner: str


class Stored(NamedTuple):
    """One task as kept; error and result are serialised messages, empty when there are none."""

    now_ms: int
    row: Row
    spec: bytes
    error: bytes
    result: bytes


class Counts(NamedTuple):
    """Numbers of one queue; `oldest_ms` is 0 when nothing is pending."""

    now_ms: int
    pending: int
    scheduled: int
    in_progress: int
    completed: int
    failed: int
    oldest_ms: int
    enqueued_total: int
    completed_total: int
    attempt_failed_total: int
    lease_expired_total: int


class TaskStore:
    """Tasks of queues. Every method may raise StoreUnavailable or StoreFull."""

    def __init__(self, connection: Connection, *, retry: RetryPolicy, lease_ms: int) -> None:
        self._connection = connection
        self._lease_ms = lease_ms
        self._clock = (0, 0.0)
        self._policy = pack_policy(
            retry.initial_backoff_ms, retry.max_backoff_ms, retry.multiplier, retry.jitter
        )

    async def _run(self, script: scripts.Script, queue: Queue, args: Sequence[Any]) -> Any:
        return await self._connection.run(script, [queue.keys[s] for s in script.suffixes], args)

    async def _in_time(
        self, script: scripts.Script, queue: Queue, before: Sequence[Any], after: Sequence[Any]
    ) -> Any:
        """Runs a script that does nothing once nobody waits for its reply: a store that was
        stopped runs at last what its callers gave up long ago. `before` and `after` stand around
        that time among the arguments.
        """
        clock = self._clock
        while True:
            not_after = self._not_after(*clock)
            reply = await self._run(script, queue, [*before, not_after, *after])
            now = reply[1] if len(reply) == 2 else reply[_NOW[script.name]]
            self._clock = clock = (now, monotonic())
            if reply[0] != b"LATE":
                return reply
            # It came in time all the same: the store's clock was moved.

    def _not_after(self, now_ms: int, read_at: float) -> int:
        """By the store's clock as it was last read, in ms; 0 when it never was."""
        waited = monotonic() - read_at + self._connection.timeout
        return now_ms + int(waited * 1000) if now_ms else 0

    async def enqueue(
        self, queue: Queue, tasks: Sequence[tuple[bytes, bytes]]
    ) -> tuple[list[bytes], int]:
        """Adds tasks made by `new_task`, all or none; gives their names and the store's time."""
        _, first, now = await self._in_time(
            scripts.ENQUEUE, queue, (), [part for task in tasks for part in task]
        )
        return [(first + i).to_bytes(7, "big") for i in range(len(tasks))], now

    async def claim(
        self,
        queue: Queue,
        claimant: bytes,
        *,
        want: int,
        max_bytes: int,
        lease_ms: int = 0,
        wake: str = "",
    ) -> Claimed:
        """Leases up to `want` tasks for `rows.pack_claimant(...)`; none: arms `wake`."""
        reply = await self._in_time(
            scripts.CLAIM, queue, (want, max_bytes, lease_ms, self._lease_ms, wake, claimant), ()
        )
        if reply[0] == b"EMPTY":
            return Claimed(reply[1], [], reply[2], empty=True, armed=bool(wake))
        it = iter(reply[2:])
        tasks = [(name, read_row(raw), spec) for name, raw, spec in zip(it, it, it, strict=True)]
        return Claimed(reply[1], tasks, 0, empty=False, armed=False)

    async def heartbeat(
        self, queue: Queue, leases: Sequence[tuple[bytes, int, int]]
    ) -> list[bytes]:
        """Extends leases (name, fence, ms or 0); EXTENDED, LOST or UNKNOWN of each."""
        args = [part for lease in leases for part in lease]
        reply: list[bytes] = (await self._run(scripts.HEARTBEAT, queue, args))[2:]
        return reply

    async def report(self, queue: Queue, reports: Sequence[Report]) -> list[Verdict]:
        """Ends attempts."""
        args: list[bytes] = [self._policy]
        for r in reports:
            flags = (_NO_RETRY if r.no_retry else 0) | (0 if r.delay_ms is None else _HAS_DELAY)
            args.append(r.name)
            args.append(
                _REPORT.pack(r.ending, flags, r.fence, r.delay_ms or 0, secrets.randbits(32))
            )
            args.append(r.text)
        it = iter((await self._run(scripts.REPORT, queue, args))[2:])
        return [
            Verdict(word, state, time_ms, owner.decode())
            for word, state, time_ms, owner in zip(it, it, it, it, strict=True)
        ]

    async def promote(self, queue: Queue, limit: int) -> tuple[int, int, int]:
        """Makes due tasks claimable; the store's time, next due time or 0, how many."""
        _, now, next_due, count = await self._run(scripts.PROMOTE, queue, (limit,))
        return now, next_due, count

    async def reap(self, queue: Queue, limit: int, error: bytes) -> tuple[int, int, list[Expired]]:
        """Ends expired leases; the store's time, next expiry or 0, the leases that ended."""
        _, now, next_expiry, *rest = await self._run(scripts.REAP, queue, (limit, error))
        it = iter(rest)
        expired = [Expired(n, f, o.decode()) for n, f, o in zip(it, it, it, strict=True)]
        return now, next_expiry, expired

    async def prune(
        self, queue: Queue, *, before_ms: int, age_ms: int, limit: int, indexes: str
    ) -> tuple[int, int, bool]:
        """Deletes ended tasks from `t` (completed), `d` (failed) or both; the time used, how
        many went, whether there may be more.
        """
        _, _, before, count, more = await self._run(
            scripts.PRUNE, queue, (before_ms, age_ms, limit, indexes)
        )
        return before, count, more == 1

    async def get(self, queue: Queue, name: bytes, *, result: bool) -> Stored | None:
        """One task, None when there is none."""
        reply = await self._run(scripts.GET, queue, (name, int(result)))
        if reply[0] == b"UNKNOWN":
            return None
        _, now, raw, spec, error, text = reply
        return Stored(now, read_row(raw), spec or b"", error or b"", text or b"")

    async def await_end(self, queue: Queue, name: bytes, server: str) -> bool:
        """Asks to be told when a task ends; True when there is nothing to wait for."""
        reply = await self._run(scripts.AWAIT_END, queue, (name, server))
        return bool(reply[0] != b"WAITING")

    async def held(self, queue: Queue, leases: Sequence[tuple[bytes, int]]) -> list[bool]:
        """Which leases (name, fence) are still held."""
        args = [part for lease in leases for part in lease]
        reply = await self._run(scripts.HELD, queue, args)
        return [word == b"HELD" for word in reply[2:]]

    async def pass_on(self, queue: Queue, server: str) -> None:
        """Takes back the wish to be woken, and hands on a wake-up that may have come of it."""
        await self._run(scripts.PASS_ON, queue, (server,))

    async def stats(self, queue: Queue) -> Counts:
        """Numbers of one queue."""
        return Counts(*(await self._run(scripts.STATS, queue, ()))[1:])
