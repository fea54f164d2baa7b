"""What becomes of an old task: rules, nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from codeq_grpc.core import limits
from codeq_grpc.legacy.keyspace import Place
from codeq_grpc.legacy.tasks import OldTask, Unreadable, read

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

KEY_PREFIX: Final = "legacy/"
"""Of the idempotency key of a task that had none."""
LABEL: Final = "legacy.id"
_ID_CHARS: Final = min(limits.LABEL_VALUE_CHARS, limits.IDEMPOTENCY_KEY_CHARS - len(KEY_PREFIX))
_STATUSES: Final = ("PENDING", "IN_PROGRESS", "COMPLETED", "FAILED")
_HEADERS: Final = {
    "traceParent": "traceparent",
    "traceState": "tracestate",
    "createdAt": "legacy-created-at",
    "error": "legacy-error",
    "webhook": "legacy-webhook",
}

MOVE: Final = "move"
LEAVE: Final = "leave"
REFUSE: Final = "refuse"

Ended = Literal["fail", "enqueue", "leave"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the operator wants."""

    in_progress: Literal["wait", "end", "leave"] = "wait"
    dead_letters: Ended = "fail"
    failed: Ended = "leave"
    attempts: Literal["intended", "actual"] = "intended"
    commands: Mapping[str, str] = field(default_factory=dict)
    """Old command -> new one, where they differ."""
    tenants: Collection[str] = ("",)
    """Those that are moved; `*` is any."""


class Standing(NamedTuple):
    """What an old store says about an id besides its record."""

    place: Place = Place.NOWHERE
    due_ms: int = 0
    lease_ms: int = 0
    """What is left of the lease, 0 for none."""


class Move(NamedTuple):
    """A task for codeQ."""

    command: str
    tenant: str
    payload: bytes
    content_type: str
    priority: int
    max_attempts: int
    """0: what the queue says."""
    run_time_ms: int
    delay_ms: int
    headers: dict[str, str]
    is_dead: bool
    """It is to be a dead letter."""


class Decision(NamedTuple):
    """What becomes of one id, and how that is counted."""

    command: str
    state: str
    verdict: str
    reason: str = ""
    detail: str = ""
    move: Move | None = None
    created_ms: int = 0


def decide(raw: bytes | None, task_id: bytes, standing: Standing, choices: Choices) -> Decision:
    """Of an id with its record, if it has one."""
    if raw is None:
        return Decision("", "missing", LEAVE, "NO_RECORD", "stands in a queue, has no record")
    try:
        task = read(raw)
    except Unreadable as error:
        return Decision("", "unreadable", REFUSE, "BAD_RECORD", str(error))
    state = _state(task, standing)
    verdict, reason, detail = _verdict(task, task_id, state, choices)
    move = None
    if verdict == MOVE:
        move = _move(task, task_id, state, standing, choices)
    return Decision(task.command, state, verdict, reason, detail, move, task.created_ms)


def _state(task: OldTask, standing: Standing) -> str:
    """The first that holds: the old programs changed status and queues one after the other, so
    that a crash of theirs, or a race, left them at odds.
    """
    place, running = standing.place, task.status == "IN_PROGRESS"
    states = {
        "completed": task.status == "COMPLETED",
        "dead_letter": bool(place & Place.DEAD),
        "failed": task.status == "FAILED",
        "unknown": task.status not in _STATUSES and not place,
        "in_progress": running and standing.lease_ms > 0,
        "pending": bool(place & Place.PENDING),
        "delayed": bool(place & Place.DELAYED),
        # Its lease is over, or its worker died before it had one.
        "retry": running or bool(place & Place.IN_PROGRESS),
    }
    return next((state for state, holds in states.items() if holds), "orphan")


def _verdict(task: OldTask, task_id: bytes, state: str, choices: Choices) -> tuple[str, str, str]:
    if state == "unknown":
        return REFUSE, "UNKNOWN_STATUS", f"status {task.status[:40]!r}, and in no queue"
    how: str = {
        "completed": "leave",
        "failed": choices.failed,
        "dead_letter": choices.dead_letters,
        "in_progress": choices.in_progress,
    }.get(state, "enqueue")
    if how == "leave":
        return LEAVE, "", ""
    if task.tenant not in choices.tenants and "*" not in choices.tenants:
        return REFUSE, "OTHER_TENANT", f"of tenant {task.tenant!r}, which is not mapped"
    try:
        known = task_id.decode()
    except ValueError:
        return REFUSE, "BAD_ID", "the id is not UTF-8"
    if not known or "\0" in known or len(known) > _ID_CHARS:
        return REFUSE, "BAD_ID", f"the id is not 1 to {_ID_CHARS} characters without NUL"
    return MOVE, "", ""


def _move(task: OldTask, task_id: bytes, state: str, standing: Standing, choices: Choices) -> Move:
    ended = state in {"dead_letter", "failed"}
    honoured = state == "in_progress" and choices.in_progress == "wait"
    how = choices.dead_letters if state == "dead_letter" else choices.failed
    headers = {"legacy-id": task_id.decode()}
    for name, header in _HEADERS.items():
        if name in task.more:
            headers[header] = task.more[name][: limits.HEADER_VALUE_CHARS]
    if task.attempts:
        headers["legacy-attempts"] = str(task.attempts)
    return Move(
        command=choices.commands.get(task.command, task.command),
        tenant=task.tenant,
        payload=task.payload.data,
        content_type="" if task.payload.is_json else "text/plain; charset=utf-8",
        priority=task.priority,
        max_attempts=_attempts(task, choices, fresh=ended),
        run_time_ms=standing.due_ms if state == "delayed" else 0,
        delay_ms=standing.lease_ms if honoured else 0,
        headers=headers,
        is_dead=ended and how == "fail",
    )


def _attempts(task: OldTask, choices: Choices, *, fresh: bool) -> int:
    """The old programs counted a claim that failed twice: with the claim and with its end."""
    if not task.max_attempts:
        return 0
    allowed = task.max_attempts
    if choices.attempts == "actual":
        allowed = -(-allowed // 2)
    used = 0 if fresh else -(-task.attempts // 2)
    return min(limits.ATTEMPTS_MAX, max(1, allowed - used))
