"""What callers do with schedules."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from codeq.v1 import schedule_service_pb2 as pb
from codeq_grpc.client import schedules
from codeq_grpc.client.connection import Connection

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping
    from datetime import datetime
    from typing import Unpack

    from codeq.v1.task_pb2 import TaskSpec
    from codeq_grpc.client.rules import RuleOptions, ScheduleChanges, ScheduleOptions
    from codeq_grpc.core.errors import CodeQError


class Scheduling(Connection):
    """Makes, changes, pauses, fires and previews schedules, and tells what they did."""

    async def create_schedule(
        self, schedule_id: str, task: TaskSpec, **options: Unpack[ScheduleOptions]
    ) -> pb.Schedule:
        """Makes a schedule that enqueues `task`, and returns it with its next fire times.

        ```python
        task = client.spec("report", {"day": "{{fire_time}}"})
        await client.create_schedule("nightly", task, crons="0 3 * * *", time_zone="Europe/Berlin")
        ```

        In the headers of the task, and in the texts of a JSON payload, {{fire_time}},
        {{previous_fire_time}} and {{schedule_id}} are filled in. Without a `schedule_id` ("")
        the server makes one. When the reply gets lost, ask with `get_schedule` whether it is there.

        Raises:
            ScheduleExists: There is one of that name.
            InvalidField: A rule, a zone or the task is not valid; or no rule is given.
            QuotaExceeded: The tenant, or its creator, has as many as it may.
            CommandForbidden: The caller may not enqueue the task's command.
        """
        return await self._run(schedules.create(schedule_id, task, options))

    async def get_schedule(self, schedule_id: str) -> pb.Schedule:
        """Reads a schedule, in `status` its counts and its next five fire times.

        Raises:
            ScheduleNotFound: There is no such schedule, or it is another tenant's.
        """
        return await self._run(schedules.get(schedule_id))

    async def schedules(
        self,
        *,
        labels: Mapping[str, str] | None = None,
        command: str = "",
        id_prefix: str = "",
        page_size: int = 200,
    ) -> AsyncGenerator[pb.Schedule]:
        """The schedules that have all of these labels, enqueue this command and whose names begin
        so, in the order of their names; all of them, if nothing is given.

        They are read page by page, at most `page_size` (1 to 1000) at a time, as they are taken.
        """
        request = schedules.list_request(labels, command, id_prefix, page_size)
        while True:
            page = await self._run(schedules.page(request))
            for schedule in page.schedules:
                yield schedule
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def update_schedule(
        self,
        schedule_id: str,
        *,
        reason: str = "",
        etag: str = "",
        allow_missing: bool = False,
        **changes: Unpack[ScheduleChanges],
    ) -> pb.Schedule:
        """Changes what is given, all else stays; None goes back to the default.

        `etag` changes it only if it is that of the current version. `reason` stands in its versions
        and in the audit trail. `allow_missing` makes the schedule if there is none; of one that
        there is all rules change if one is given.

        Raises:
            ScheduleNotFound: There is no such schedule.
            ScheduleChanged: It has another etag by now; nothing was changed.
            InvalidField: A value is not valid.
            ValueError: There is nothing to change, or a time is naive.
        """
        flow = schedules.update(schedule_id, reason, etag, allow_missing, changes)
        return await self._run(flow)

    async def delete_schedule(self, schedule_id: str) -> None:
        """Removes a schedule; tasks that it made stay.

        Raises:
            ScheduleNotFound: There is no such schedule.
            ScheduleProtected: It is a part of codeQ.
        """
        await self._run(schedules.delete(schedule_id))

    async def pause_schedules(
        self, schedule_ids: str | Iterable[str], reason: str = ""
    ) -> dict[str, CodeQError]:
        """Stops them from firing; returns those that could not be, with why.

        More than 1000 make several calls. When one of them fails, the earlier ones stand.
        """
        return await self._run(schedules.batch(schedules.PAUSE, schedule_ids, reason))

    async def resume_schedules(
        self, schedule_ids: str | Iterable[str], reason: str = ""
    ) -> dict[str, CodeQError]:
        """Undoes `pause_schedules`; fire times that passed meanwhile are not made up for."""
        return await self._run(schedules.batch(schedules.RESUME, schedule_ids, reason))

    async def delete_schedules(
        self, schedule_ids: str | Iterable[str], reason: str = ""
    ) -> dict[str, CodeQError]:
        """As `delete_schedule`, of many; returns those that could not be, with why."""
        return await self._run(schedules.batch(schedules.DELETE, schedule_ids, reason))

    async def trigger_schedule(
        self, schedule_id: str, *, request_key: str | None = None
    ) -> pb.Firing:
        """Fires once now, a paused one, too; the overlap policy holds.

        With the same `request_key` within 24 h it is the same firing; without one the call has a
        key of its own, so that it outlasts outages shorter than the client's timeout.

        Raises:
            ScheduleNotFound: There is no such schedule.
        """
        return await self._run(schedules.trigger(schedule_id, request_key, self._timeout))

    async def backfill_schedule(self, schedule_id: str, start: datetime, end: datetime) -> int:
        """Fires for every fire time from `start` on and before `end`, both aware and not after
        now; tells how many tasks were made. Fire times that had theirs are left alone, as far as
        `firings` tells of them, and for 24 h.

        Raises:
            ScheduleNotFound: There is no such schedule.
            InvalidField: More than 1000 fire times lie between, or `end` is in the future.
            ValueError: A time is naive.
        """
        return await self._run(schedules.backfill(schedule_id, start, end))

    async def preview_schedule(
        self, *, count: int = 10, **options: Unpack[RuleOptions]
    ) -> list[datetime]:
        """The next `count` (1 to 100) fire times of rules, in UTC; nothing is stored.

        Raises:
            InvalidField: A rule or the zone is not valid, or no rule is given.
            ValueError: A time is naive.
        """
        found = await self._run(schedules.preview(count, options))
        return [time.ToDatetime(UTC) for time in found.times]

    async def firings(self, schedule_id: str, *, page_size: int = 200) -> AsyncGenerator[pb.Firing]:
        """Fire times of a schedule and what came of them, newest first, as many as are kept.

        They are read page by page, at most `page_size` (1 to 1000) at a time, as they are taken.

        Raises:
            ScheduleNotFound: There is no such schedule.
        """
        request = pb.ListFiringsRequest(schedule_id=schedule_id, page_size=page_size)
        while True:
            page = await self._run(schedules.firings_page(request))
            for firing in page.firings:
                yield firing
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def schedule_versions(self, schedule_id: str) -> list[pb.ScheduleVersion]:
        """The schedule as it is and was, newest first, up to 20 versions, with who and why.

        Raises:
            ScheduleNotFound: There is no such schedule.
        """
        return await self._run(schedules.versions(schedule_id))

    async def rollback_schedule(
        self, schedule_id: str, version: int, *, etag: str = "", reason: str = ""
    ) -> pb.Schedule:
        """Makes an earlier version the current one, as a new version; counts stay.

        Raises:
            ScheduleNotFound: There is no such schedule.
            VersionNotFound: There is no such version of it, or it is not kept any more.
            ScheduleChanged: It has another etag by now; nothing was changed.
        """
        return await self._run(schedules.rollback(schedule_id, version, etag, reason))
