"""Schedules, for programs that are not asynchronous."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import UTC
from typing import TYPE_CHECKING

from codeq.v1 import schedule_service_pb2 as pb
from codeq_grpc.client import schedules

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime
    from typing import Unpack

    from codeq.v1.task_pb2 import TaskSpec
    from codeq_grpc.client.flows import Flow, T
    from codeq_grpc.client.rules import RuleOptions, ScheduleChanges, ScheduleOptions
    from codeq_grpc.core.errors import CodeQError


class SyncScheduling(ABC):
    """A part of `SyncClient`; arguments and errors are those of `Client`."""

    _timeout: float

    def create_schedule(
        self, schedule_id: str, task: TaskSpec, **options: Unpack[ScheduleOptions]
    ) -> pb.Schedule:
        """As `Client.create_schedule`."""
        return self._run(schedules.create(schedule_id, task, options))

    def get_schedule(self, schedule_id: str) -> pb.Schedule:
        """As `Client.get_schedule`."""
        return self._run(schedules.get(schedule_id))

    def schedules(
        self,
        *,
        labels: Mapping[str, str] | None = None,
        command: str = "",
        id_prefix: str = "",
        page_size: int = 200,
    ) -> Iterator[pb.Schedule]:
        """As `Client.schedules`."""
        request = schedules.list_request(labels, command, id_prefix, page_size)
        while True:
            page = self._run(schedules.page(request))
            yield from page.schedules
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def update_schedule(
        self,
        schedule_id: str,
        *,
        reason: str = "",
        etag: str = "",
        allow_missing: bool = False,
        **changes: Unpack[ScheduleChanges],
    ) -> pb.Schedule:
        """As `Client.update_schedule`."""
        return self._run(schedules.update(schedule_id, reason, etag, allow_missing, changes))

    def delete_schedule(self, schedule_id: str) -> None:
        """As `Client.delete_schedule`."""
        self._run(schedules.delete(schedule_id))

    def pause_schedules(
        self, schedule_ids: str | Iterable[str], reason: str = ""
    ) -> dict[str, CodeQError]:
        """As `Client.pause_schedules`."""
        return self._run(schedules.batch(schedules.PAUSE, schedule_ids, reason))

    def resume_schedules(
        self, schedule_ids: str | Iterable[str], reason: str = ""
    ) -> dict[str, CodeQError]:
        """As `Client.resume_schedules`."""
        return self._run(schedules.batch(schedules.RESUME, schedule_ids, reason))

    def delete_schedules(
        self, schedule_ids: str | Iterable[str], reason: str = ""
    ) -> dict[str, CodeQError]:
        """As `Client.delete_schedules`."""
        return self._run(schedules.batch(schedules.DELETE, schedule_ids, reason))

    def trigger_schedule(self, schedule_id: str, *, request_key: str | None = None) -> pb.Firing:
        """As `Client.trigger_schedule`."""
        return self._run(schedules.trigger(schedule_id, request_key, self._timeout))

    def backfill_schedule(self, schedule_id: str, start: datetime, end: datetime) -> int:
        """As `Client.backfill_schedule`."""
        return self._run(schedules.backfill(schedule_id, start, end))

    def preview_schedule(
        self, *, count: int = 10, **options: Unpack[RuleOptions]
    ) -> list[datetime]:
        """As `Client.preview_schedule`."""
        found = self._run(schedules.preview(count, options))
        return [time.ToDatetime(UTC) for time in found.times]

    def firings(self, schedule_id: str, *, page_size: int = 200) -> Iterator[pb.Firing]:
        """As `Client.firings`."""
        request = pb.ListFiringsRequest(schedule_id=schedule_id, page_size=page_size)
        while True:
            page = self._run(schedules.firings_page(request))
            yield from page.firings
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def schedule_versions(self, schedule_id: str) -> list[pb.ScheduleVersion]:
        """As `Client.schedule_versions`."""
        return self._run(schedules.versions(schedule_id))

    def rollback_schedule(
        self, schedule_id: str, version: int, *, etag: str = "", reason: str = ""
    ) -> pb.Schedule:
        """As `Client.rollback_schedule`."""
        return self._run(schedules.rollback(schedule_id, version, etag, reason))

    @abstractmethod
    def _run(self, flow: Flow[T]) -> T:
        """Carries it out; `SyncClient` does."""
