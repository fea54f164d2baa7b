"""Enqueue and BatchEnqueue: one check, one path to the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq.v1 import codeq_service_pb2 as pb
from codeq_grpc.core import limits
from codeq_grpc.core.errors import CodeQError, InvalidField
from codeq_grpc.wire.errors import to_item
from codeq_grpc.wire.tasks import state_name

if TYPE_CHECKING:
    from codeq.v1 import task_pb2
    from codeq_grpc.broker.tasks import Enqueued, Tasks
    from codeq_grpc.core.records import NewTask
    from codeq_grpc.wire.specs import SpecChecker


def _response(enqueued: Enqueued) -> pb.EnqueueResponse:
    return pb.EnqueueResponse(
        task_id=enqueued.task_id, state=state_name(enqueued.state), created=enqueued.created
    )


class BatchEnqueuer:
    """Checks specs and enqueues those that pass."""

    def __init__(self, checker: SpecChecker, tasks: Tasks) -> None:
        self._checker = checker
        self._tasks = tasks

    async def one(self, tenant: str, spec: task_pb2.TaskSpec) -> pb.EnqueueResponse:
        """One task; raises what is wrong with it."""
        (result,) = await self._tasks.enqueue(
            tenant, [self._checker.check(spec, "task")], atomic=True
        )
        if isinstance(result, CodeQError):
            raise result
        return _response(result)

    async def many(self, tenant: str, request: pb.BatchEnqueueRequest) -> pb.BatchEnqueueResponse:
        """All or, unless `atomic`, item by item."""
        if not 1 <= len(request.tasks) <= limits.BATCH_TASKS:
            raise InvalidField.at("tasks", f"must have 1 to {limits.BATCH_TASKS} entries")
        if request.atomic and len({spec.command for spec in request.tasks}) > 1:
            raise InvalidField.at("tasks", "must all have one command when atomic is set")
        response = pb.BatchEnqueueResponse()
        checked: dict[int, NewTask] = {}
        for i, spec in enumerate(request.tasks):
            try:
                checked[i] = self._checker.check(spec, f"tasks[{i}]")
            except InvalidField as error:
                if request.atomic:
                    raise
                response.failures.append(to_item(i, error))
        results = await self._tasks.enqueue(tenant, list(checked.values()), atomic=request.atomic)
        by_index = dict(zip(checked, results, strict=True))
        for i in range(len(request.tasks)):
            result = by_index.get(i)
            if isinstance(result, CodeQError):
                response.failures.append(to_item(i, result))
            response.results.append(
                pb.EnqueueResponse()
                if result is None or isinstance(result, CodeQError)
                else _response(result)
            )
        response.failures.sort(key=lambda failure: failure.index)
        return response
