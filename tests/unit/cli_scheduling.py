"""A scripted server that keeps schedules and settings of queues in memory."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from codeq.v1 import (
    admin_service_pb2 as admin_pb,
    schedule_service_pb2 as pb,
    schedule_service_pb2_grpc as schedule_services,
)
from codeq.v1.queue_pb2 import Queue, QueueStats
from codeq_grpc.core.errors import (
    QueueNotFound,
    ScheduleChanged,
    ScheduleExists,
    ScheduleNotFound,
    ScheduleProtected,
)
from codeq_grpc.wire.errors import to_item
from tests.unit.cli_scripted import Scripted, abort, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.cli_scripted import Context, Served


def stamp(text: str) -> Timestamp:
    """A time of RFC 3339."""
    made = Timestamp()
    made.FromJsonString(text)
    return made


class Scheduling(Scripted, schedule_services.ScheduleServiceServicer):
    """Two queues: `mail` with settings, `bare` without."""

    def __init__(self) -> None:
        super().__init__()
        self.schedules: dict[str, pb.Schedule] = {}
        self.firings: list[pb.Firing] = []
        self.versions: list[pb.ScheduleVersion] = []
        self.times: list[str] = []
        """What PreviewSchedule answers."""
        self.set: dict[str, Queue] = {
            "mail": Queue(command="mail", max_in_progress=3),
            "bare": Queue(command="bare"),
        }
        self.queues = [QueueStats(command=command) for command in self.set]

    def add(self, schedule: pb.Schedule) -> pb.Schedule:
        """As if somebody had made it."""
        kept = pb.Schedule.FromString(schedule.SerializeToString())
        kept.version += 1
        kept.etag, kept.created_by = f"e{kept.version}", "ann"
        kept.update_time.CopyFrom(stamp("2026-07-01T12:00:00Z"))
        self.schedules[kept.schedule_id] = kept
        return kept

    def _found(self, schedule_id: str, context: Context) -> pb.Schedule:
        if schedule_id not in self.schedules:
            abort(context, ScheduleNotFound())
        return self.schedules[schedule_id]

    def CreateSchedule(
        self, request: pb.CreateScheduleRequest, context: Context
    ) -> pb.CreateScheduleResponse:
        self._heard("CreateSchedule", request, context)
        if request.schedule.schedule_id in self.schedules:
            abort(context, ScheduleExists())
        return pb.CreateScheduleResponse(schedule=self.add(request.schedule))

    def GetSchedule(
        self, request: pb.GetScheduleRequest, context: Context
    ) -> pb.GetScheduleResponse:
        self._heard("GetSchedule", request, context)
        return pb.GetScheduleResponse(schedule=self._found(request.schedule_id, context))

    def ListSchedules(
        self, request: pb.ListSchedulesRequest, context: Context
    ) -> pb.ListSchedulesResponse:
        self._heard("ListSchedules", request, context)
        at = int(request.page_token or 0)
        found = [
            self.schedules[name]
            for name in sorted(self.schedules)
            if name.startswith(request.id_prefix)
        ]
        return pb.ListSchedulesResponse(
            schedules=found[at : at + self.page],
            next_page_token=str(at + self.page) if len(found) > at + self.page else "",
        )

    def UpdateSchedule(
        self, request: pb.UpdateScheduleRequest, context: Context
    ) -> pb.UpdateScheduleResponse:
        self._heard("UpdateSchedule", request, context)
        kept = self._found(request.schedule.schedule_id, context)
        if request.schedule.etag not in {"", kept.etag}:
            abort(context, ScheduleChanged())
        for path in request.update_mask.paths:
            kept.ClearField(path)
        changed = pb.Schedule()
        request.update_mask.MergeMessage(request.schedule, changed)
        kept.MergeFrom(changed)
        return pb.UpdateScheduleResponse(schedule=self.add(kept))

    def BatchSchedules(
        self, request: pb.BatchSchedulesRequest, context: Context
    ) -> pb.BatchSchedulesResponse:
        self._heard("BatchSchedules", request, context)
        failures = []
        for at, name in enumerate(request.schedule_ids):
            if name not in self.schedules:
                failures.append(to_item(at, ScheduleNotFound()))
            elif request.operation == pb.SCHEDULE_OPERATION_DELETE:
                if self.schedules[name].system:
                    failures.append(to_item(at, ScheduleProtected()))
                else:
                    del self.schedules[name]
            else:
                paused = request.operation == pb.SCHEDULE_OPERATION_PAUSE
                self.schedules[name].paused = paused
        return pb.BatchSchedulesResponse(failures=failures)

    def TriggerSchedule(
        self, request: pb.TriggerScheduleRequest, context: Context
    ) -> pb.TriggerScheduleResponse:
        self._heard("TriggerSchedule", request, context)
        return pb.TriggerScheduleResponse(firing=self.firings[0])

    def BackfillSchedule(
        self, request: pb.BackfillScheduleRequest, context: Context
    ) -> pb.BackfillScheduleResponse:
        self._heard("BackfillSchedule", request, context)
        return pb.BackfillScheduleResponse(fired_count=len(self.firings))

    def PreviewSchedule(
        self, request: pb.PreviewScheduleRequest, context: Context
    ) -> pb.PreviewScheduleResponse:
        self._heard("PreviewSchedule", request, context)
        return pb.PreviewScheduleResponse(times=map(stamp, self.times))

    def ListFirings(
        self, request: pb.ListFiringsRequest, context: Context
    ) -> pb.ListFiringsResponse:
        self._heard("ListFirings", request, context)
        return pb.ListFiringsResponse(firings=self.firings)

    def ListScheduleVersions(
        self, request: pb.ListScheduleVersionsRequest, context: Context
    ) -> pb.ListScheduleVersionsResponse:
        self._heard("ListScheduleVersions", request, context)
        return pb.ListScheduleVersionsResponse(versions=self.versions)

    def RollbackSchedule(
        self, request: pb.RollbackScheduleRequest, context: Context
    ) -> pb.RollbackScheduleResponse:
        self._heard("RollbackSchedule", request, context)
        return pb.RollbackScheduleResponse(schedule=self._found(request.schedule_id, context))

    def GetQueue(
        self, request: admin_pb.GetQueueRequest, context: Context
    ) -> admin_pb.GetQueueResponse:
        self._heard("GetQueue", request, context)
        if request.command not in self.set:
            abort(context, QueueNotFound())
        return admin_pb.GetQueueResponse(queue=self.set[request.command])

    def UpdateQueue(
        self, request: admin_pb.UpdateQueueRequest, context: Context
    ) -> admin_pb.UpdateQueueResponse:
        self._heard("UpdateQueue", request, context)
        kept = self.set.setdefault(request.queue.command, Queue(command=request.queue.command))
        for path in request.update_mask.paths:
            kept.ClearField(path)
        changed = Queue()
        request.update_mask.MergeMessage(request.queue, changed)
        kept.MergeFrom(changed)
        return admin_pb.UpdateQueueResponse(queue=kept)


@contextmanager
def scheduling(scripted: Scheduling) -> Iterator[Served]:
    """The command line with its address."""
    with serving(scripted, schedule_services.add_ScheduleServiceServicer_to_server) as served:
        yield served
