"""Which tasks: by what they have in common, or by their ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from codeq.v1.codeq_service_pb2 import TaskFilter, TaskSelector
from codeq_grpc.client import names, options as keywords
from codeq_grpc.client.specs import aware

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from typing import Unpack

    from codeq.v1.task_pb2 import TaskState


class FilterOptions(TypedDict, total=False):
    """What tasks of a queue may have in common; all that is given must hold."""

    states: Iterable[TaskState | str]
    """Any of these, e.g. "failed"; none means all."""
    labels: Mapping[str, str] | None
    """All of these labels."""
    worker_id: str
    """Held by this worker, or last held."""
    error_type: str
    """Type of the latest error."""
    created_after: datetime | None
    """Enqueued at or after this aware time."""
    created_before: datetime | None
    """Enqueued before this aware time."""


def task_filter(command: str, **options: Unpack[FilterOptions]) -> TaskFilter:
    """The tasks of one queue that have all of this.

    Raises:
        TypeError: There is no such option.
        ValueError: A time is naive, or there is no such state.
    """
    keywords.check(options, FilterOptions)
    found = TaskFilter(
        command=command,
        states=[names.state(value) for value in options.get("states", ())],
        labels=options.get("labels"),
        worker_id=options.get("worker_id"),
        error_type=options.get("error_type"),
    )
    if (after := options.get("created_after")) is not None:
        found.create_time_after.FromDatetime(aware("created_after", after))
    if (before := options.get("created_before")) is not None:
        found.create_time_before.FromDatetime(aware("created_before", before))
    return found


def selector(command: str | None, task_ids: Iterable[str], options: FilterOptions) -> TaskSelector:
    """The tasks of a filter, or those named.

    Raises:
        TypeError: There is no such option.
        ValueError: Both are given, or neither; a time is naive, or there is no such state.
    """
    keywords.check(options, FilterOptions)
    named = ids(task_ids)
    if named and (command is not None or options):
        raise ValueError("tasks are chosen by task_ids or by a filter, not by both")
    if named:
        return TaskSelector(task_ids=named)
    if command is None:
        raise ValueError("which tasks? give a command or task_ids")
    return TaskSelector(filter=task_filter(command, **options))


def ids(task_ids: str | Iterable[str]) -> list[str]:
    """Ids of tasks; a lone one is a list of one and not of its characters."""
    return [task_ids] if isinstance(task_ids, str) else list(task_ids)
