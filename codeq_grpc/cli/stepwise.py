"""The client with calls that only people ask for: those that take long, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.field_mask_pb2 import FieldMask

from codeq.v1 import admin_service_pb2, codeq_service_pb2 as pb
from codeq_grpc.client import Client, duration, schedules
from codeq_grpc.client.flows import call

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from codeq.v1.codeq_service_pb2 import TaskFilter
    from codeq.v1.queue_pb2 import Queue
    from codeq.v1.schedule_service_pb2 import PreviewScheduleResponse, Schedule, ScheduleSpec


class StepwiseClient(Client):
    """A client whose user wants to see how far it is."""

    async def cancel_steps(
        self, chosen: TaskFilter, reason: str
    ) -> AsyncGenerator[pb.CancelTasksResponse]:
        """Cancels all that match, up to 1000 in a step.

        Raises:
            CodeQError: A step failed; those before stand.
        """
        request = pb.CancelTasksRequest(selector=pb.TaskSelector(filter=chosen), reason=reason)
        while True:
            response = await self._run(call("CancelTasks", request, pb.CancelTasksResponse))
            yield response
            if not response.next_page_token:
                return
            request.selector.page_token = response.next_page_token

    async def redrive_steps(
        self, chosen: TaskFilter, spread: float | None
    ) -> AsyncGenerator[pb.RedriveTasksResponse]:
        """Redrives all that match, up to 1000 in a step.

        Raises:
            CodeQError: A step failed; those before stand.
        """
        request = pb.RedriveTasksRequest(selector=pb.TaskSelector(filter=chosen))
        if spread is not None:
            request.spread.CopyFrom(duration(spread))
        while True:
            response = await self._run(call("RedriveTasks", request, pb.RedriveTasksResponse))
            yield response
            if not response.next_page_token:
                return
            request.selector.page_token = response.next_page_token

    async def update_fields(self, queue: Queue, paths: Iterable[str]) -> Queue:
        """Changes the settings that `paths` name to what `queue` has; what it has not goes back
        to the default of the server.

        Raises:
            InvalidField: The server refuses a value.
        """
        request = admin_service_pb2.UpdateQueueRequest(
            queue=queue, update_mask=FieldMask(paths=paths)
        )
        response = await self._run(
            call("UpdateQueue", request, admin_service_pb2.UpdateQueueResponse)
        )
        return response.queue

    async def add_schedule(self, schedule: Schedule) -> Schedule:
        """Makes a schedule as it is.

        Raises:
            ScheduleExists: There is one of that name.
        """
        return await self._run(schedules.add(schedule))

    async def save_schedule(
        self, schedule: Schedule, paths: Iterable[str], reason: str
    ) -> Schedule:
        """Changes the fields that `paths` name to what `schedule` has, if it has its etag.

        Raises:
            ScheduleChanged: It has another one by now.
        """
        return await self._run(schedules.save(schedule, FieldMask(paths=paths), reason))

    async def modify_schedule(
        self,
        schedule_id: str,
        change: Callable[[Schedule], None],
        paths: Iterable[str],
        reason: str,
    ) -> Schedule:
        """Changes parts of the fields that `paths` name, whatever others change meanwhile."""
        mask = FieldMask(paths=paths)
        return await self._run(schedules.modify(schedule_id, change, mask, reason))

    async def preview_spec(self, spec: ScheduleSpec, count: int) -> PreviewScheduleResponse:
        """The next fire times of rules.

        Raises:
            InvalidField: They are not valid.
        """
        return await self._run(schedules.preview_spec(spec, count))
