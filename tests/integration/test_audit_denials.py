"""The audit trail: exactly one event of every denial, and a flood of them is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codeq.v1 import admin_service_pb2 as admin_pb, codeq_service_pb2 as pb, task_pb2
from codeq_grpc.broker import trail as trails
from tests.integration import operating
from tests.integration.auditing import (
    actions,
    entry,
    named,
    some,
    told_by,
    trail,
)
from tests.integration.calling import PATHS, ask
from tests.integration.refusals import refused, told
from tests.integration.requests import requests
from tests.integration.test_auth import answered
from tests.support.server import LIMITED, eventually, running_server

if TYPE_CHECKING:
    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess


@pytest.fixture
async def lease(acme: Caller) -> task_pb2.LeaseRef:
    """Of a task that is held."""
    await acme.enqueue()
    return (await acme.claim_one()).lease


@pytest.fixture
def unbounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many denials a second are written one by one."""
    monkeypatch.setattr(trails, "PER_SECOND", 1_000_000)


@pytest.mark.usefixtures("unbounded")
async def test_every_call_without_its_scope_has_exactly_one_event(store: StoreProcess) -> None:
    tokens = (entry("auditor", "audit.read"), entry("reader", "tasks.read"))
    async with running_server(store, tokens=tokens, reflection=True) as server:
        auditor = named(server, "auditor")
        expected = []
        for rpc, path in PATHS.items():
            who = "reader" if rpc == "ListAuditEvents" else "auditor"
            call = named(server, who)
            assert await answered(call, path) == ("PERMISSION_DENIED", "SCOPE_MISSING"), rpc
            expected.append((who, rpc, "PERMISSION_DENIED"))
        await some(auditor, len(expected))
        assert await actions(auditor) == expected
        assert {event.reason for event in await trail(auditor)} == {"SCOPE_MISSING"}


@pytest.mark.usefixtures("unbounded")
async def test_every_call_of_a_command_that_is_not_allowed_has_exactly_one_event(
    server: Server, acme: Caller, lease: task_pb2.LeaseRef
) -> None:
    await acme.enqueue("WITHHELD")
    limited = server.caller("acme", f"admin{LIMITED}")
    expected = []
    for rpc, request in requests(lease):
        text = request.SerializeToString().replace(b"\x06RENDER", b"\x06HIDDEN")
        if text == request.SerializeToString():
            continue
        seen = await told(limited, rpc, type(request).FromString(text))
        assert seen[:2] == ("PERMISSION_DENIED", "COMMAND_FORBIDDEN"), rpc
        # Of a key the patterns are denied, not a command.
        about = "" if rpc == "CreateApiKey" else "HIDDEN"
        expected.append((rpc, about, "COMMAND_FORBIDDEN"))
    asked = ask(limited, "ListAuditEvents", admin_pb.ListAuditEventsRequest())
    refusal = await refused(asked)
    assert refusal.kind == ("PERMISSION_DENIED", "COMMAND_FORBIDDEN")
    assert "the trail is of all of them" in refusal.message
    expected.append(("ListAuditEvents", "*", "COMMAND_FORBIDDEN"))
    events = await some(acme, len(expected))
    assert [(e.action.rpartition("/")[2], e.object, e.reason) for e in events] == expected
    assert {event.subject for event in events} == {f"admin{LIMITED} of acme"}


async def test_items_of_a_batch_that_are_denied_are_told_of_once(
    server: Server, acme: Caller
) -> None:
    limited = server.caller("acme", f"producer{LIMITED}")
    commands = ["RENDER", "A", "B", "A"]
    request = pb.BatchEnqueueRequest(tasks=[{"command": command} for command in commands])
    response = await limited.start("BatchEnqueue", request)
    assert [failure.reason for failure in response.failures] == ["COMMAND_FORBIDDEN"] * 3
    await operating.update(acme)
    (event, _) = sorted(await some(acme, 2), key=lambda one: one.outcome, reverse=True)
    assert (event.outcome, event.object) == ("PERMISSION_DENIED", "A, B")


async def test_a_flood_of_denials_is_counted_and_pushes_out_no_change(
    store: StoreProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trails, "PER_SECOND", 5)
    async with running_server(store) as server:
        acme, worker = server.caller(), server.caller("acme", "worker")
        await operating.update(acme)
        calls = [worker.start("AdminQueues", pb.AdminQueuesRequest()) for _ in range(200)]
        for call in calls:
            assert (await refused(call)).kind == ("PERMISSION_DENIED", "SCOPE_MISSING")
        denials: list[admin_pb.AuditEvent] = []

        async def all_told() -> bool:
            denials[:] = [e for e in await trail(acme) if e.outcome == "PERMISSION_DENIED"]
            return sum(map(told_by, denials)) == 200

        await eventually(all_told)
        sums = [event for event in denials if " more" in event.reason]
        assert sums
        assert len(denials) < 200
        for event in sums:
            assert event.reason.startswith("SCOPE_MISSING: and ")
            assert (event.subject, event.request_id) == ("worker of acme", "")
        assert (await trail(acme))[0].action == "AdminService/UpdateQueue"


async def test_the_last_denials_are_written_before_the_server_ends(store: StoreProcess) -> None:
    async with running_server(store) as server:
        viewer = server.caller("acme", "viewer")
        for _ in range(trails.PER_SECOND + 5):
            await refused(viewer.start("Enqueue", pb.EnqueueRequest()))
    async with running_server(store) as server:
        events = await trail(server.caller())
    assert sum(map(told_by, events)) == trails.PER_SECOND + 5
