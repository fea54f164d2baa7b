"""Flows that cancel or redrive many tasks, in as many calls as it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from codeq.v1 import codeq_service_pb2 as pb
from codeq_grpc.client import filters
from codeq_grpc.client.flows import call
from codeq_grpc.client.specs import duration
from codeq_grpc.core import limits
from codeq_grpc.wire.errors import from_item

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from codeq.v1.codeq_service_pb2 import TaskFilter, TaskSelector
    from codeq.v1.task_pb2 import ItemFailure
    from codeq_grpc.client.flows import Flow
    from codeq_grpc.client.specs import Span
    from codeq_grpc.core.errors import CodeQError


class CancelTotal(NamedTuple):
    """What a cancel has done."""

    cancelled: int
    """Now CANCELLED."""
    requested: int
    """IN_PROGRESS: their workers were told, and what they report decides."""
    failures: dict[str, CodeQError]
    """Task id -> why it could not be."""


class RedriveTotal(NamedTuple):
    """What a redrive has done."""

    redriven: int
    """Claimable again, with fresh attempts."""
    failures: dict[str, CodeQError]
    """Task id -> why it could not be."""


def cancel(task_ids: str | Iterable[str], reason: str) -> Flow[CancelTotal]:
    """Cancels the tasks named."""
    total = CancelTotal(0, 0, {})
    for named in _chunks(filters.ids(task_ids)):
        answer = yield from _cancel(pb.TaskSelector(task_ids=named), reason)
        total = _add(total, answer, _failures(named, answer.failures))
    return total


def cancel_matching(chosen: TaskFilter, reason: str, limit: int | None) -> Flow[CancelTotal]:
    """Cancels what matches, page by page, up to `limit` tasks."""
    total, selector = CancelTotal(0, 0, {}), pb.TaskSelector(filter=chosen)
    while _limited(selector, limit, total.cancelled + total.requested):
        answer = yield from _cancel(selector, reason)
        total = _add(total, answer, {})
        if not answer.next_page_token:
            break
        selector.page_token = answer.next_page_token
    return total


def redrive(task_ids: str | Iterable[str], spread: Span | None) -> Flow[RedriveTotal]:
    """Redrives the tasks named."""
    count, failures = 0, dict[str, "CodeQError"]()
    for named in _chunks(filters.ids(task_ids)):
        answer = yield from _redrive(pb.TaskSelector(task_ids=named), spread)
        count += answer.redriven_count
        failures |= _failures(named, answer.failures)
    return RedriveTotal(count, failures)


def redrive_matching(
    chosen: TaskFilter, spread: Span | None, limit: int | None
) -> Flow[RedriveTotal]:
    """Redrives what matches, page by page, up to `limit` tasks."""
    count, selector = 0, pb.TaskSelector(filter=chosen)
    while _limited(selector, limit, count):
        answer = yield from _redrive(selector, spread)
        count += answer.redriven_count
        if not answer.next_page_token:
            break
        selector.page_token = answer.next_page_token
    return RedriveTotal(count, {})


def _cancel(selector: TaskSelector, reason: str) -> Flow[pb.CancelTasksResponse]:
    request = pb.CancelTasksRequest(selector=selector, reason=reason)
    return call("CancelTasks", request, pb.CancelTasksResponse)


def _redrive(selector: TaskSelector, spread: Span | None) -> Flow[pb.RedriveTasksResponse]:
    request = pb.RedriveTasksRequest(
        selector=selector, spread=None if spread is None else duration(spread)
    )
    return call("RedriveTasks", request, pb.RedriveTasksResponse)


def _chunks(named: list[str]) -> Iterator[list[str]]:
    for at in range(0, len(named), limits.SELECTED_TASKS):
        yield named[at : at + limits.SELECTED_TASKS]


def _failures(named: list[str], items: Iterable[ItemFailure]) -> dict[str, CodeQError]:
    return {named[item.index]: from_item(item) for item in items}


def _add(
    total: CancelTotal, answer: pb.CancelTasksResponse, failures: dict[str, CodeQError]
) -> CancelTotal:
    return CancelTotal(
        total.cancelled + answer.cancelled_count,
        total.requested + answer.requested_count,
        total.failures | failures,
    )


def _limited(selector: TaskSelector, limit: int | None, done: int) -> bool:
    """Lets the next call take what is left of `limit`; False when that is nothing."""
    if limit is None:
        return True
    selector.limit = min(limit - done, limits.SELECTED_TASKS)
    return selector.limit > 0
