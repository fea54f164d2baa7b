"""What passes between the rooms about schedules and their firings: plain tuples.

Times are Unix milliseconds of the store's clock, 0 for none. Bodies are serialised Schedule
messages, as people set them, that no room but `wire` opens.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple


class Overlap(enum.IntEnum):
    """As in `codeq.v1.OverlapPolicy`; the number is also what the scripts are told."""

    ALLOW = 1
    SKIP = 2
    BUFFER_ONE = 3
    CANCEL_PREVIOUS = 4


class Misfire(enum.IntEnum):
    """As in `codeq.v1.MisfirePolicy`."""

    FIRE_ONCE = 1
    SKIP = 2
    FIRE_ALL = 3


class Cause(enum.IntEnum):
    """As in `codeq.v1.FiringCause`."""

    TIME = 1
    TRIGGER = 2
    BACKFILL = 3


TO_ENQUEUE: Final = 0
"""State of a firing: its task is owed. Else that of its task as last heard of, a TaskState; one
that has not ended counts as PENDING."""
SKIPPED: Final = 255
"""State of a firing that has no task."""
OVERLAPPED: Final = "OVERLAP"
MISFIRED: Final = "MISFIRE"
"""Why a firing was skipped; else the reason of the error that refused its task."""


class Terms(NamedTuple):
    """What scripts keep to, of what people set."""

    overlap: Overlap
    misfire: Misfire
    grace_ms: int
    max_firings: int
    pause_after_failures: int
    paused: bool = False
    pause_reason: str = ""
    system: bool = False


class NewSchedule(NamedTuple):
    """A schedule, or a version of one, to be stored: `index` are the entries of `v` without the id,
    `next_ms` and `act_ms` its next fire time and when to look at it, 0 if it has none, -1 for those
    it has.
    """

    body: bytes
    terms: Terms
    index: tuple[bytes, ...]
    next_ms: int
    act_ms: int
    who: str
    why: str = ""


class ScheduleRow(NamedTuple):
    """What the store knows of a schedule; `number` is that of this incarnation, 7 bytes."""

    number: bytes
    version: int
    terms: Terms
    ended: bool
    next_ms: int
    act_ms: int
    last_ms: int
    buffered_ms: int
    fired: int
    overlapped: int
    misfired: int
    refused: int
    completed: int
    failed: int
    failures_in_row: int
    run_ms: int
    open: int
    created_by: str
    created_ms: int
    updated_ms: int


class StoredSchedule(NamedTuple):
    """One schedule."""

    schedule_id: str
    row: ScheduleRow
    body: bytes


class StoredVersion(NamedTuple):
    """A schedule as it was, and whose doing that was."""

    version: int
    body: bytes
    who: str
    changed_ms: int
    why: str


class FireTime(NamedTuple):
    """A fire time to act on, and the one before it."""

    fire_ms: int
    previous_ms: int = 0
    cause: Cause = Cause.TIME


class Fire(NamedTuple):
    """What to do to one schedule, if it has this version and, unless `expected_next` is -1, this
    next fire time. `misfired` are the latest of so many that are dropped. Without `sure`, nothing
    is done where open tasks decide (BUSY): they may have ended by now, which `conclude` tells. A
    request `key` that is known gives the firing that it gave before.
    """

    schedule_id: str
    version: int
    times: tuple[FireTime, ...]
    expected_next: int = -1
    new_next: int = 0
    new_act: int = 0
    misfired: tuple[int, ...] = ()
    misfired_count: int = 0
    sure: bool = False
    key: bytes = b""


class Firing(NamedTuple):
    """A firing as it is stored; `schedule` is the number of its schedule."""

    name: bytes
    schedule: bytes
    fire_ms: int
    actual_ms: int
    previous_ms: int
    cause: Cause
    state: int
    version: int
    task_id: str = ""
    skip_reason: str = ""
    start_ms: int = 0
    end_ms: int = 0


class Fired(NamedTuple):
    """What came of a Fire: FIRED, CHANGED, or BUSY; the firings that were made, also those that
    were skipped; open ones: those in the way if BUSY, those to cancel if FIRED.
    """

    word: bytes
    firings: list[Firing]
    open: list[tuple[bytes, str]]
