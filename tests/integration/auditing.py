"""Calls that are audited, and the trail as its callers read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from codeq.v1 import admin_service_pb2 as admin_pb, codeq_service_pb2 as pb
from codeq_grpc.auth.credentials import hash_token
from codeq_grpc.core.principal import Scope
from codeq_grpc.identity_settings import TokenEntry
from tests.integration import auditing_schedules
from tests.integration.calling import ask
from tests.integration.refusals import refused
from tests.support.server import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from codeq.v1.admin_service_pb2 import AuditEvent
    from tests.support.server import Caller, Server

UNKNOWN: Final = "AAAAAAAAAAAAAAAAAA"

GOOD: Final[dict[str, tuple[Callable[[str], Message], str, str]]] = {
    "CancelTasks": (
        lambda task: pb.CancelTasksRequest(selector={"task_ids": [task]}, reason="not\nneeded"),
        "{task}: 1 tasks",
        "not\\nneeded",
    ),
    "RedriveTasks": (
        lambda _: pb.RedriveTasksRequest(
            selector={
                "filter": {
                    "command": "RENDER",
                    "states": ["TASK_STATE_FAILED"],
                    "labels": {"a": "b"},
                }
            }
        ),
        "RENDER (FAILED, a=b): 0 tasks",
        "",
    ),
    "AdminCleanup": (
        lambda _: pb.AdminCleanupRequest(states=["TASK_STATE_FAILED", "TASK_STATE_EXPIRED"]),
        "FAILED, EXPIRED: 0 tasks",
        "",
    ),
    "UpdateQueue": (
        lambda _: admin_pb.UpdateQueueRequest(queue={"command": "RENDER", "max_backlog": 9}),
        "RENDER (max_backlog)",
        "",
    ),
    "PauseQueue": (
        lambda _: admin_pb.PauseQueueRequest(command="RENDER", reason="\x1b[2Jwhy"),
        "RENDER",
        "\\x1b[2Jwhy",
    ),
    "ResumeQueue": (lambda _: admin_pb.ResumeQueueRequest(command="RENDER"), "RENDER", ""),
    "PurgeQueue": (
        lambda _: admin_pb.PurgeQueueRequest(command="RENDER"),
        "RENDER: 1 tasks",
        "",
    ),
    "CreateApiKey": (
        lambda _: admin_pb.CreateApiKeyRequest(key={"name": "ci", "scopes": ["tasks.read"]}),
        "",
        "",
    ),
    "RevokeApiKey": (
        lambda _: admin_pb.RevokeApiKeyRequest(key_id=UNKNOWN, reason="leaked"),
        UNKNOWN,
        "leaked",
    ),
    **auditing_schedules.GOOD,
}
"""Of every RPC that is always audited a request, and what its event says if it is OK."""
BAD: Final[dict[str, Message]] = {
    "CancelTasks": pb.CancelTasksRequest(),
    "RedriveTasks": pb.RedriveTasksRequest(selector={"filter": {}}),
    "AdminCleanup": pb.AdminCleanupRequest(limit=-1, before=Timestamp(seconds=1 << 62)),
    "UpdateQueue": admin_pb.UpdateQueueRequest(queue={"command": "no name"}),
    "PauseQueue": admin_pb.PauseQueueRequest(command="NEVER"),
    "ResumeQueue": admin_pb.ResumeQueueRequest(command=""),
    "PurgeQueue": admin_pb.PurgeQueueRequest(command="NEVER"),
    "CreateApiKey": admin_pb.CreateApiKeyRequest(),
    "RevokeApiKey": admin_pb.RevokeApiKeyRequest(),
    **auditing_schedules.BAD,
}
ALWAYS: Final = sorted(GOOD)


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


async def some(caller: Caller, count: int = 1) -> list[admin_pb.AuditEvent]:
    """Its trail, once there are so many events: denials are written a moment later."""
    found: list[admin_pb.AuditEvent] = []

    async def there() -> bool:
        nonlocal found
        found = await trail(caller)
        return len(found) >= count

    await eventually(there)
    return found


def told_by(event: admin_pb.AuditEvent) -> int:
    """How many denials an event tells of."""
    words = event.reason.split()
    return int(words[-2]) if words[-1] == "more" else 1


async def ended(call: Any) -> tuple[str, str, str]:
    """Name of the code, reason of the refusal, request id."""
    try:
        await call
    except grpc.aio.AioRpcError:
        refusal = await refused(call)
        return refusal.code.name, refusal.reason, refusal.request_id
    request_id = dict(await call.trailing_metadata())["x-request-id"]
    return "OK", "", str(request_id)


def entry(subject: str, *scopes: str, commands: tuple[str, ...] = ()) -> TokenEntry:
    """A token of acme whose text is the subject."""
    return TokenEntry(
        sha256=hash_token(subject),
        subject=subject,
        tenant="acme",
        scopes=tuple(map(Scope, scopes)),
        commands=commands,
    )


def named(server: Server, subject: str) -> Caller:
    """The caller with such a token."""
    return server.stranger(("authorization", f"Bearer {subject}"))
