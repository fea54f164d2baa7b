"""Reads the audit trail, as its callers do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq.v1 import admin_service_pb2 as admin_pb
from tests.integration.calling import ask

if TYPE_CHECKING:
    from codeq.v1.admin_service_pb2 import AuditEvent
    from tests.support.server import Caller


async def page(caller: Caller, size: int = 0, token: str = "") -> admin_pb.ListAuditEventsResponse:
    """One page of it."""
    request = admin_pb.ListAuditEventsRequest(page_size=size, page_token=token)
    response: admin_pb.ListAuditEventsResponse = await ask(caller, "ListAuditEvents", request)
    return response


async def trail(caller: Caller, size: int = 1_000) -> list[AuditEvent]:
    """All of it, oldest first."""
    found: list[AuditEvent] = []
    token = ""
    while True:
        response = await page(caller, size, token)
        found += response.events
        token = response.next_page_token
        if not token:
            return found[::-1]


async def actions(caller: Caller) -> list[tuple[str, str, str]]:
    """Who did what with what outcome, oldest first."""
    return [
        (event.subject, event.action.rpartition("/")[2], event.outcome)
        for event in await trail(caller)
    ]
