"""The audit trail: exactly one event of every change by an operator and of every denial."""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from codeq.v1 import admin_service_pb2 as admin_pb, codeq_service_pb2 as pb, task_pb2
from codeq_grpc.auth.credentials import hash_token
from codeq_grpc.broker import trail as trails
from codeq_grpc.core.principal import Scope
from codeq_grpc.identity_settings import TokenEntry
from codeq_grpc.rpc.audited import AUDITED, When
from tests.integration import operating
from tests.integration.auditing import actions, page, trail
from tests.integration.calling import METHODS, PATHS, start, start_raw
from tests.integration.refusals import refused, told
from tests.integration.requests import requests
from tests.integration.streaming import stream_request
from tests.integration.test_auth import answered
from tests.support.server import LIMITED, eventually, running_server

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess

UNKNOWN: Final = "AAAAAAAAAAAAAAAAAA"
NOT_UTF8: Final = b"\x0a\x01\xff"

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
}
ALWAYS: Final = sorted(GOOD)


def test_every_rpc_that_is_always_audited_is_tried() -> None:
    always = {path for path, audited in AUDITED.items() if audited.when is When.ALWAYS}
    assert {PATHS[rpc] for rpc in GOOD} == {PATHS[rpc] for rpc in BAD} == always


async def ended(call: Any) -> tuple[str, str, str]:
    """Name of the code, reason of the refusal, request id."""
    try:
        await call
    except grpc.aio.AioRpcError:
        refusal = await refused(call)
        return refusal.code.name, refusal.reason, refusal.request_id
    request_id = dict(await call.trailing_metadata())["x-request-id"]
    return "OK", "", str(request_id)


@pytest.mark.parametrize("rpc", ALWAYS)
async def test_every_call_of_an_operator_has_exactly_one_event(
    server: Server, acme: Caller, rpc: str
) -> None:
    task_id = await acme.enqueue()
    make, told_of, reason = GOOD[rpc]
    code, why, request_id = await ended(start(acme, rpc, make(task_id)))
    (event,) = await trail(acme)
    assert event.action == f"{METHODS[rpc].containing_service.name}/{rpc}"
    assert (event.subject, event.credential) == ("admin of acme", "token")
    assert (event.outcome, event.request_id) == (code, request_id)
    assert event.reason == (reason if code == "OK" else why)
    if code == "OK" and told_of:
        assert event.object == told_of.format(task=task_id)
    assert event.peer.startswith(("ipv4:127.0.0.1:", "ipv6:"))
    now_ms = (await acme.stats()).read_time.ToMilliseconds()
    assert 0 <= now_ms - event.time.ToMilliseconds() < 60_000


@pytest.mark.parametrize("rpc", ALWAYS)
async def test_a_call_of_an_operator_that_fails_has_exactly_one_event(
    acme: Caller, rpc: str
) -> None:
    code, reason, request_id = await ended(start(acme, rpc, BAD[rpc]))
    assert code != "OK"
    (event,) = await trail(acme)
    assert (event.outcome, event.reason, event.request_id) == (code, reason, request_id)


@pytest.mark.parametrize("rpc", ALWAYS)
async def test_a_call_of_an_operator_that_cannot_be_read_has_exactly_one_event(
    acme: Caller, rpc: str
) -> None:
    await refused(start_raw(acme, rpc, NOT_UTF8 if rpc != "AdminCleanup" else b"\xff"))
    (event,) = await some(acme)
    assert (event.outcome, event.object) == ("INVALID_ARGUMENT", "")
    assert (event.reason, event.action.rpartition("/")[2]) == ("MALFORMED_MESSAGE", rpc)


async def some(caller: Caller, count: int = 1) -> list[admin_pb.AuditEvent]:
    """Its trail, once there are so many events: denials are written a moment later."""
    found: list[admin_pb.AuditEvent] = []

    async def there() -> bool:
        nonlocal found
        found = await trail(caller)
        return len(found) >= count

    await eventually(there)
    return found


@pytest.fixture
async def lease(acme: Caller) -> task_pb2.LeaseRef:
    """Of a task that is held."""
    await acme.enqueue()
    return (await acme.claim_one()).lease


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
        expected.append((rpc, "HIDDEN", "COMMAND_FORBIDDEN"))
    assert (await told(limited, "ListAuditEvents", admin_pb.ListAuditEventsRequest()))[:2] == (
        "PERMISSION_DENIED",
        "COMMAND_FORBIDDEN",
    )
    expected.append(("ListAuditEvents", "*", "COMMAND_FORBIDDEN"))
    events = await some(acme, len(expected))
    assert [(e.action.rpartition("/")[2], e.object, e.reason) for e in events] == expected
    assert {event.subject for event in events} == {f"admin{LIMITED} of acme"}


async def test_calls_that_change_no_settings_have_none(acme: Caller) -> None:
    await acme.enqueue_many(3)
    await acme.complete((await acme.claim())[0])
    await acme.stats()
    await refused(acme.start("GetTask", pb.GetTaskRequest(task_id=UNKNOWN)))
    await refused(acme.start("Claim", pb.ClaimRequest()))
    await page(acme)
    await operating.update(acme)
    assert await actions(acme) == [("admin of acme", "UpdateQueue", "OK")]


async def test_where_everything_is_audited_every_change_has_exactly_one_event(
    store: StoreProcess,
) -> None:
    async with running_server(store, audit="all") as server:
        acme = server.caller()
        first = await acme.enqueue()
        await acme.enqueue_many(2)
        (task,) = await acme.claim()
        await acme.heartbeat(task)
        await acme.complete(task)
        await refused(acme.start("Complete", pb.CompleteRequest(lease={"task_id": "x"})))
        await acme.stats()
        await operating.pause(acme)
        stream = acme.start("StreamClaim", stream_request(), timeout=None)
        await stream.read()
        stream.cancel()
        expected = [
            ("Enqueue", f"RENDER: {first}", "OK"),
            ("BatchEnqueue", "RENDER: 2 tasks", "OK"),
            ("Claim", "RENDER: 1 tasks", "OK"),
            ("Heartbeat", task.lease.task_id, "OK"),
            ("Complete", task.lease.task_id, "OK"),
            ("Complete", "x", "INVALID_ARGUMENT"),
            ("PauseQueue", "RENDER", "OK"),
            ("StreamClaim", "RENDER", "CANCELLED"),
        ]
        events = await some(acme, len(expected))
        assert [(e.action.rpartition("/")[2], e.object, e.outcome) for e in events] == expected


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


async def test_tenants_see_their_own_events_only(acme: Caller, rival: Caller) -> None:
    await operating.update(acme, "MINE")
    await operating.update(rival, "THEIRS")
    await refused(operating.pause(rival, "MINE"))
    assert [event.object for event in await trail(acme)] == ["MINE"]
    assert [event.object for event in await trail(rival)] == ["THEIRS", "MINE"]
    token = (await page(rival, 1)).next_page_token
    assert token
    refusal = await refused(page(acme, 1, token))
    assert refusal.kind == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert refusal.fields == ("page_token",)


async def test_pages_go_on_while_others_write(acme: Caller) -> None:
    for number in range(7):
        await operating.update(acme, f"Q{number}")
    seen, token = [], ""
    while True:
        response = await page(acme, 3, token)
        seen.append([event.object for event in response.events])
        token = response.next_page_token
        if not token:
            break
        await operating.update(acme, "NEW")
    assert seen == [["Q6", "Q5", "Q4"], ["Q3", "Q2", "Q1"], ["Q0"]]
    for size in (-1, 1_001):
        assert (await refused(page(acme, size))).fields == ("page_size",)


@pytest.mark.parametrize("change", ["x", "-", "=", " ", "\n", "é"])
async def test_a_token_of_another_spelling_is_refused(acme: Caller, change: str) -> None:
    for _ in range(2):
        await operating.update(acme)
    token = (await page(acme, 1)).next_page_token
    for wrong in (token + change, change + token, token[:-1] + change, token[:-1]):
        assert (await refused(page(acme, 1, wrong))).fields == ("page_token",), wrong


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


def told_by(event: admin_pb.AuditEvent) -> int:
    """How many denials an event tells of."""
    words = event.reason.split()
    return int(words[-2]) if words[-1] == "more" else 1


async def test_the_last_denials_are_written_before_the_server_ends(store: StoreProcess) -> None:
    async with running_server(store) as server:
        viewer = server.caller("acme", "viewer")
        for _ in range(trails.PER_SECOND + 5):
            await refused(viewer.start("Enqueue", pb.EnqueueRequest()))
    async with running_server(store) as server:
        events = await trail(server.caller())
    assert sum(map(told_by, events)) == trails.PER_SECOND + 5


async def test_random_calls_of_operators_are_all_there_in_the_order_of_each(
    server: Server, peer: Server, acme: Caller
) -> None:
    seed = random.randrange(1 << 30)
    sys.stdout.write(f"seed {seed}\n")  # shown where it fails
    chance = random.Random(seed)
    roles = ("admin", "operator", f"admin{LIMITED}")
    await acme.enqueue_many(20)

    async def work(role: str, moves: random.Random) -> list[str]:
        made = []
        for _ in range(25):
            caller = moves.choice((server, peer)).caller("acme", role)
            rpc = moves.choice(ALWAYS)
            request = GOOD[rpc][0](UNKNOWN) if moves.random() < 0.7 else BAD[rpc]
            _, _, request_id = await ended(start(caller, rpc, request))
            made.append(request_id)
        return made

    seeds = [random.Random(chance.random()) for _ in roles]
    async with asyncio.TaskGroup() as group:
        working = [group.create_task(work(*one)) for one in zip(roles, seeds, strict=True)]
    done = {f"{role} of acme": task.result() for role, task in zip(roles, working, strict=True)}
    await some(acme, 75)
    events = await trail(acme)
    assert Counter(e.request_id for e in events) == Counter(itertools.chain(*done.values()))
    for subject, ids in done.items():
        own = [event for event in events if event.subject == subject]
        # Denials are written in the background: they have an order of their own.
        for denied in (False, True):
            kept = [e.request_id for e in own if (e.outcome == "PERMISSION_DENIED") is denied]
            assert kept == [one for one in ids if one in kept]
