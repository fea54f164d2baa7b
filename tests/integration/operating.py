"""What operators and producers do to many tasks and to queues, in few words."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.duration_pb2 import Duration

from codeq.v1 import admin_service_pb2 as admin_pb, codeq_service_pb2 as pb, queue_pb2, task_pb2
from tests.integration.calling import ask
from tests.support.server import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Sequence

    from tests.support.server import Caller

_T = TypeVar("_T")


def seconds(value: float) -> Duration:
    """A duration."""
    duration = Duration()
    duration.FromMilliseconds(round(value * 1000))
    return duration


async def update(
    caller: Caller, command: str = "RENDER", /, mask: Sequence[str] = (), **settings: Any
) -> queue_pb2.Queue:
    """The settings of a queue after a change."""
    queue = queue_pb2.Queue(command=command, **settings)
    request = admin_pb.UpdateQueueRequest(queue=queue, update_mask={"paths": mask})
    response: admin_pb.UpdateQueueResponse = await ask(caller, "UpdateQueue", request)
    return response.queue


async def settings(
    caller: Caller, command: str = "RENDER", *, only_set: bool = False
) -> queue_pb2.Queue:
    """The settings of a queue."""
    request = admin_pb.GetQueueRequest(command=command, only_set=only_set)
    response: admin_pb.GetQueueResponse = await ask(caller, "GetQueue", request)
    return response.queue


async def pause(caller: Caller, command: str = "RENDER", reason: str = "") -> None:
    """Stops claims."""
    await ask(caller, "PauseQueue", admin_pb.PauseQueueRequest(command=command, reason=reason))


async def resume(caller: Caller, command: str = "RENDER") -> None:
    """Undoes it."""
    await ask(caller, "ResumeQueue", admin_pb.ResumeQueueRequest(command=command))


async def purge(caller: Caller, command: str = "RENDER") -> int:
    """How many tasks it cancels."""
    response = await ask(caller, "PurgeQueue", admin_pb.PurgeQueueRequest(command=command))
    return int(response.purged_count)


async def workers(caller: Caller, command: str = "") -> list[admin_pb.Worker]:
    """Live ones."""
    request = admin_pb.ListWorkersRequest(command=command)
    response: admin_pb.ListWorkersResponse = await ask(caller, "ListWorkers", request)
    return list(response.workers)


def matching(command: str = "RENDER", **fields: Any) -> pb.TaskFilter:
    """Tasks of a queue; states by name, without the prefix that all names share."""
    states = [f"TASK_STATE_{one}" for one in fields.pop("states", ())]
    return pb.TaskFilter(command=command, states=states, **fields)


def chosen(
    task_ids: Sequence[str], limit: int = 0, page_token: str = "", **fields: Any
) -> pb.TaskSelector:
    """By ids if there are any, else by filter."""
    if task_ids:
        return pb.TaskSelector(task_ids=task_ids)
    return pb.TaskSelector(filter=matching(**fields), limit=limit, page_token=page_token)


async def cancel(
    caller: Caller, *task_ids: str, reason: str = "", **fields: Any
) -> pb.CancelTasksResponse:
    """What became of a CancelTasks."""
    request = pb.CancelTasksRequest(selector=chosen(task_ids, **fields), reason=reason)
    response: pb.CancelTasksResponse = await ask(caller, "CancelTasks", request)
    return response


async def redrive(
    caller: Caller, *task_ids: str, spread: float | None = None, **fields: Any
) -> pb.RedriveTasksResponse:
    """What became of a RedriveTasks."""
    request = pb.RedriveTasksRequest(selector=chosen(task_ids, **fields))
    if spread is not None:
        request.spread.CopyFrom(seconds(spread))
    response: pb.RedriveTasksResponse = await ask(caller, "RedriveTasks", request)
    return response


async def page(
    caller: Caller, size: int = 0, token: str = "", *, full: bool = False, **fields: Any
) -> pb.ListTasksResponse:
    """One page of ListTasks."""
    view = task_pb2.TASK_VIEW_FULL if full else task_pb2.TASK_VIEW_BASIC
    request = pb.ListTasksRequest(
        filter=matching(**fields), page_size=size, page_token=token, view=view
    )
    response: pb.ListTasksResponse = await ask(caller, "ListTasks", request)
    return response


async def listed(caller: Caller, size: int = 0, **fields: Any) -> list[task_pb2.Task]:
    """All pages of ListTasks."""
    found: list[task_pb2.Task] = []
    token = ""
    while True:
        response = await page(caller, size, token, **fields)
        found += response.tasks
        token = response.next_page_token
        if not token:
            return found


async def ids(caller: Caller, size: int = 0, **fields: Any) -> list[str]:
    """Ids of all pages of ListTasks."""
    return [task.task_id for task in await listed(caller, size, **fields)]


async def enqueue(caller: Caller, command: str = "RENDER", **spec: Any) -> pb.EnqueueResponse:
    """The response to one Enqueue."""
    task = task_pb2.TaskSpec(command=command, **spec)
    response: pb.EnqueueResponse = await ask(caller, "Enqueue", pb.EnqueueRequest(task=task))
    return response


async def enqueue_batch(
    caller: Caller, *specs: task_pb2.TaskSpec, atomic: bool = False
) -> pb.BatchEnqueueResponse:
    """The response to one BatchEnqueue."""
    request = pb.BatchEnqueueRequest(tasks=specs, atomic=atomic)
    response: pb.BatchEnqueueResponse = await ask(caller, "BatchEnqueue", request)
    return response


async def progress(
    caller: Caller, *tasks: task_pb2.ClaimedTask, extend: float | None = None, **told: Any
) -> list[pb.Directive]:
    """Directives of a Heartbeat that tells of progress."""
    request = pb.HeartbeatRequest()
    for task in tasks:
        item = request.leases.add(lease=task.lease, progress=task_pb2.Progress(**told))
        if extend is not None:
            item.extend.CopyFrom(seconds(extend))
    response: pb.HeartbeatResponse = await ask(caller, "Heartbeat", request)
    return list(response.directives)


async def clean(caller: Caller, command: str = "RENDER") -> None:
    """Returns once every ended task of a queue is deleted."""

    async def gone() -> bool:
        await ask(caller, "AdminCleanup", pb.AdminCleanupRequest())
        stats = await caller.stats(command)
        return stats.completed + stats.failed + stats.cancelled + stats.expired == 0

    await eventually(gone)


@contextlib.asynccontextmanager
async def meanwhile(work: Coroutine[Any, Any, _T]) -> AsyncIterator[asyncio.Task[_T]]:
    """Work under way while the block runs; cancelled if it still is at the end."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
