"""What must hold of tasks that were cancelled, redriven, wait for others, or expire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq.v1 import task_pb2
from tests.faults.asking import ms_of, number_in
from tests.faults.evidence import SLACK_MS, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.evidence import Evidence

_COMPLETED = task_pb2.TASK_STATE_COMPLETED
_CANCELLED = task_pb2.TASK_STATE_CANCELLED
_EXPIRED = task_pb2.TASK_STATE_EXPIRED


def cancelled(evidence: Evidence) -> Iterator[Violation]:
    """What no worker held is CANCELLED for good; what one held is, too, unless it completes.
    Nothing else becomes CANCELLED. A redrive makes all that void.
    """
    for task_id, task in evidence.tasks.items():
        state = task_pb2.TaskState.Name(task.state)
        cancels = evidence.cancels.get(task_id, [])
        if task.state == _CANCELLED and not cancels:
            yield Violation("cancelled", task_id, "nobody asked for that")
        for op in cancels:
            ends = {_CANCELLED} if op.state == "CANCELLED" else {_CANCELLED, _COMPLETED}
            if not op.ok or evidence.may_be_redriven(task_id, op.start_ns, float("inf")):
                continue
            if task.state not in ends:
                yield Violation("cancelled", task_id, f"{op.state}, and ended {state}")
            latest_ms = evidence.history.wall(op.last_ns) + SLACK_MS
            claims = evidence.claims.get(task_id, [])
            late = [one for one in claims if one.store_ms > latest_ms and not one.capped]
            if late and not evidence.skewed:
                text = f"claimed under {late[0].fence} after it was {op.state}"
                yield Violation("cancelled", task_id, text)


def dependent(evidence: Evidence) -> Iterator[Violation]:
    """None is claimed before that which it waits for has completed, unless it was redriven."""
    for task_id, claims in evidence.claims.items():
        asked = evidence.asked.get(claims[0].number)
        if asked is None or not asked.parent or task_id in evidence.redrives:
            continue
        parent = evidence.tasks.get(asked.parent)
        if parent is None or parent.state != _COMPLETED:
            yield Violation("dependent", task_id, f"claimed, and {asked.parent} did not complete")
        elif claims[0].store_ms < ms_of(parent.end_time) and not evidence.skewed:
            yield Violation("dependent", task_id, f"claimed before {asked.parent} completed")


def expiring(evidence: Evidence) -> Iterator[Violation]:
    """Nothing expires that is not to, or before its time; nothing is claimed or completed after,
    unless it was redriven.
    """
    for task_id, task in evidence.tasks.items():
        asked = evidence.asked.get(number_in(task.spec))
        expire_ms = asked.expire_ms if asked is not None else 0
        if task.state == _EXPIRED and not 0 < expire_ms <= ms_of(task.end_time):
            text = f"expired at {ms_of(task.end_time)}, was to at {expire_ms}"
            yield Violation("expiring", task_id, text)
        if not expire_ms or task_id in evidence.redrives:
            continue
        if task.state == _COMPLETED and ms_of(task.end_time) >= expire_ms:
            yield Violation("expiring", task_id, "completed after its expire_time")
        for claim in evidence.claims.get(task_id, []):
            if claim.store_ms >= expire_ms and not claim.capped:
                text = f"claimed under {claim.fence} after its expire_time"
                yield Violation("expiring", task_id, text)
