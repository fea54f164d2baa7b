"""What everybody calls to see tasks and queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from codeq_grpc.client import ends, filters
from codeq_grpc.client.connection import Connection
from codeq_grpc.client.flows import call

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable
    from typing import Unpack

    from codeq_grpc.client.filters import FilterOptions
    from codeq_grpc.client.specs import Span


class Looking(Connection):
    """Reads, lists and watches tasks, waits for them, counts them."""

    async def get_task(
        self, task_id: str, *, full: bool = False, wait: Span | None = None
    ) -> task_pb2.Task:
        """Reads a task; `full` adds all that is large, `wait` (60 s at most) waits for its end.

        Raises:
            TaskNotFound: There is no such task, or it is another tenant's.
        """
        return await self._run(ends.get_task(task_id, full=full, wait=wait))

    async def wait_for_end(
        self, task_id: str, timeout: Span | None = None, *, full: bool = True
    ) -> task_pb2.Task:
        """Waits until a task has ended, in whatever state of `ENDED`, and returns it.

        An outage of the server or its store shorter than the client's timeout goes unnoticed.

        Raises:
            DeadlineExceeded: It has not ended within `timeout`.
            TaskNotFound: There is no such task, or it is another tenant's.
        """
        flow = ends.wait_for_end(task_id, timeout, full=full, patience=self._timeout)
        return await self._run(flow)

    async def result(self, task_id: str, timeout: Span | None = None) -> object:
        """Waits until a task is COMPLETED and returns its result as `decode` makes it.

        Raises:
            TaskFailed: It is FAILED; its subclasses `TaskCancelled` and `TaskExpired` tell of
                the other ends without a result.
            DeadlineExceeded: It has not ended within `timeout`.
            TaskNotFound: There is no such task, or it is another tenant's.
        """
        return await self._run(ends.result(task_id, timeout, patience=self._timeout))

    async def list_tasks(
        self,
        command: str,
        *,
        full: bool = False,
        page_size: int = 200,
        **options: Unpack[FilterOptions],
    ) -> AsyncGenerator[task_pb2.Task]:
        """The tasks of a queue that match, state by state, newest first within each.

        They are read page by page, at most `page_size` (1 to 1000) at a time, as they are
        taken. Tasks that change state meanwhile may be missing or come twice.
        """
        request = pb.ListTasksRequest(
            filter=filters.task_filter(command, **options),
            page_size=page_size,
            view=task_pb2.TASK_VIEW_FULL if full else task_pb2.TASK_VIEW_BASIC,
        )
        while True:
            page = await self._run(call("ListTasks", request, pb.ListTasksResponse))
            for task in page.tasks:
                yield task
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def watch_tasks(
        self,
        command: str | None = None,
        *,
        task_ids: str | Iterable[str] = (),
        **options: Unpack[FilterOptions],
    ) -> AsyncGenerator[pb.WatchTasksResponse]:
        """Changes of the tasks that match, or of up to 1000 ids, as they happen.

        The first message has no task: changes from then on are told, so list after it. A
        message with `gap` means that some were missed: list again. Goes on for as long as it
        is read; close it with `aclosing`. It ends, or raises, when the server goes away.

        Raises:
            ValueError: Neither a command nor ids are given, or both.
        """
        request = pb.WatchTasksRequest(selector=filters.selector(command, task_ids, options))
        return self._call.stream("WatchTasks", request, pb.WatchTasksResponse)

    async def queues(self, commands: Iterable[str] = ()) -> pb.AdminQueuesResponse:
        """Counts and health of the tenant's queues: these, or all."""
        request = pb.AdminQueuesRequest(commands=commands)
        return await self._run(call("AdminQueues", request, pb.AdminQueuesResponse))
