"""The call of codeq.v1.AdminService about the audit trail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codeq.v1 import admin_service_pb2 as pb
from codeq_grpc.core import limits
from codeq_grpc.core.errors import CommandForbidden
from codeq_grpc.rpc.context import reach, tenant
from codeq_grpc.wire.audit import event_message
from codeq_grpc.wire.checks import check_count, check_text

if TYPE_CHECKING:
    import grpc

    from codeq_grpc.rpc.brokers import Brokers

    Context = grpc.aio.ServicerContext[Any, Any]

_ALL_COMMANDS = "*"
_LIMITED = "the credential is limited to some commands, and the trail is of all of them"


class AuditServicer:
    """Part of the operators' servicer."""

    def __init__(self, brokers: Brokers) -> None:
        self._trail = brokers.trail

    async def ListAuditEvents(
        self, request: pb.ListAuditEventsRequest, context: Context
    ) -> pb.ListAuditEventsResponse:
        """One page, newest first."""
        # It tells of every queue: who may not see them all may not see it.
        allowed = reach()
        if allowed.patterns and not allowed.has(_ALL_COMMANDS):
            raise CommandForbidden(_LIMITED, metadata={"command": _ALL_COMMANDS})
        most = check_count(request.page_size, "page_size", limits.PAGE_EVENTS, limits.PAGE_DEFAULT)
        token = check_text(request.page_token, "page_token", limits.PAGE_TOKEN_CHARS)
        events, following = await self._trail.page(tenant(), token, "page_token", most)
        return pb.ListAuditEventsResponse(
            events=[event_message(event) for event in events], next_page_token=following
        )
