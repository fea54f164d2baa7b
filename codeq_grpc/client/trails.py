"""Flows of those who read the audit trail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq.v1 import admin_service_pb2 as pb
from codeq_grpc.client.flows import call

if TYPE_CHECKING:
    from codeq_grpc.client.flows import Flow


def audit_page(page_size: int, page_token: str) -> Flow[pb.ListAuditEventsResponse]:
    """Reads one page."""
    request = pb.ListAuditEventsRequest(page_size=page_size, page_token=page_token)
    return (yield from call("ListAuditEvents", request, pb.ListAuditEventsResponse))
