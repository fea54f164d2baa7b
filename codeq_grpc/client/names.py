"""Values of enums, by themselves or by the short names that people use."""

from __future__ import annotations

from typing import cast

from codeq.v1.schedule_service_pb2 import MisfirePolicy, OverlapPolicy
from codeq.v1.task_pb2 import ConflictPolicy, TaskState


def state(value: TaskState | str) -> TaskState:
    """A state of tasks: itself, or by name, e.g. "in_progress".

    Raises:
        ValueError: There is no such state.
    """
    if isinstance(value, str):
        return cast("TaskState", TaskState.Value(f"TASK_STATE_{value.upper()}"))
    return value


def conflict_policy(value: ConflictPolicy | str) -> ConflictPolicy:
    """A conflict policy: itself, or "use_existing", "fail" or "replace".

    Raises:
        ValueError: There is no such policy.
    """
    if isinstance(value, str):
        return cast("ConflictPolicy", ConflictPolicy.Value(f"CONFLICT_POLICY_{value.upper()}"))
    return value


def overlap_policy(value: OverlapPolicy | str) -> OverlapPolicy:
    """An overlap policy: itself, or "allow", "skip", "buffer_one" or "cancel_previous".

    Raises:
        ValueError: There is no such policy.
    """
    if isinstance(value, str):
        return cast("OverlapPolicy", OverlapPolicy.Value(f"OVERLAP_POLICY_{value.upper()}"))
    return value


def misfire_policy(value: MisfirePolicy | str) -> MisfirePolicy:
    """A misfire policy: itself, or "fire_once", "skip" or "fire_all".

    Raises:
        ValueError: There is no such policy.
    """
    if isinstance(value, str):
        return cast("MisfirePolicy", MisfirePolicy.Value(f"MISFIRE_POLICY_{value.upper()}"))
    return value
