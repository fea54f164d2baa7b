"""Which transitions a queue went through, told from what was there before and after a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from codeq_grpc.core.task import TRANSITIONS, Ending, TaskState, Transition

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.support.snapshot import Meta, Snapshot

EVENTS: Final = {
    ("enqueue", TaskState.PENDING): "enqueue",
    ("enqueue", TaskState.SCHEDULED): "enqueue later",
    ("promote", TaskState.PENDING): "promote",
    ("claim", TaskState.IN_PROGRESS): "claim",
    ("heartbeat", TaskState.IN_PROGRESS): "heartbeat",
    (Ending.COMPLETE, TaskState.COMPLETED): "complete",
    (Ending.FAIL, TaskState.PENDING): "fail, retry at once",
    (Ending.FAIL, TaskState.SCHEDULED): "fail, retry later",
    (Ending.FAIL, TaskState.FAILED): "fail for good",
    (Ending.ABANDON, TaskState.PENDING): "abandon",
    (Ending.ABANDON, TaskState.SCHEDULED): "abandon, keep back",
    ("reap", TaskState.PENDING): "lease expires",
    ("reap", TaskState.FAILED): "last lease expires",
    ("prune", None): "prune",
}
"""Call and the state that it led to -> the word of the table."""

PROMOTE: Final = Transition(TaskState.SCHEDULED, "promote", TaskState.PENDING, 0)

Call = str | Ending


def _state(meta: Meta | None) -> TaskState | None:
    return None if meta is None else TaskState(meta.state)


def _of_task(call: Call, before: Meta | None, after: Meta | None) -> Iterator[Transition]:
    source, target = _state(before), _state(after)
    counts = after.attempt - (before.attempt if before else 0) if after else 0
    if call == "claim" and source == TaskState.SCHEDULED:
        yield PROMOTE
        if target == TaskState.PENDING:
            return
        source = TaskState.PENDING
    yield Transition(source, EVENTS.get((call, target), f"{call!r} -> {target!r}"), target, counts)


def transitions(
    call: str, endings: Mapping[bytes, Ending], before: Snapshot, after: Snapshot
) -> Iterator[Transition]:
    """Of every task that a call changed; `endings` has those that a report ended."""
    for name in before.metas.keys() | after.metas.keys():
        old, new = before.metas.get(name), after.metas.get(name)
        if old != new:
            yield from _of_task(endings.get(name, call), old, new)


def outside_the_table(seen: set[Transition]) -> set[Transition]:
    """What `core/task.py` does not allow."""
    return seen - set(TRANSITIONS)
