"""What operators call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq.v1 import admin_service_pb2 as admin_pb, codeq_service_pb2 as pb
from codeq_grpc.client import api_keys, filters, queues, selections, trails
from codeq_grpc.client.connection import Connection
from codeq_grpc.client.flows import call
from codeq_grpc.client.specs import Span, aware

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable
    from datetime import datetime
    from typing import Unpack

    from codeq.v1.queue_pb2 import Queue
    from codeq.v1.task_pb2 import TaskState
    from codeq_grpc.client.filters import FilterOptions
    from codeq_grpc.client.queues import QueueSettings
    from codeq_grpc.client.selections import CancelTotal, RedriveTotal


class Operating(Connection):
    """Cancels, redrives and deletes tasks; sets, pauses and purges queues; makes API keys."""

    async def cancel(self, task_ids: str | Iterable[str], reason: str = "") -> CancelTotal:
        """Withdraws tasks; the worker of one that is IN_PROGRESS is told and may yet complete it.

        More than 1000 ids make several calls. When one of them fails, the earlier ones stand.
        """
        return await self._run(selections.cancel(task_ids, reason))

    async def cancel_matching(
        self,
        command: str,
        *,
        reason: str = "",
        limit: int | None = None,
        **options: Unpack[FilterOptions],
    ) -> CancelTotal:
        """Withdraws what matches, up to `limit` tasks, in as many calls as it takes."""
        chosen = filters.task_filter(command, **options)
        return await self._run(selections.cancel_matching(chosen, reason, limit))

    async def redrive(
        self, task_ids: str | Iterable[str], spread: Span | None = None
    ) -> RedriveTotal:
        """Makes FAILED, CANCELLED or EXPIRED tasks claimable again, with fresh attempts.

        `spread` makes them so over this long instead of at once. More than 1000 ids make
        several calls. When one of them fails, the earlier ones stand.
        """
        return await self._run(selections.redrive(task_ids, spread))

    async def redrive_matching(
        self,
        command: str,
        *,
        spread: Span | None = None,
        limit: int | None = None,
        **options: Unpack[FilterOptions],
    ) -> RedriveTotal:
        """As `redrive`, of what matches, up to `limit` tasks, in as many calls as it takes."""
        chosen = filters.task_filter(command, **options)
        return await self._run(selections.redrive_matching(chosen, spread, limit))

    async def cleanup(
        self,
        *,
        limit: int | None = None,
        before: datetime | None = None,
        states: Iterable[TaskState] = (),
    ) -> pb.AdminCleanupResponse:
        """Deletes up to `limit` (default 1000) tasks that ended before an aware time.

        Call it again while the response says that `limit` were deleted.
        """
        request = pb.AdminCleanupRequest(limit=limit, states=states)
        if before is not None:
            request.before.FromDatetime(aware("before", before))
        return await self._run(call("AdminCleanup", request, pb.AdminCleanupResponse))

    async def get_queue(self, command: str, *, only_set: bool = False) -> Queue:
        """Reads the settings of a queue, defaults filled in, or only what was set.

        Raises:
            QueueNotFound: There is no such queue.
        """
        return await self._run(queues.get_queue(command, only_set=only_set))

    async def update_queue(self, command: str, **settings: Unpack[QueueSettings]) -> Queue:
        """Changes the settings given, making the queue if need be; all others stay.

        None goes back to the server's default. Of a retry policy the fields that are set in it
        change.
        """
        return await self._run(queues.update_queue(command, **settings))

    async def pause_queue(self, command: str, reason: str = "") -> None:
        """Stops claims; enqueues go on."""
        request = admin_pb.PauseQueueRequest(command=command, reason=reason)
        await self._run(call("PauseQueue", request, admin_pb.PauseQueueResponse))

    async def resume_queue(self, command: str) -> None:
        """Undoes `pause_queue`."""
        request = admin_pb.ResumeQueueRequest(command=command)
        await self._run(call("ResumeQueue", request, admin_pb.ResumeQueueResponse))

    async def purge_queue(self, command: str) -> int:
        """Cancels every task that is not leased and has not ended; tells how many."""
        return await self._run(queues.purge_queue(command))

    async def workers(self, command: str = "") -> list[admin_pb.Worker]:
        """Live workers of one queue, or of all."""
        return await self._run(queues.workers(command))

    async def audit_events(self, *, page_size: int = 200) -> AsyncGenerator[admin_pb.AuditEvent]:
        """Who did what in the tenant, newest first.

        They are read page by page, at most `page_size` (1 to 1000) at a time, as they are
        taken. What happens meanwhile is not among them.
        """
        token = ""
        while True:
            page = await self._run(trails.audit_page(page_size, token))
            for event in page.events:
                yield event
            if not (token := page.next_page_token):
                return

    async def create_api_key(
        self,
        name: str,
        *,
        roles: Iterable[str] = (),
        scopes: Iterable[str] = (),
        commands: Iterable[str] = (),
        ttl: Span | None = None,
    ) -> admin_pb.CreateApiKeyResponse:
        """Makes a key of the caller's tenant; its `secret` is told this once.

        It has the scopes of the roles and those named, for these commands (`*` stands for any
        characters), or for all; it ends after `ttl`, or not by itself.

        Raises:
            ScopeMissing: The caller itself lacks one of the scopes.
            CommandForbidden: The caller itself is not allowed one of the commands.
            TooManyKeys: The tenant has 1000 already.
        """
        flow = api_keys.create(name, roles=roles, scopes=scopes, commands=commands, ttl=ttl)
        return await self._run(flow)

    async def api_keys(self) -> list[admin_pb.ApiKey]:
        """The keys of the caller's tenant, the newest first."""
        return await self._run(api_keys.every())

    async def revoke_api_key(self, key_id: str, reason: str = "") -> None:
        """Ends a key, and the calls made with it; again is fine.

        Raises:
            KeyNotFound: There is no such key, or it is another tenant's.
        """
        await self._run(api_keys.revoke(key_id, reason))
