"""Values of enums, by themselves or by the short names that people use."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from codeq.v1.schedule_service_pb2 import MisfirePolicy, OverlapPolicy
from codeq.v1.task_pb2 import ConflictPolicy, TaskState

if TYPE_CHECKING:
    from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper


def state(value: TaskState | str) -> TaskState:
    """A state of tasks: itself, or by name, e.g. "in_progress".

    Raises:
        ValueError: There is no such state.
    """
    return cast("TaskState", _value(TaskState, value))


def conflict_policy(value: ConflictPolicy | str) -> ConflictPolicy:
    """A conflict policy: itself, or "use_existing", "fail" or "replace".

    Raises:
        ValueError: There is no such policy.
    """
    return cast("ConflictPolicy", _value(ConflictPolicy, value))


def overlap_policy(value: OverlapPolicy | str) -> OverlapPolicy:
    """An overlap policy: itself, or "allow", "skip", "buffer_one" or "cancel_previous".

    Raises:
        ValueError: There is no such policy.
    """
    return cast("OverlapPolicy", _value(OverlapPolicy, value))


def misfire_policy(value: MisfirePolicy | str) -> MisfirePolicy:
    """A misfire policy: itself, or "fire_once", "skip" or "fire_all".

    Raises:
        ValueError: There is no such policy.
    """
    return cast("MisfirePolicy", _value(MisfirePolicy, value))


def _value(kind: EnumTypeWrapper, value: int | str) -> int:
    if not isinstance(value, str):
        return value
    prefix = kind.Name(0).removesuffix("UNSPECIFIED")
    known = {name.removeprefix(prefix).lower(): number for name, number in kind.items() if number}
    if value.lower() not in known:
        raise ValueError(f"{value!r} is none of {', '.join(known)}")
    return known[value.lower()]
