"""Transitions of tasks that callers ask for: one script call each.

Callers keep batches within `limits.SCRIPT_BATCH` (an atomic enqueue may have `BATCH_TASKS`).
"""

from __future__ import annotations

import secrets
import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from codeq_grpc.core import limits
from codeq_grpc.core.clock import monotonic
from codeq_grpc.core.task import Ending
from codeq_grpc.store import scripts
from codeq_grpc.store.calls import Calls
from codeq_grpc.store.coalescer import Bounds, Coalescer
from codeq_grpc.store.rows import pack_policy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codeq_grpc.core.retry import RetryPolicy
    from codeq_grpc.store.connection import Connection
    from codeq_grpc.store.keys import Queue

_REPORT: Final = struct.Struct(">BBQQIH")
_BEAT: Final = struct.Struct(">QI")
_NOW: Final = {"enqueue": 2, "claim": 1}
"""Where the store's time stands in a reply."""
_NO_RETRY: Final = 1
_HAS_DELAY: Final = 2

_REFUSALS: Final = frozenset({b"EXISTS", b"MISMATCH", b"FULL", b"OVERDUE", b"INVALID"})

DONE: Final = b"DONE"
REPEATED: Final = b"REPEATED"
LOST: Final = b"LOST"
UNKNOWN: Final = b"UNKNOWN"
EXTENDED: Final = b"EXTENDED"
CANCEL: Final = b"CANCEL"


class Special(NamedTuple):
    """A task that was not simply added: EXISTING, REPLACED, or refused as EXISTS, MISMATCH, FULL,
    OVERDUE or INVALID; name and state of the task it is about.
    """

    word: bytes
    name: bytes
    state: int


class Added(NamedTuple):
    """A reply to `enqueue`: the name of each task, what was special, by index, and how many
    entries the outbox got. Nothing was added if `refused`.
    """

    names: list[bytes]
    now_ms: int
    owed: int
    specials: dict[int, Special]
    refused: bool = False


class SchemaChanged(Exception):
    """The queue has another payload schema; nothing was added."""

    def __init__(self, label: bytes) -> None:
        super().__init__(label)
        self.label = label


class Report(NamedTuple):
    """How one attempt ended. `delay_ms` None lets the retry policy decide; `text` is the
    result or the error, `short` the error for the history if it is too long for that.
    """

    name: bytes
    fence: int
    ending: Ending
    text: bytes = b""
    delay_ms: int | None = None
    no_retry: bool = False
    error_type: str = ""
    short: bytes = b""


class Claimant(NamedTuple):
    """For whom to claim (`rows.pack_claimant`), how many, for how long (0: as the task says)."""

    who: bytes
    want: int
    lease_ms: int = 0


class Claimed(NamedTuple):
    """A reply to `claim`: (name, packed row, spec, checkpoint) of each task, first those of the
    first claimant; how many each has got. `empty` tells that there was none from a claim that only
    cleared away what had gone; `over`, that there are no more than these. Then `armed` says whether
    the wish to be woken was noted, and `look_at_ms` when to look again (0: when told).
    """

    now_ms: int
    tasks: list[tuple[bytes, bytes, bytes, bytes]]
    shares: list[int]
    look_at_ms: int
    empty: bool
    over: bool
    armed: bool


class Verdict(NamedTuple):
    """What became of one report: word, state and its time after it, owner stream of the lease."""

    word: bytes
    state: int
    time_ms: int
    owner: str


class Cancelled(NamedTuple):
    """What became of one cancel: CANCELLED, REQUESTED, ENDED or UNKNOWN; state; fence and owner
    of the lease if one is held.
    """

    word: bytes
    state: int
    fence: int
    owner: str


New = tuple[bytes, bytes, bytes]
"""A task made by `rows.pack_new`."""
Beat = tuple[bytes, int, int, bytes, bytes]


def _new_size(task: New) -> int:
    head, body, more = task
    return len(head) + len(body) + len(more)


def _report_size(report: Report) -> int:
    return len(report.text) + len(report.short)


def _beat_size(beat: Beat) -> int:
    return len(beat[3]) + len(beat[4])


def _not_after(now_ms: int, read_at: float, seconds: float) -> int:
    """In so many seconds by the store's clock as it was last read, in ms; 0 when it never was."""
    waited = monotonic() - read_at + seconds
    return now_ms + int(waited * 1000) if now_ms else 0


class TaskStore(Calls):
    """Tasks of queues."""

    def __init__(self, connection: Connection, *, retry: RetryPolicy, lease_ms: int) -> None:
        super().__init__(connection)
        self._lease_ms = lease_ms
        self._max_attempts = retry.max_attempts
        self._clock = (0, 0.0)
        self._policy = pack_policy(retry)
        bounds = Bounds(limits.SCRIPT_BATCH, limits.BATCH_BYTES, connection.timeout)
        self._enqueues = Coalescer(self._enqueue, _new_size, bounds)
        self._reports = Coalescer(self._report, _report_size, bounds)
        self._beats = Coalescer(self._beat, _beat_size, bounds)

    async def _in_time(
        self,
        script: scripts.Script,
        queue: Queue,
        before: Sequence[Any],
        after: Sequence[Any],
        seconds: float,
    ) -> Any:
        """Runs a script that does nothing once `seconds` have passed, when nobody waits for its
        reply: a store that was stopped runs at last what its callers gave up long ago. `before`
        and `after` stand around that time among the arguments.
        """
        clock = self._clock
        while True:
            not_after = _not_after(*clock, seconds)
            reply = await self._run(script, queue, [*before, not_after, *after])
            late = reply[0] == b"LATE"
            self._clock = clock = (reply[1 if late else _NOW[script.name]], monotonic())
            if not late:
                return reply
            # It came in time all the same: the store's clock was moved.

    async def enqueue(
        self, queue: Queue, tasks: Sequence[New], *, atomic: bool = False, schema: bytes = b""
    ) -> Added:
        """Adds tasks; if `atomic`, all or none. Raises SchemaChanged unless the label of the
        queue's payload schema is this one.
        """
        if atomic and len(tasks) > 1:
            timeout = self._connection.timeout
            many = await self._enqueue((queue, schema), tasks, timeout, atomic=True)
        else:
            many = await self._enqueues((queue, schema), tasks)
        results, (now, owed) = many
        specials = {i: one for i, one in enumerate(results) if isinstance(one, Special)}
        refused = atomic and any(one.word in _REFUSALS for one in specials.values())
        names = [one.name if isinstance(one, Special) else one for one in results]
        return Added(names, now, owed, specials, refused)

    async def _enqueue(
        self,
        lane: tuple[Queue, bytes],
        tasks: Sequence[New],
        seconds: float,
        *,
        atomic: bool = False,
    ) -> tuple[Sequence[bytes | Special], tuple[int, int]]:
        queue, schema = lane
        parts = [part for task in tasks for part in task]
        word, first, now, *rest = await self._in_time(
            scripts.ENQUEUE, queue, (), (int(atomic), self._max_attempts, schema, *parts), seconds
        )
        if word == b"SCHEMA":
            raise SchemaChanged(first)
        owed, *rest = rest
        results: list[bytes | Special] = [
            number.to_bytes(7, "big") for number in range(first, first + len(tasks))
        ]
        it = iter(rest)
        for index, *special in zip(it, it, it, it, strict=True):
            results[index] = Special(*special)
        return results, (now, owed)

    async def claim(
        self,
        queue: Queue,
        claimants: Sequence[Claimant],
        *,
        max_bytes: int,
        wake: str = "",
        receipt: tuple[str, int] = ("", 0),
    ) -> Claimed:
        """Leases tasks, 500 at most; `max_bytes` bounds their specs, but for one. If there are
        fewer than wanted, `wake` names the server to be told of more. With a `receipt`, server and
        number of the call (rising), what it leases can be recalled until the server's next claim.
        """
        after: list[Any] = [*receipt]
        for who, want, lease_ms in claimants:
            after += (want, lease_ms, who)
        before = (max_bytes, self._lease_ms, wake)
        timeout = self._connection.timeout
        word, now, *rest = await self._in_time(scripts.CLAIM, queue, before, after, timeout)
        if word == b"EMPTY":
            shares = [0] * len(claimants)
            return Claimed(now, [], shares, rest[0], empty=True, over=True, armed=rest[1] == 1)
        count, look_at, armed, *rest = rest
        at = len(claimants)
        end = at + 3 * count
        names, rows, specs = rest[at:end:3], rest[at + 1 : end : 3], rest[at + 2 : end : 3]
        kept = dict(zip(rest[end::2], rest[end + 1 :: 2], strict=True))
        checkpoints = [kept.get(name) or b"" for name in names] if kept else [b""] * count
        return Claimed(
            now,
            list(zip(names, rows, specs, checkpoints, strict=True)),
            rest[:at],
            look_at,
            empty=False,
            over=armed >= 0,
            armed=armed == 1,
        )

    async def recall(
        self, queue: Queue, server: str, claim: int, number: int
    ) -> list[tuple[bytes, int]]:
        """Leases (name, fence) that a claim has given whose reply was lost; it gives none from now
        on. `number` is that of this call.
        """
        it = iter((await self._run(scripts.RECALL, queue, (server, claim, number)))[2:])
        return list(zip(it, it, strict=True))

    async def heartbeat(self, queue: Queue, beats: Sequence[Beat]) -> Sequence[tuple[bytes, bytes]]:
        """Extends leases (name, fence, ms or 0, progress, checkpoint); of each EXTENDED, CANCEL,
        LOST or UNKNOWN, and the error to be kept of a cancel.
        """
        told, _ = await self._beats(queue, beats)
        return told

    async def _beat(
        self, queue: Queue, beats: Sequence[Beat], _seconds: float
    ) -> tuple[list[tuple[bytes, bytes]], None]:
        args: list[bytes] = []
        for name, fence, extend_ms, progress, checkpoint in beats:
            args += (name, _BEAT.pack(fence, extend_ms), progress, checkpoint)
        it = iter((await self._run(scripts.HEARTBEAT, queue, args))[2:])
        return list(zip(it, it, strict=True)), None

    async def report(
        self, queue: Queue, reports: Sequence[Report]
    ) -> tuple[Sequence[Verdict], int]:
        """Ends attempts; what became of each, and how many entries the outbox got."""
        return await self._reports(queue, reports)

    async def _report(
        self, queue: Queue, reports: Sequence[Report], _seconds: float
    ) -> tuple[list[Verdict], int]:
        args: list[bytes] = [self._policy]
        for r in reports:
            flags = (_NO_RETRY if r.no_retry else 0) | (0 if r.delay_ms is None else _HAS_DELAY)
            luck = secrets.randbits(32) if r.ending == Ending.FAIL else 0  # for jitter
            head = _REPORT.pack(r.ending, flags, r.fence, r.delay_ms or 0, luck, len(r.short))
            args += (r.name, head + r.error_type.encode(), r.text + r.short)
        _, _, owed, *rest = await self._run(scripts.REPORT, queue, args)
        owners = {raw: raw.decode() for raw in set(rest[3::4])}
        it = iter(rest)
        return [
            Verdict(word, state, time_ms, owners[owner])
            for word, state, time_ms, owner in zip(it, it, it, it, strict=True)
        ], owed

    async def cancel(
        self, queue: Queue, names: Sequence[bytes], error: bytes
    ) -> tuple[list[Cancelled], int]:
        """Cancels tasks; what became of each, and how many entries the outbox got."""
        _, _, owed, *rest = await self._run(scripts.CANCEL, queue, (error, *names))
        it = iter(rest)
        return [
            Cancelled(word, state, fence, owner.decode())
            for word, state, fence, owner in zip(it, it, it, it, strict=True)
        ], owed

    async def redrive(
        self, queue: Queue, tasks: Sequence[tuple[bytes, int]]
    ) -> list[tuple[bytes, int]]:
        """Makes ended tasks (name, delay in ms) claimable again; of each REDRIVEN, REFUSED,
        SUPERSEDED (its idempotency key leads to another) or UNKNOWN, and its state.
        """
        args = [part for task in tasks for part in task]
        it = iter((await self._run(scripts.REDRIVE, queue, args))[2:])
        return list(zip(it, it, strict=True))

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
