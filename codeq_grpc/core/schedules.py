"""Schedules and firings as the calendar has them, and what is done with them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple


class Cause(IntEnum):
    """Why a schedule fired, by the numbers of the protocol."""

    TIME = 1
    TRIGGER = 2
    BACKFILL = 3


class Overlap(IntEnum):
    """What if a task of the schedule has not ended, by the numbers of the protocol."""

    ALLOW = 1
    SKIP = 2
    BUFFER_ONE = 3
    CANCEL_PREVIOUS = 4


class Misfire(IntEnum):
    """What of fire times that were missed, by the numbers of the protocol."""

    FIRE_ONCE = 1
    SKIP = 2
    FIRE_ALL = 3


PAUSED, SYSTEM, ENDED, FAILING = 1, 2, 4, 8
"""Flags of a row."""


class Mark(NamedTuple):
    """A schedule of this number (another one, if it was deleted and made again) at this version."""

    number: bytes
    version: int


ANY: Final = Mark(b"", 0)
"""Whatever it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSchedule:
    """What people set. `body` is their Schedule message; the rest is what scripts decide on or
    index. Without `next_ms` those times stay as they are: what changed is not when. `act_ms` is the
    fire time with its jitter; both 0 if there is none. They must be given for what is new, what is
    to go on after a pause, and what had ended. `paused` None leaves that as it is.
    """

    body: bytes
    command: str
    creator: str
    labels: tuple[tuple[str, str], ...] = ()
    overlap: Overlap = Overlap.ALLOW
    misfire: Misfire = Misfire.FIRE_ONCE
    grace_ms: int = 300_000
    max_firings: int = 0
    pause_after_failures: int = 0
    system: bool = False
    paused: bool | None = None
    pause_reason: str = ""
    next_ms: int | None = None
    act_ms: int = 0
    by: str = ""
    why: str = ""


class Row(NamedTuple):
    """A schedule as scripts have it. Times in Unix ms, 0 for none. `next_ms` is the fire time to be
    acted on at `act_ms`; `buffered_ms` one that waits for a task to end. `failing`: it paused
    itself, after failures. `decided` counts firings that were to have a task, whatever came of it;
    `max_firings` is held against it.
    """

    number: bytes
    flags: int
    overlap: int
    misfire: int
    version: int
    first_version: int
    grace_ms: int
    max_firings: int
    next_ms: int
    act_ms: int
    last_ms: int
    buffered_ms: int
    buffered_previous_ms: int
    buffered_cause: int
    pause_after_failures: int
    decided: int
    fired: int
    overlaps: int
    misfires: int
    refused: int
    completed: int
    failed: int
    failures_in_row: int
    run_ms: int
    pause_reason: str

    @property
    def paused(self) -> bool:
        """Nothing fires but what is triggered."""
        return bool(self.flags & PAUSED)

    @property
    def system(self) -> bool:
        """One of codeQ's own."""
        return bool(self.flags & SYSTEM)

    @property
    def ended(self) -> bool:
        """No fire time is left, or it fired as often as it may."""
        return bool(self.flags & ENDED)

    @property
    def failing(self) -> bool:
        """It paused itself."""
        return bool(self.flags & FAILING)

    @property
    def mark(self) -> Mark:
        """To be expected by the next change."""
        return Mark(self.number, self.version)


class Record(NamedTuple):
    """A version of a schedule: what people set, who made it so, when and why."""

    version: int
    at_ms: int
    by: str
    why: str
    body: bytes


class Stored(NamedTuple):
    """A schedule: its row, its current version, how many of its tasks have not ended."""

    row: Row
    record: Record
    open: int


class Put(NamedTuple):
    """The verdict, and the row after it."""

    word: bytes
    row: Row | None


class Pause(NamedTuple):
    """One to be paused or resumed; the times are for resuming, 0 if there is none left."""

    schedule_id: str
    expect: Mark = ANY
    next_ms: int = 0
    act_ms: int = 0


class Taken(NamedTuple):
    """A schedule that is due."""

    schedule_id: str
    stored: Stored


class Due(NamedTuple):
    """The store's time, when something is due next (0: never), and what is due."""

    now_ms: int
    next_ms: int
    taken: list[Taken]


class FireTime(NamedTuple):
    """One fire time, 0 for now, and the one before it, 0 if there was none."""

    fire_ms: int
    previous_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fire:
    """What to fire of one schedule, if it is as expected; oldest first.

    By TIME: `expected_next_ms` must be its next fire time, which becomes `next_ms`, to be acted on
    at `act_ms`; `missed` become firings that were skipped, newest ones of `misfires` in all.
    By TRIGGER: one time, now; what a `request_key` made within 24 h is answered again. By BACKFILL:
    fire times that have a firing with a task are left alone, the others fire whatever runs. These
    two leave the next time alone, and fire a paused schedule too.
    `checked`: the broker knows that the open firings have not ended (see BUSY).
    """

    schedule_id: str
    expect: Mark
    cause: Cause = Cause.TIME
    times: tuple[FireTime, ...] = ()
    missed: tuple[int, ...] = ()
    misfires: int = 0
    expected_next_ms: int = 0
    next_ms: int = 0
    act_ms: int = 0
    request_key: str = ""
    checked: bool = False


TO_ENQUEUE, OPEN, SKIPPED = 20, 21, 22
"""States of firings; the others are those of its ended task, or 0 if it was gone."""
SKIPPED_OVERLAP, SKIPPED_MISFIRE = "OVERLAP", "MISFIRE"


class Firing(NamedTuple):
    """One fire time and what came of it. A `place` is where it stands among those of its schedule.
    `task_id` is '' until it is known, `reason` that for which it was skipped. `version` is that of
    the schedule that it fires. `cancel`: its task is to be cancelled.
    """

    place: bytes
    name: bytes
    fire_ms: int
    actual_ms: int
    previous_ms: int
    cause: Cause
    state: int
    cancel: bool
    version: int
    task_id: str
    reason: str
    start_ms: int
    end_ms: int


class Made(NamedTuple):
    """A firing, and whether this call made it."""

    firing: Firing
    new: bool


class Fired(NamedTuple):
    """FIRED: each fire time has a firing in `made` (to be enqueued, or skipped), but for one that
    waits (BUFFER_ONE), and those beyond `max_firings`. CHANGED: the mark or the next time is not
    what was expected, or it is paused; ENDED: it has fired as often as it may. BUSY: nothing was
    done since firings are open, as far as the calendar knows, and the schedule is to SKIP or
    BUFFER_ONE: see whether their tasks have ended, `conclude` those, and fire again, `checked`.
    """

    word: bytes
    made: list[Made]
    open: list[Firing]
    buffered_ms: int


class Owed(NamedTuple):
    """A firing that is TO_ENQUEUE or to be cancelled, or both; the schedule as it is by now, and
    the version that it fires. It was taken till then.
    """

    schedule_id: str
    firing: Firing
    row: Row
    record: Record
    till_ms: int


class Settled(NamedTuple):
    """What came of what was owed to a firing: it has a `task_id`; or it was skipped for a `reason`;
    or it is to be tried again at `again_ms`; or, without any, its task was asked to end.
    """

    name: bytes
    task_id: str = ""
    reason: str = ""
    again_ms: int = 0


class Ended(NamedTuple):
    """How and when the task of a firing ended; state 0 if it is gone."""

    name: bytes
    task_id: str
    state: int
    start_ms: int = 0
    end_ms: int = 0


class Pruned(NamedTuple):
    """How many entries a step removed; where to go on, empty at the end."""

    removed: int
    cursor: bytes
