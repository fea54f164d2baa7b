"""codeQ's own schedules, and the messages of what comes of their tasks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from codeq.v1 import schedule_service_pb2 as pb
from codeq.v1.task_pb2 import Payload, TaskError

if TYPE_CHECKING:
    from collections.abc import Mapping

PRUNE_TASKS: Final = "codeq.prune-tasks"
PRUNE_HISTORY: Final = "codeq.prune-history"
CHECK: Final = "codeq.check"
HEALTH: Final = "codeq.health"
REVISION: Final = 1
"""Of the schedules below, one more with each change of any: while servers of two versions are up,
the later ones stand.
"""
_LABEL: Final = "revision"


class _Chore(NamedTuple):
    cron: str
    description: str
    timeout: int
    """Seconds."""


_CHORES: Final = {
    PRUNE_TASKS: _Chore(
        "@hourly", "Deletes tasks that ended longer ago than their retention, in all queues.", 1_800
    ),
    PRUNE_HISTORY: _Chore(
        "15 * * * *", "Forgets firings and events of the audit trail that are too old.", 1_800
    ),
    CHECK: _Chore(
        "30 3 * * *",
        "Looks at every index of every queue and calendar, as codeq doctor does; mends nothing. Its"
        " task fails when something is wrong.",
        7_200,
    ),
    HEALTH: _Chore("*/5 * * * *", "Notes how the server and the store are.", 60),
}
COMMANDS: Final = tuple(_CHORES)


def system_schedules() -> list[pb.Schedule]:
    """Each fires a task of the command that is its id."""
    schedules = []
    for name, chore in _CHORES.items():
        made = pb.Schedule(
            schedule_id=name,
            description=chore.description,
            overlap_policy=pb.OVERLAP_POLICY_SKIP,
            misfire_policy=pb.MISFIRE_POLICY_FIRE_ONCE,
            labels={_LABEL: str(REVISION)},
        )
        made.spec.crons.append(chore.cron)
        made.spec.jitter.FromSeconds(30)
        made.task.command = name
        made.task.payload.content_type = "application/json"
        made.task.payload.data = b"{}"
        made.task.attempt_timeout.FromSeconds(chore.timeout)
        schedules.append(made)
    return schedules


def revision_of(body: bytes) -> int:
    """Of a stored schedule of codeQ's own."""
    text = pb.Schedule.FromString(body).labels.get(_LABEL, "")
    return int(text) if text.isdecimal() else 0


def result(found: Mapping[str, Any]) -> bytes:
    """Of a chore that is done."""
    data = json.dumps(found, sort_keys=True, default=str).encode()
    return Payload(content_type="application/json", data=data).SerializeToString()


def failure(kind: str, message: str) -> bytes:
    """Of one that is not."""
    return TaskError(type=kind, message=message[:1_024]).SerializeToString()
