"""A server for the command line: answers what a test tells it, and keeps what it was asked."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
from click.testing import CliRunner

from codeq.v1 import (
    admin_service_pb2 as admin_pb,
    admin_service_pb2_grpc as admin_services,
    codeq_service_pb2 as pb,
    codeq_service_pb2_grpc as services,
    task_pb2,
)
from codeq.v1.queue_pb2 import Queue, QueueStats
from codeq_grpc.cli.main import codeq
from codeq_grpc.core.errors import CodeQError, TaskNotFound
from codeq_grpc.wire.errors import DETAILS_KEY, to_item, to_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from click.testing import Result
    from google.protobuf.message import Message

    Context = grpc.ServicerContext

Watch = list[pb.WatchTasksResponse | CodeQError | None]


def made(task_id: str, state: task_pb2.TaskState, **fields: Any) -> task_pb2.Task:
    """A task of the queue `c`, enqueued in 2026."""
    task = task_pb2.Task(task_id=task_id, state=state, **fields)
    task.spec.command = "c"
    task.create_time.FromJsonString("2026-07-01T12:00:00Z")
    task.update_time.FromJsonString("2026-07-01T12:34:56Z")
    return task


class Scripted(services.CodeQServiceServicer, admin_services.AdminServiceServicer):
    """Keeps tasks, queues and workers as a test has set them."""

    def __init__(self) -> None:
        self.tasks: dict[str, task_pb2.Task] = {}
        self.queues: list[QueueStats] = []
        self.workers: list[admin_pb.Worker] = []
        self.events: list[admin_pb.AuditEvent] = []
        """Oldest first."""
        self.reads: list[task_pb2.Task] = []
        """What the next calls of GetTask answer, before `tasks`."""
        self.settings = Queue(command="c")
        self.asked: list[Message] = []
        self.refuse: dict[str, CodeQError] = {}
        """Method -> what its calls fail with."""
        self.page = 2
        """Tasks in a page, and in a step of a change."""
        self.watches: list[Watch] = []
        """What each stream says; None keeps it open."""
        self.over = threading.Event()

    def last(self, kind: type[Message]) -> Any:
        """The latest request of a kind."""
        return next(message for message in reversed(self.asked) if isinstance(message, kind))

    def count(self, kind: type[Message]) -> int:
        """How many requests of a kind there were."""
        return sum(isinstance(message, kind) for message in self.asked)

    def _heard(self, method: str, request: Message, context: Context) -> None:
        self.asked.append(type(request).FromString(request.SerializeToString()))
        if (error := self.refuse.get(method)) is not None:
            abort(context, error)

    def Enqueue(self, request: pb.EnqueueRequest, context: Context) -> pb.EnqueueResponse:
        self._heard("Enqueue", request, context)
        return pb.EnqueueResponse(
            task_id="t1", state=task_pb2.TASK_STATE_PENDING, created=not self.tasks
        )

    def GetTask(self, request: pb.GetTaskRequest, context: Context) -> pb.GetTaskResponse:
        self._heard("GetTask", request, context)
        if self.reads:
            return pb.GetTaskResponse(task=self.reads.pop(0))
        if request.task_id not in self.tasks:
            abort(context, TaskNotFound())
        return pb.GetTaskResponse(task=self.tasks[request.task_id])

    def _matching(self, chosen: pb.TaskFilter) -> list[task_pb2.Task]:
        return [
            task for task in self.tasks.values() if not chosen.states or task.state in chosen.states
        ]

    def ListTasks(self, request: pb.ListTasksRequest, context: Context) -> pb.ListTasksResponse:
        self._heard("ListTasks", request, context)
        at = int(request.page_token or 0)
        found = self._matching(request.filter)
        return pb.ListTasksResponse(
            tasks=found[at : at + self.page],
            next_page_token=str(at + self.page) if len(found) > at + self.page else "",
        )

    def WatchTasks(
        self, request: pb.WatchTasksRequest, context: Context
    ) -> Iterator[pb.WatchTasksResponse]:
        self._heard("WatchTasks", request, context)
        for message in self.watches.pop(0):
            if isinstance(message, CodeQError):
                abort(context, message)
            elif message is None:
                self.over.wait(30)
            else:
                yield message

    def CancelTasks(
        self, request: pb.CancelTasksRequest, context: Context
    ) -> pb.CancelTasksResponse:
        self._heard("CancelTasks", request, context)
        changed, failures, token = self._select(request.selector)
        held = sum(task.state == task_pb2.TASK_STATE_IN_PROGRESS for task in changed)
        return pb.CancelTasksResponse(
            cancelled_count=len(changed) - held,
            requested_count=held,
            failures=failures,
            more=bool(token),
            next_page_token=token,
        )

    def RedriveTasks(
        self, request: pb.RedriveTasksRequest, context: Context
    ) -> pb.RedriveTasksResponse:
        self._heard("RedriveTasks", request, context)
        changed, failures, token = self._select(request.selector)
        return pb.RedriveTasksResponse(
            redriven_count=len(changed),
            failures=failures,
            more=bool(token),
            next_page_token=token,
        )

    def _select(
        self, selector: pb.TaskSelector
    ) -> tuple[list[task_pb2.Task], list[task_pb2.ItemFailure], str]:
        if not selector.HasField("filter"):
            failures = [
                to_item(at, TaskNotFound())
                for at, task_id in enumerate(selector.task_ids)
                if task_id not in self.tasks
            ]
            found = [self.tasks[name] for name in selector.task_ids if name in self.tasks]
            return found, failures, ""
        at = int(selector.page_token or 0)
        found = self._matching(selector.filter)
        token = str(at + self.page) if len(found) > at + self.page else ""
        return found[at : at + self.page], [], token

    def AdminQueues(
        self, request: pb.AdminQueuesRequest, context: Context
    ) -> pb.AdminQueuesResponse:
        self._heard("AdminQueues", request, context)
        named = request.commands
        return pb.AdminQueuesResponse(
            queues=[queue for queue in self.queues if not named or queue.command in named]
        )

    def GetQueue(
        self, request: admin_pb.GetQueueRequest, context: Context
    ) -> admin_pb.GetQueueResponse:
        self._heard("GetQueue", request, context)
        return admin_pb.GetQueueResponse(queue=self.settings)

    def UpdateQueue(
        self, request: admin_pb.UpdateQueueRequest, context: Context
    ) -> admin_pb.UpdateQueueResponse:
        self._heard("UpdateQueue", request, context)
        return admin_pb.UpdateQueueResponse(queue=request.queue)

    def PauseQueue(
        self, request: admin_pb.PauseQueueRequest, context: Context
    ) -> admin_pb.PauseQueueResponse:
        self._heard("PauseQueue", request, context)
        return admin_pb.PauseQueueResponse()

    def ResumeQueue(
        self, request: admin_pb.ResumeQueueRequest, context: Context
    ) -> admin_pb.ResumeQueueResponse:
        self._heard("ResumeQueue", request, context)
        return admin_pb.ResumeQueueResponse()

    def PurgeQueue(
        self, request: admin_pb.PurgeQueueRequest, context: Context
    ) -> admin_pb.PurgeQueueResponse:
        self._heard("PurgeQueue", request, context)
        return admin_pb.PurgeQueueResponse(purged_count=7)

    def ListWorkers(
        self, request: admin_pb.ListWorkersRequest, context: Context
    ) -> admin_pb.ListWorkersResponse:
        self._heard("ListWorkers", request, context)
        return admin_pb.ListWorkersResponse(workers=self.workers)

    def ListAuditEvents(
        self, request: admin_pb.ListAuditEventsRequest, context: Context
    ) -> admin_pb.ListAuditEventsResponse:
        self._heard("ListAuditEvents", request, context)
        found = [
            e
            for e in reversed(self.events)
            if not request.page_token or e.event_id < request.page_token
        ]
        return admin_pb.ListAuditEventsResponse(
            events=found[: self.page],
            next_page_token=found[self.page - 1].event_id if len(found) > self.page else "",
        )


def abort(context: Context, error: CodeQError) -> None:
    """Ends a call with an error as a server does."""
    code, message, details = to_status(error)
    context.set_trailing_metadata(((DETAILS_KEY, details),))
    context.abort(code, message)


class Served:
    """The command line with the address of a scripted server."""

    def __init__(self, address: str) -> None:
        self.env = {"CODEQ_ADDRESS": address, "CODEQ_TOKEN": "t"}

    def __call__(self, *words: str) -> Result:
        return CliRunner().invoke(codeq, words, env=self.env, prog_name="codeq")


@contextmanager
def serving(scripted: Scripted, *more: Callable[[Any, grpc.Server], None]) -> Iterator[Served]:
    """Runs the server in threads, since every command has an event loop of its own; `more` add
    services to it.
    """
    server = grpc.server(ThreadPoolExecutor(8))
    services.add_CodeQServiceServicer_to_server(scripted, server)
    admin_services.add_AdminServiceServicer_to_server(scripted, server)
    for add in more:
        add(scripted, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield Served(f"127.0.0.1:{port}")
    finally:
        scripted.over.set()
        server.stop(None).wait()
