"""Which tasks are meant: filters and selectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from codeq_grpc.core import limits
from codeq_grpc.core.errors import InvalidField
from codeq_grpc.core.records import Filter
from codeq_grpc.core.task import TaskState
from codeq_grpc.wire.checks import (
    check_command,
    check_count,
    check_labels,
    check_text,
    timestamp_ms,
)

if TYPE_CHECKING:
    from collections.abc import Sequence, Set as AbstractSet


def states_of(
    states: Sequence[int], path: str, allowed: AbstractSet[TaskState]
) -> frozenset[TaskState]:
    """States that are allowed here."""
    if len(states) > limits.STATES:
        raise InvalidField.at(path, f"must have at most {limits.STATES} entries")
    for i, state in enumerate(states):
        if state not in allowed:
            names = ", ".join(sorted(state.name for state in allowed))
            raise InvalidField.at(f"{path}[{i}]", f"must be one of {names}")
    return frozenset(map(TaskState, states))


def filter_of(
    message: pb.TaskFilter, path: str, allowed: AbstractSet[TaskState] = frozenset(TaskState)
) -> Filter:
    """A checked filter; without states, all that are allowed."""
    check_command(message.command, f"{path}.command")
    states = states_of(message.states, f"{path}.states", allowed)
    check_labels(message.labels, f"{path}.labels")
    check_text(message.worker_id, f"{path}.worker_id", limits.WORKER_ID_CHARS)
    check_text(message.error_type, f"{path}.error_type", limits.ERROR_TYPE_CHARS)
    after = before = 0
    if message.HasField("create_time_after"):
        after = max(1, timestamp_ms(message.create_time_after, f"{path}.create_time_after"))
    if message.HasField("create_time_before"):
        before = max(1, timestamp_ms(message.create_time_before, f"{path}.create_time_before"))
    return Filter(
        message.command,
        frozenset(map(int, states or allowed)),
        tuple(sorted(message.labels.items())),
        message.worker_id,
        after,
        before,
        # As the first field of a serialised TaskError.
        task_pb2.TaskError(type=message.error_type).SerializeToString(),
    )


def check_selector(selector: pb.TaskSelector) -> None:
    """By ids or by filter, not both, and not neither."""
    by_filter = selector.HasField("filter")
    if by_filter and selector.task_ids:
        raise InvalidField.at("selector.filter", "must not be set together with task_ids")
    if not by_filter and not 1 <= len(selector.task_ids) <= limits.SELECTED_TASKS:
        problem = f"must have 1 to {limits.SELECTED_TASKS} entries, if filter is not set"
        raise InvalidField.at("selector.task_ids", problem)
    for name, is_set in (("limit", selector.limit), ("page_token", selector.page_token)):
        if is_set and not by_filter:
            raise InvalidField.at(f"selector.{name}", "must not be set without filter")


def selected(selector: pb.TaskSelector, allowed: AbstractSet[TaskState]) -> tuple[Filter, str, int]:
    """Filter, page token and limit of a selector that has a filter."""
    most = limits.SELECTED_TASKS
    limit = check_count(selector.limit, "selector.limit", most, most)
    token = check_text(selector.page_token, "selector.page_token", limits.PAGE_TOKEN_CHARS)
    return filter_of(selector.filter, "selector.filter", allowed), token, limit


def matches(task: task_pb2.Task, wanted: Filter) -> bool:
    """Whether a task that changed is one of those asked for."""
    created = task.create_time.ToMilliseconds()
    kind = task_pb2.TaskError(type=task.error.type).SerializeToString()
    return (
        task.state in wanted.states
        and all(task.spec.labels.get(key) == value for key, value in wanted.labels)
        and wanted.worker_id in {"", task.worker_id}
        and created >= wanted.created_from_ms
        and (not wanted.created_before_ms or created < wanted.created_before_ms)
        and wanted.error_prefix in {b"", kind}
    )
