"""The life of a task: its states and every way from one to the next.

Everything that affects the state machine is in this file. The scripts in `store/lua` carry
the transitions out, one script call each; tests and docs/state-machine.md are made from
`TRANSITIONS`.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple


class TaskState(enum.IntEnum):
    """As in `codeq.v1.TaskState`; the number is also what the store keeps."""

    BLOCKED = 1
    SCHEDULED = 2
    PENDING = 3
    IN_PROGRESS = 4
    COMPLETED = 5
    FAILED = 6
    CANCELLED = 7
    EXPIRED = 8


class Ending(enum.IntEnum):
    """How the latest attempt ended; the store keeps it to know a repeated report."""

    NONE = 0
    COMPLETE = 1
    FAIL = 2
    ABANDON = 3
    EXPIRE = 4


class Conflict(enum.IntEnum):
    """As in `codeq.v1.ConflictPolicy`; the number is also what the scripts are told."""

    USE_EXISTING = 1
    FAIL = 2
    REPLACE = 3


TERMINAL: Final = frozenset(
    {TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED, TaskState.EXPIRED}
)
REDRIVABLE: Final = TERMINAL - {TaskState.COMPLETED}
UNHELD: Final = (TaskState.BLOCKED, TaskState.SCHEDULED, TaskState.PENDING)


class Transition(NamedTuple):
    """One arrow: `source` is None for a task that did not exist, `target` for one deleted."""

    source: TaskState | None
    event: str
    target: TaskState | None
    counts: int | None
    """What it adds to `attempt`; None sets it to 0."""


_BLOCKED, _SCHEDULED, _PENDING = UNHELD
_HELD = TaskState.IN_PROGRESS

TRANSITIONS: Final = (
    Transition(None, "enqueue", _PENDING, 0),
    Transition(None, "enqueue later", _SCHEDULED, 0),
    Transition(None, "enqueue behind others", _BLOCKED, 0),
    *(Transition(a, "replace", b, None) for a in UNHELD for b in (_SCHEDULED, _PENDING)),
    Transition(_BLOCKED, "last dependency completes", _PENDING, 0),
    Transition(_BLOCKED, "last dependency completes, run_time to come", _SCHEDULED, 0),
    Transition(_BLOCKED, "a dependency does not complete", TaskState.FAILED, 0),
    Transition(_SCHEDULED, "promote", _PENDING, 0),
    Transition(_PENDING, "claim", _HELD, +1),
    Transition(_HELD, "heartbeat", _HELD, 0),
    Transition(_HELD, "complete", TaskState.COMPLETED, 0),
    Transition(_HELD, "fail, retry at once", _PENDING, 0),
    Transition(_HELD, "fail, retry later", _SCHEDULED, 0),
    Transition(_HELD, "fail for good", TaskState.FAILED, 0),
    Transition(_HELD, "abandon", _PENDING, -1),
    Transition(_HELD, "abandon, keep back", _SCHEDULED, -1),
    Transition(_HELD, "lease expires", _PENDING, 0),
    Transition(_HELD, "last lease expires", TaskState.FAILED, 0),
    Transition(_HELD, "cancel", _HELD, 0),
    Transition(_HELD, "fail, to be cancelled", TaskState.CANCELLED, 0),
    Transition(_HELD, "abandon, to be cancelled", TaskState.CANCELLED, -1),
    Transition(_HELD, "lease expires, to be cancelled", TaskState.CANCELLED, 0),
    Transition(_HELD, "expire", TaskState.EXPIRED, 0),
    *(Transition(state, "cancel", TaskState.CANCELLED, 0) for state in UNHELD),
    *(Transition(state, "purge", TaskState.CANCELLED, 0) for state in UNHELD),
    *(Transition(state, "expire", TaskState.EXPIRED, 0) for state in UNHELD),
    *(
        transition
        for state in sorted(REDRIVABLE)
        for transition in (
            Transition(state, "redrive", _PENDING, None),
            Transition(state, "redrive later", _SCHEDULED, None),
        )
    ),
    *(Transition(state, "prune", None, 0) for state in sorted(TERMINAL)),
)
