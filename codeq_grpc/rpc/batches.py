"""Enqueue and BatchEnqueue: one check, one path to the broker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from codeq.v1 import codeq_service_pb2 as pb
from codeq_grpc.core import limits
from codeq_grpc.core.errors import CodeQError, CommandForbidden, InvalidField, QuotaExceeded
from codeq_grpc.rpc.context import FORBIDDEN, permit, reach, tenant
from codeq_grpc.wire import encoding
from codeq_grpc.wire.audit import some
from codeq_grpc.wire.errors import to_item

if TYPE_CHECKING:
    from codeq.v1 import task_pb2
    from codeq_grpc.broker.tasks import Enqueued, Tasks
    from codeq_grpc.core.quotas import Tenants
    from codeq_grpc.core.records import NewTask
    from codeq_grpc.wire.specs import SpecChecker


_AT_A_TIME: Final = 50
"""Specs that are checked before others go on: a fifth of a millisecond."""


def _response(done: Enqueued) -> bytes:
    return encoding.enqueued(done.task_id, done.state, created=done.created)


class BatchEnqueuer:
    """Checks specs and enqueues those that pass."""

    def __init__(self, checker: SpecChecker, tasks: Tasks, tenants: Tenants) -> None:
        self._checker = checker
        self._tasks = tasks
        self._tenants = tenants

    def _check(self, spec: task_pb2.TaskSpec, path: str) -> NewTask:
        """What the store needs; raises what is wrong with it."""
        most = self._tenants.of(tenant()).payload_bytes
        if most is not None and len(spec.payload.data) > most:
            raise QuotaExceeded.of("payload_bytes", most)
        task = self._checker.check(spec, path)
        permit(task.command)
        return task

    async def one(self, spec: task_pb2.TaskSpec) -> bytes:
        """One task; raises what is wrong with it."""
        task = self._check(spec, "task")
        (result,) = await self._tasks.enqueue(reach(), [task], atomic=True)
        if isinstance(result, CodeQError):
            raise result
        return _response(result)

    async def many(self, request: pb.BatchEnqueueRequest) -> bytes:
        """All or, unless `atomic`, item by item."""
        if not 1 <= len(request.tasks) <= limits.BATCH_TASKS:
            raise InvalidField.at("tasks", f"must have 1 to {limits.BATCH_TASKS} entries")
        if request.atomic and len({spec.command for spec in request.tasks}) > 1:
            raise InvalidField.at("tasks", "must all have one command when atomic is set")
        failures: list[task_pb2.ItemFailure] = []
        checked: dict[int, NewTask] = {}
        for i, spec in enumerate(request.tasks):
            try:
                checked[i] = self._check(spec, f"tasks[{i}]")
            except (InvalidField, CommandForbidden, QuotaExceeded) as error:
                if request.atomic:
                    raise
                failures.append(to_item(i, error))
            if i % _AT_A_TIME == _AT_A_TIME - 1:
                await asyncio.sleep(0)
        _note_forbidden(request, failures)
        results = await self._tasks.enqueue(reach(), list(checked.values()), atomic=request.atomic)
        responses = [b""] * len(request.tasks)
        for i, result in zip(checked, results, strict=True):
            if isinstance(result, CodeQError):
                failures.append(to_item(i, result))
            else:
                responses[i] = _response(result)
        failures.sort(key=lambda failure: failure.index)
        refused = pb.BatchEnqueueResponse(failures=failures)
        return encoding.all_enqueued(responses) + refused.SerializeToString()


def _note_forbidden(request: pb.BatchEnqueueRequest, failures: list[task_pb2.ItemFailure]) -> None:
    """For the audit trail: the call itself is OK."""
    forbidden = [one.index for one in failures if one.reason == CommandForbidden.reason]
    if forbidden:
        FORBIDDEN.set(CommandForbidden.of(some({request.tasks[i].command: 0 for i in forbidden})))
