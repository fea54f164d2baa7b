"""The audit trail: exactly one event of every change by an operator, for its tenant, in order."""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
from collections import Counter
from typing import TYPE_CHECKING, Final

import pytest

from codeq.v1 import codeq_service_pb2 as pb
from codeq_grpc.rpc.audited import AUDITED, When
from tests.integration import operating
from tests.integration.auditing import (
    ALWAYS,
    BAD,
    GOOD,
    UNKNOWN,
    actions,
    ended,
    page,
    some,
    trail,
)
from tests.integration.calling import METHODS, PATHS, start, start_raw
from tests.integration.refusals import refused
from tests.integration.streaming import stream_request
from tests.support.server import LIMITED, running_server

if TYPE_CHECKING:
    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess


NOT_UTF8: Final = b"\x0a\x01\xff"


def test_every_rpc_that_is_always_audited_is_tried() -> None:
    always = {path for path, audited in AUDITED.items() if audited.when is When.ALWAYS}
    assert {PATHS[rpc] for rpc in GOOD} == {PATHS[rpc] for rpc in BAD} == always


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
    without_text = {"AdminCleanup", "BatchSchedules"}  # in their first field
    await refused(start_raw(acme, rpc, b"\xff" if rpc in without_text else NOT_UTF8))
    (event,) = await some(acme)
    assert (event.outcome, event.object) == ("INVALID_ARGUMENT", "")
    assert (event.reason, event.action.rpartition("/")[2]) == ("MALFORMED_MESSAGE", rpc)


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
