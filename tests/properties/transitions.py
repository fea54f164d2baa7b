"""Which transitions a queue went through, told from what was there before and after a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from codeq_grpc.core.task import TRANSITIONS, Ending, TaskState, Transition
from tests.support.snapshot import PARKED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.support.snapshot import Meta, Snapshot

EVENTS: Final = {
    ("enqueue", TaskState.PENDING): "enqueue",
    ("enqueue", TaskState.SCHEDULED): "enqueue later",
    ("enqueue", TaskState.BLOCKED): "enqueue behind others",
    ("promote", TaskState.PENDING): "promote",
    ("claim", TaskState.IN_PROGRESS): "claim",
    ("heartbeat", TaskState.IN_PROGRESS): "heartbeat",
    (Ending.COMPLETE, TaskState.COMPLETED): "complete",
    (Ending.FAIL, TaskState.PENDING): "fail, retry at once",
    (Ending.FAIL, TaskState.SCHEDULED): "fail, retry later",
    (Ending.FAIL, TaskState.FAILED): "fail for good",
    (Ending.FAIL, TaskState.CANCELLED): "fail, to be cancelled",
    (Ending.ABANDON, TaskState.PENDING): "abandon",
    (Ending.ABANDON, TaskState.SCHEDULED): "abandon, keep back",
    (Ending.ABANDON, TaskState.CANCELLED): "abandon, to be cancelled",
    ("reap", TaskState.PENDING): "lease expires",
    ("reap", TaskState.FAILED): "last lease expires",
    ("reap", TaskState.CANCELLED): "lease expires, to be cancelled",
    ("reap", TaskState.EXPIRED): "expire",
    ("cancel", TaskState.CANCELLED): "cancel",
    ("cancel", TaskState.IN_PROGRESS): "cancel",
    ("purge", TaskState.CANCELLED): "purge",
    ("redrive", TaskState.PENDING): "redrive",
    ("redrive", TaskState.SCHEDULED): "redrive later",
    ("deliver", TaskState.PENDING): "last dependency completes",
    ("deliver", TaskState.SCHEDULED): "last dependency completes, run_time to come",
    ("deliver", TaskState.FAILED): "a dependency does not complete",
    ("prune", None): "prune",
}
"""Call and the state that it led to -> the word of the table."""

PROMOTE: Final = Transition(TaskState.SCHEDULED, "promote", TaskState.PENDING, 0)
_STAYING: Final = {"heartbeat", "enqueue"}
"""Calls that are transitions of a task though its state is the same."""
_RENEWING: Final = {"replace", "redrive", "redrive later"}

Call = str | Ending


def _state(snapshot: Snapshot, name: bytes) -> TaskState | None:
    """As callers see it."""
    state = snapshot.state(name)
    return TaskState(state) if state else None


def _of_task(
    call: Call, source: TaskState | None, target: TaskState | None, counts: int
) -> Iterator[Transition]:
    if call == "claim" and source == TaskState.SCHEDULED:
        yield PROMOTE
        if target == TaskState.PENDING:
            return
        source = TaskState.PENDING
    event = EVENTS.get((call, target), f"{call!r} -> {target!r}")
    if call == "enqueue" and source is not None:
        event = "replace"
    yield Transition(source, event, target, None if event in _RENEWING else counts)


def transitions(
    call: str, endings: Mapping[bytes, Ending], before: Snapshot, after: Snapshot
) -> Iterator[Transition]:
    """Of every task that a call changed; `endings` has those that a report ended."""
    for name in before.metas.keys() | after.metas.keys():
        old, new = before.metas.get(name), after.metas.get(name)
        source, target = _state(before, name), _state(after, name)
        if old == new and source == target:
            continue
        if source == target and (call not in _STAYING | {"cancel"} or _let_in(old, new)):
            continue  # parked or let in, followed, or swept
        counts = new.attempt - (old.attempt if old else 0) if new else 0
        yield from _of_task(endings.get(name, call), source, target, counts)


def _let_in(old: Meta | None, new: Meta | None) -> bool:
    """Whether all that changed is that a task may take its concurrency key now."""
    return (
        old is not None
        and new is not None
        and old.has(PARKED)
        and not new.has(PARKED)
        and (old._replace(flags=0, changed_ms=0) == new._replace(flags=0, changed_ms=0))
    )


def outside_the_table(seen: set[Transition]) -> set[Transition]:
    """What `core/task.py` does not allow."""
    return seen - set(TRANSITIONS)
