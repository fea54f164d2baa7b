"""Events of the audit trail as messages, and what requests say about their objects."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, TypeVar

from codeq.v1 import admin_service_pb2 as pb
from codeq.v1.task_pb2 import TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from google.protobuf.timestamp_pb2 import Timestamp

    from codeq.v1.codeq_service_pb2 import TaskFilter, TaskSelector
    from codeq_grpc.core.audit import Event

_T = TypeVar("_T")
_SOME: Final = 20
"""Of a list that may be long; events cut their texts anyway."""


def event_message(event: Event) -> pb.AuditEvent:
    """An event as callers see it."""
    message = pb.AuditEvent(**{k: v for k, v in event._asdict().items() if k != "time_ms"})
    message.time.FromMilliseconds(event.time_ms)
    return message


def some(texts: Iterable[str]) -> str:
    """The first few."""
    first = list(itertools.islice(texts, _SOME + 1))
    return ", ".join(first[:_SOME]) + (", ..." if len(first) > _SOME else "")


def tasks(named: Sequence[_T], id_of: Callable[[_T], str] = str) -> str:
    """The only one, or how many there are."""
    return id_of(named[0]) if len(named) == 1 else f"{len(named)} tasks"


def selected(selector: TaskSelector) -> str:
    """Which tasks were chosen."""
    if not selector.HasField("filter"):
        return tasks(selector.task_ids)
    return matching(selector.filter)


def matching(wanted: TaskFilter) -> str:
    """The command of a filter, and what else it asks for."""
    words = [states(wanted.states)] if wanted.states else []
    labels = itertools.islice(wanted.labels.items(), _SOME)
    words += [f"{key}={value}" for key, value in sorted(labels)]
    words += [
        f"{name}={getattr(wanted, name)}"
        for name in ("worker_id", "error_type")
        if getattr(wanted, name)
    ]
    words += [
        f"{name}={_time(getattr(wanted, name))}"
        for name in ("create_time_after", "create_time_before")
        if wanted.HasField(name)
    ]
    return f"{wanted.command} ({', '.join(words)})" if words else wanted.command


def states(numbers: Sequence[int]) -> str:
    """Their names; those that have none as numbers."""
    known = TaskState.DESCRIPTOR.values_by_number
    names = (known[n].name if n in known else str(n) for n in numbers)
    return some(name.removeprefix("TASK_STATE_") for name in names)


def _time(time: Timestamp) -> str:
    # A request is told of even when it is not valid.
    try:
        return time.ToJsonString()
    except ValueError:
        return f"{time.seconds} s"


def counted(what: str, count: int) -> str:
    """With the number of tasks that it came to."""
    return f"{what}: {count} tasks"
