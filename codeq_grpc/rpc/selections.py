"""The calls of codeq.v1.CodeQService about many tasks: list, watch, cancel, redrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codeq.v1 import codeq_service_pb2 as pb
from codeq_grpc.broker.bulk import Cancel
from codeq_grpc.core import limits
from codeq_grpc.core.errors import InvalidField
from codeq_grpc.core.task import REDRIVABLE, TERMINAL, TaskState
from codeq_grpc.rpc.context import permit, reach, rest, tenant
from codeq_grpc.wire import checks, filters, problems, tasks
from codeq_grpc.wire.errors import to_item

if TYPE_CHECKING:
    import grpc
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

    from codeq.v1 import task_pb2
    from codeq_grpc.broker.bulk import Done
    from codeq_grpc.broker.watches import Changes
    from codeq_grpc.core.records import Filter
    from codeq_grpc.rpc.brokers import Brokers

    Context = grpc.aio.ServicerContext[Any, Any]

_CANCELLABLE = frozenset(TaskState) - TERMINAL


class SelectionServicer:
    """Part of the queue's servicer."""

    def __init__(self, brokers: Brokers) -> None:
        self._searches = brokers.searches
        self._bulk = brokers.bulk
        self._watches = brokers.watches

    async def ListTasks(
        self, request: pb.ListTasksRequest, context: Context
    ) -> pb.ListTasksResponse:
        """One page of tasks."""
        wanted = filters.filter_of(request.filter, "filter")
        permit(wanted.command)
        most = checks.check_count(
            request.page_size, "page_size", limits.PAGE_TASKS, limits.PAGE_DEFAULT
        )
        token = checks.check_text(request.page_token, "page_token", limits.PAGE_TOKEN_CHARS)
        full = tasks.is_full(request.view)
        search = await self._searches.begin(tenant(), wanted)
        place = search.place(token, "page_token")
        records, following = await search.read(place, most, full=full)
        return pb.ListTasksResponse(
            tasks=[tasks.task_message(record, full=full) for record in records],
            next_page_token=search.token(following),
        )

    async def WatchTasks(self, request: pb.WatchTasksRequest, context: Context) -> None:
        """Streams changes."""
        selector = request.selector
        filters.check_selector(selector)
        for name, is_set in (("limit", selector.limit), ("page_token", selector.page_token)):
            if is_set:
                raise InvalidField.at(f"selector.{name}", "must not be set in a watch")
        if not selector.HasField("filter"):
            send = _sender(context, None)
            await self._watches.by_ids(reach(), list(selector.task_ids), send)
            return
        wanted = filters.filter_of(selector.filter, "selector.filter")
        permit(wanted.command)
        await self._watches.by_queue(tenant(), wanted.command, _sender(context, wanted))

    async def CancelTasks(
        self, request: pb.CancelTasksRequest, context: Context
    ) -> pb.CancelTasksResponse:
        """Withdraws tasks."""
        checks.check_text(request.reason, "reason", limits.REASON_CHARS)
        filters.check_selector(request.selector)
        wish = Cancel(request.reason, problems.cancelled(request.reason))
        rest()
        if request.selector.HasField("filter"):
            chosen = filters.selected(request.selector, _CANCELLABLE)
            permit(chosen[0].command)
            done = await self._bulk.cancel_matching(tenant(), *chosen, wish)
        else:
            done = await self._bulk.cancel(reach(), list(request.selector.task_ids), wish)
        response = pb.CancelTasksResponse(
            cancelled_count=done.changed,
            requested_count=done.requested,
            more=bool(done.next_token),
            next_page_token=done.next_token,
        )
        _tell_failures(response.failures, done)
        return response

    async def RedriveTasks(
        self, request: pb.RedriveTasksRequest, context: Context
    ) -> pb.RedriveTasksResponse:
        """Makes ended tasks claimable again."""
        spread_ms = 0
        if request.HasField("spread"):
            spread_ms = checks.duration_ms(request.spread, "spread", 0, limits.SPREAD_MAX_MS)
        filters.check_selector(request.selector)
        rest()
        if request.selector.HasField("filter"):
            chosen = filters.selected(request.selector, REDRIVABLE)
            permit(chosen[0].command)
            done = await self._bulk.redrive_matching(tenant(), *chosen, spread_ms)
        else:
            ids = list(request.selector.task_ids)
            done = await self._bulk.redrive(reach(), ids, spread_ms)
        response = pb.RedriveTasksResponse(
            redriven_count=done.changed,
            more=bool(done.next_token),
            next_page_token=done.next_token,
        )
        _tell_failures(response.failures, done)
        return response


def _tell_failures(
    failures: RepeatedCompositeFieldContainer[task_pb2.ItemFailure], done: Done
) -> None:
    failures.extend(to_item(index, error) for index, error in sorted(done.failures.items()))


def _sender(context: Context, wanted: Filter | None) -> Any:
    """Writes changes, those that match if there is a filter; the first message even if empty."""
    began = False

    async def send(changes: Changes) -> None:
        nonlocal began
        messages = [tasks.task_message(record, full=False) for record in changes.records]
        if wanted is not None:
            messages = [task for task in messages if filters.matches(task, wanted)]
        if messages or changes.gap or not began:
            await context.write(pb.WatchTasksResponse(tasks=messages, gap=changes.gap))
        began = True

    return send
