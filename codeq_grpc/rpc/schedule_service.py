"""codeq.v1.ScheduleService: check, ask the broker, translate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from codeq.v1 import schedule_service_pb2 as pb, schedule_service_pb2_grpc
from codeq_grpc.broker.schedules import Wanted
from codeq_grpc.core import limits
from codeq_grpc.core.errors import InvalidField
from codeq_grpc.rpc.context import PRINCIPAL, permit, reach
from codeq_grpc.wire import schedule_messages as messages, schedules
from codeq_grpc.wire.checks import (
    check_command,
    check_count,
    check_labels,
    check_number,
    check_text,
    timestamp_ms,
)
from codeq_grpc.wire.errors import to_item

if TYPE_CHECKING:
    import grpc

    from codeq_grpc.broker.schedules import Found
    from codeq_grpc.core.firing import Change
    from codeq_grpc.core.schedules import Mark, Stored
    from codeq_grpc.rpc.brokers import Brokers
    from codeq_grpc.wire.schedules import ScheduleChecker

    Context = grpc.aio.ServicerContext[Any, Any]

_VERSION_MAX: Final = (1 << 53) - 1


class ScheduleServicer(schedule_service_pb2_grpc.ScheduleServiceServicer):
    """Schedules. What enqueues tasks is made and changed by those who may enqueue them."""

    def __init__(self, checker: ScheduleChecker, brokers: Brokers) -> None:
        self._checker = checker
        self._schedules = brokers.schedules
        self._triggers = brokers.triggers

    async def CreateSchedule(
        self, request: pb.CreateScheduleRequest, context: Context
    ) -> pb.CreateScheduleResponse:
        """A new one."""
        schedule_id = request.schedule.schedule_id
        if schedule_id:
            schedules.check_schedule_id(schedule_id, "schedule.schedule_id")
        change = self._created(request.schedule)
        found = await self._schedules.create(reach(), schedule_id, change)
        return pb.CreateScheduleResponse(schedule=_message(found))

    def _created(self, schedule: pb.Schedule, why: str = "") -> Change:
        return _permitted(self._checker.created(schedule, PRINCIPAL.get().subject, why))

    async def GetSchedule(
        self, request: pb.GetScheduleRequest, context: Context
    ) -> pb.GetScheduleResponse:
        """One of them."""
        schedule_id = schedules.check_schedule_id(request.schedule_id, "schedule_id")
        return pb.GetScheduleResponse(
            schedule=_message(await self._schedules.get(reach(), schedule_id))
        )

    async def ListSchedules(
        self, request: pb.ListSchedulesRequest, context: Context
    ) -> pb.ListSchedulesResponse:
        """One page."""
        most = check_count(
            request.page_size, "page_size", limits.PAGE_SCHEDULES, limits.PAGE_DEFAULT
        )
        token = check_text(request.page_token, "page_token", limits.PAGE_TOKEN_CHARS)
        check_labels(request.labels, "labels")
        if request.command:
            check_command(request.command, "command")
            permit(request.command)
        prefix = schedules.check_prefix(request.id_prefix, "id_prefix")
        wanted = Wanted(tuple(sorted(request.labels.items())), request.command, prefix)
        found, following = await self._schedules.page(reach(), wanted, token, "page_token", most)
        return pb.ListSchedulesResponse(schedules=map(_message, found), next_page_token=following)

    async def UpdateSchedule(
        self, request: pb.UpdateScheduleRequest, context: Context
    ) -> pb.UpdateScheduleResponse:
        """Changes one, or makes it."""
        schedule, mask = request.schedule, request.update_mask
        schedules.check_schedule_id(schedule.schedule_id, "schedule.schedule_id")
        check_text(request.reason, "reason", limits.REASON_CHARS)
        wanted = schedules.expected(schedule.etag, "schedule.etag")
        who = PRINCIPAL.get().subject
        changed = self._checker.changed(schedule, mask, who, request.reason)
        if schedule.HasField("task") and (not mask.paths or "task" in mask.paths):
            permit(schedule.task.command)
        made = self._created(schedule, request.reason) if request.allow_missing else None

        def change(stored: Stored | None) -> Change | None:
            return made if stored is None else _permitted(changed(stored))

        found = await self._schedules.update(
            reach(), schedule.schedule_id, _expecting(wanted), change
        )
        return pb.UpdateScheduleResponse(schedule=_message(found))

    async def RollbackSchedule(
        self, request: pb.RollbackScheduleRequest, context: Context
    ) -> pb.RollbackScheduleResponse:
        """Makes an earlier version the current one."""
        schedule_id = schedules.check_schedule_id(request.schedule_id, "schedule_id")
        version = int(check_number(request.version, "version", 1, _VERSION_MAX))
        wanted = schedules.expected(request.etag, "etag")
        check_text(request.reason, "reason", limits.REASON_CHARS)
        record = await self._schedules.version(reach(), schedule_id, version)
        who = PRINCIPAL.get().subject

        changed = self._checker.rolled_back(record.body, who, request.reason)

        def change(stored: Stored | None) -> Change | None:
            return None if stored is None else _permitted(changed(stored))

        found = await self._schedules.update(reach(), schedule_id, _expecting(wanted), change)
        return pb.RollbackScheduleResponse(schedule=_message(found))

    async def DeleteSchedule(
        self, request: pb.DeleteScheduleRequest, context: Context
    ) -> pb.DeleteScheduleResponse:
        """Removes one."""
        schedule_id = schedules.check_schedule_id(request.schedule_id, "schedule_id")
        await self._schedules.delete(reach(), schedule_id)
        return pb.DeleteScheduleResponse()

    async def BatchSchedules(
        self, request: pb.BatchSchedulesRequest, context: Context
    ) -> pb.BatchSchedulesResponse:
        """Pauses, resumes or deletes many."""
        ids = schedules.check_ids(list(request.schedule_ids), "schedule_ids")
        check_text(request.reason, "reason", limits.PAUSE_REASON_CHARS)
        if request.operation == pb.SCHEDULE_OPERATION_DELETE:
            failures = await self._schedules.delete_all(reach(), ids)
        elif request.operation in {pb.SCHEDULE_OPERATION_PAUSE, pb.SCHEDULE_OPERATION_RESUME}:
            paused = request.operation == pb.SCHEDULE_OPERATION_PAUSE
            reason = request.reason if paused else ""
            failures = await self._schedules.pause_all(reach(), ids, paused=paused, reason=reason)
        else:
            raise InvalidField.at("operation", "must be PAUSE, RESUME or DELETE")
        told = [to_item(i, error) for i, error in sorted(failures.items())]
        return pb.BatchSchedulesResponse(failures=told)

    async def TriggerSchedule(
        self, request: pb.TriggerScheduleRequest, context: Context
    ) -> pb.TriggerScheduleResponse:
        """Fires now."""
        schedule_id = schedules.check_schedule_id(request.schedule_id, "schedule_id")
        key = check_text(request.request_key, "request_key", limits.REQUEST_KEY_CHARS)
        told = await self._triggers.trigger(reach(), schedule_id, key)
        return pb.TriggerScheduleResponse(firing=messages.firing_message(*told))

    async def BackfillSchedule(
        self, request: pb.BackfillScheduleRequest, context: Context
    ) -> pb.BackfillScheduleResponse:
        """Fires what lies behind."""
        schedule_id = schedules.check_schedule_id(request.schedule_id, "schedule_id")
        start_ms = timestamp_ms(request.start_time, "start_time")
        end_ms = timestamp_ms(request.end_time, "end_time")
        if not request.HasField("start_time") or start_ms < 0:
            raise InvalidField.at("start_time", "must be set, and not before 1970")
        if end_ms <= start_ms:
            raise InvalidField.at("end_time", "must be after start_time")
        count = await self._triggers.backfill(reach(), schedule_id, start_ms, end_ms)
        return pb.BackfillScheduleResponse(fired_count=count)

    async def PreviewSchedule(
        self, request: pb.PreviewScheduleRequest, context: Context
    ) -> pb.PreviewScheduleResponse:
        """The next times of a rule."""
        rule = schedules.rule_of(request.spec, "spec")
        most = check_count(request.count, "count", limits.PREVIEW_MAX, limits.PREVIEW_DEFAULT)
        response, ms = (
            pb.PreviewScheduleResponse(),
            rule.after(await self._schedules.now_ms(reach())),
        )
        while ms is not None and len(response.times) < most:
            response.times.add().FromMilliseconds(ms)
            ms = rule.after(ms)
        return response

    async def ListFirings(
        self, request: pb.ListFiringsRequest, context: Context
    ) -> pb.ListFiringsResponse:
        """One page, newest first."""
        schedule_id = schedules.check_schedule_id(request.schedule_id, "schedule_id")
        most = check_count(request.page_size, "page_size", limits.PAGE_FIRINGS, limits.PAGE_DEFAULT)
        token = check_text(request.page_token, "page_token", limits.PAGE_TOKEN_CHARS)
        told, following = await self._triggers.page(reach(), schedule_id, token, "page_token", most)
        return pb.ListFiringsResponse(
            firings=[messages.firing_message(*one) for one in told], next_page_token=following
        )

    async def ListScheduleVersions(
        self, request: pb.ListScheduleVersionsRequest, context: Context
    ) -> pb.ListScheduleVersionsResponse:
        """The last 20."""
        schedule_id = schedules.check_schedule_id(request.schedule_id, "schedule_id")
        records = await self._schedules.versions(reach(), schedule_id)
        return pb.ListScheduleVersionsResponse(
            versions=[messages.version_message(schedule_id, record) for record in records]
        )


def _message(found: Found) -> pb.Schedule:
    return messages.schedule_message(*found)


def _permitted(change: Change) -> Change:
    """A schedule enqueues what who makes it may enqueue."""
    permit(change.new.command)
    return change


def _expecting(etag: Mark | None) -> Any:
    return lambda mark: etag is None or mark == etag
