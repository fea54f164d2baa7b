"""codeq.v1.AdminService: check, ask the broker, translate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.field_mask_pb2 import FieldMask

from codeq.v1 import admin_service_pb2 as pb, admin_service_pb2_grpc, queue_pb2
from codeq_grpc.core import limits
from codeq_grpc.rpc.audit_service import AuditServicer
from codeq_grpc.rpc.context import PRINCIPAL, permit, reach, tenant
from codeq_grpc.wire import api_keys, queues
from codeq_grpc.wire.checks import check_command, check_count, check_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    import grpc

    from codeq_grpc.core.principal import Scope
    from codeq_grpc.core.retry import RetryPolicy
    from codeq_grpc.rpc.brokers import Brokers

    Context = grpc.aio.ServicerContext[Any, Any]

_PAUSE = FieldMask(paths=["paused", "pause_reason"])


class AdminServicer(AuditServicer, admin_service_pb2_grpc.AdminServiceServicer):
    """For operators. The defaults and the roles are those of this server, times in ms."""

    def __init__(
        self,
        brokers: Brokers,
        *,
        retry: RetryPolicy,
        lease_ms: int,
        retention_ms: int,
        roles: Mapping[str, frozenset[Scope]],
    ) -> None:
        super().__init__(brokers)
        self._queues = brokers.queues
        self._presence = brokers.presence
        self._keys = brokers.api_keys
        self._roles = roles
        self._retry = retry
        self._lease_ms = lease_ms
        self._retention_ms = retention_ms

    def _message(self, command: str, stored: bytes) -> queue_pb2.Queue:
        return queues.queue_message(
            command,
            stored,
            retry=self._retry,
            lease_ms=self._lease_ms,
            retention_ms=self._retention_ms,
        )

    async def GetQueue(self, request: pb.GetQueueRequest, context: Context) -> pb.GetQueueResponse:
        """Settings of a queue."""
        command = _allowed(request.command, "command")
        stored = await self._queues.settings(tenant(), command)
        if request.only_set:
            return pb.GetQueueResponse(queue=queues.set_message(command, stored))
        return pb.GetQueueResponse(queue=self._message(command, stored))

    async def UpdateQueue(
        self, request: pb.UpdateQueueRequest, context: Context
    ) -> pb.UpdateQueueResponse:
        """Changes settings, and makes the queue if need be."""
        command = _allowed(request.queue.command, "queue.command")
        change = queues.changed(request.queue, request.update_mask)
        stored = await self._queues.update(tenant(), command, change, make=True)
        return pb.UpdateQueueResponse(queue=self._message(command, stored))

    async def PauseQueue(
        self, request: pb.PauseQueueRequest, context: Context
    ) -> pb.PauseQueueResponse:
        """Stops claims."""
        check_text(request.reason, "reason", limits.PAUSE_REASON_CHARS)
        await self._pause(request.command, paused=True, reason=request.reason)
        return pb.PauseQueueResponse()

    async def ResumeQueue(
        self, request: pb.ResumeQueueRequest, context: Context
    ) -> pb.ResumeQueueResponse:
        """Undoes PauseQueue."""
        await self._pause(request.command, paused=False, reason="")
        return pb.ResumeQueueResponse()

    async def _pause(self, command: str, *, paused: bool, reason: str) -> None:
        _allowed(command, "command")
        change = queues.changed(queue_pb2.Queue(paused=paused, pause_reason=reason), _PAUSE)
        await self._queues.update(tenant(), command, change, make=False)

    async def PurgeQueue(
        self, request: pb.PurgeQueueRequest, context: Context
    ) -> pb.PurgeQueueResponse:
        """Cancels what is neither leased nor ended."""
        command = _allowed(request.command, "command")
        count = await self._queues.purge(tenant(), command)
        return pb.PurgeQueueResponse(purged_count=count)

    async def ListWorkers(
        self, request: pb.ListWorkersRequest, context: Context
    ) -> pb.ListWorkersResponse:
        """Live workers."""
        if request.command:
            _allowed(request.command, "command")
        workers = await self._presence.workers(reach(), request.command)
        return pb.ListWorkersResponse(workers=queues.worker_messages(workers))

    async def CreateApiKey(
        self, request: pb.CreateApiKeyRequest, context: Context
    ) -> pb.CreateApiKeyResponse:
        """Makes a key, and tells its text this once."""
        wanted = api_keys.wanted_of(request, self._roles)
        key, text = await self._keys.create(PRINCIPAL.get(), wanted)
        return pb.CreateApiKeyResponse(key=api_keys.key_message(key), secret=text)

    async def ListApiKeys(
        self, request: pb.ListApiKeysRequest, context: Context
    ) -> pb.ListApiKeysResponse:
        """One page of keys."""
        size = check_count(request.page_size, "page_size", limits.PAGE_TASKS, limits.PAGE_DEFAULT)
        token = check_text(request.page_token, "page_token", limits.PAGE_TOKEN_CHARS)
        keys, following = await self._keys.page(reach(), token, "page_token", size)
        return pb.ListApiKeysResponse(
            keys=map(api_keys.key_message, keys), next_page_token=following
        )

    async def RevokeApiKey(
        self, request: pb.RevokeApiKeyRequest, context: Context
    ) -> pb.RevokeApiKeyResponse:
        """Ends a key."""
        key_id = api_keys.check_key_id(request.key_id)
        check_text(request.reason, "reason", limits.REASON_CHARS)
        await self._keys.revoke(reach(), key_id)
        return pb.RevokeApiKeyResponse()


def _allowed(command: str, path: str) -> str:
    check_command(command, path)
    permit(command)
    return command
