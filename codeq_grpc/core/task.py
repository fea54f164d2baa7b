"""The life of a task: its states and every way from one to the next.

Everything that affects the state machine is in this file. The scripts in `store/lua` carry
the transitions out, one script call each; tests are made from `TRANSITIONS`.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple


class TaskState(enum.IntEnum):
    """As in `codeq.v1.TaskState`; the number is also what the store keeps."""

    SCHEDULED = 2
    PENDING = 3
    IN_PROGRESS = 4
    COMPLETED = 5
    FAILED = 6


class Ending(enum.IntEnum):
    """How the latest attempt ended; the store keeps it to know a repeated report."""

    NONE = 0
    COMPLETE = 1
    FAIL = 2
    ABANDON = 3
    EXPIRE = 4


TERMINAL: Final = frozenset({TaskState.COMPLETED, TaskState.FAILED})


class Transition(NamedTuple):
    """One arrow: `source` is None for a task that did not exist, `target` for one deleted."""

    source: TaskState | None
    event: str
    target: TaskState | None
    counts: int
    """What it adds to `attempt`."""


TRANSITIONS: Final = (
    Transition(None, "enqueue", TaskState.PENDING, 0),
    Transition(None, "enqueue later", TaskState.SCHEDULED, 0),
    Transition(TaskState.SCHEDULED, "promote", TaskState.PENDING, 0),
    Transition(TaskState.PENDING, "claim", TaskState.IN_PROGRESS, +1),
    Transition(TaskState.IN_PROGRESS, "heartbeat", TaskState.IN_PROGRESS, 0),
    Transition(TaskState.IN_PROGRESS, "complete", TaskState.COMPLETED, 0),
    Transition(TaskState.IN_PROGRESS, "fail, retry at once", TaskState.PENDING, 0),
    Transition(TaskState.IN_PROGRESS, "fail, retry later", TaskState.SCHEDULED, 0),
    Transition(TaskState.IN_PROGRESS, "fail for good", TaskState.FAILED, 0),
    Transition(TaskState.IN_PROGRESS, "abandon", TaskState.PENDING, -1),
    Transition(TaskState.IN_PROGRESS, "abandon, keep back", TaskState.SCHEDULED, -1),
    Transition(TaskState.IN_PROGRESS, "lease expires", TaskState.PENDING, 0),
    Transition(TaskState.IN_PROGRESS, "last lease expires", TaskState.FAILED, 0),
    Transition(TaskState.COMPLETED, "prune", None, 0),
    Transition(TaskState.FAILED, "prune", None, 0),
)
