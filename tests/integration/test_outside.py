"""Callers whom others vouch for, at a real server: what they may do, and for how long."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from codeq.v1 import codeq_service_pb2 as pb
from codeq_grpc.auth import asking, issuer_keys
from codeq_grpc.auth.identity_service import _STRANGERS
from codeq_grpc.auth.issuer_keys import TTL
from codeq_grpc.core import clock
from codeq_grpc.rpc import sessions
from tests.integration.refusals import refused
from tests.integration.streaming import StreamReader, stream_request
from tests.support.issuer import (
    Ahead,
    FakeIdentityService,
    FakeIssuer,
    running_identity_service,
    running_issuer,
)
from tests.support.server import eventually, running_server
from tests.support.signing import signing_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess

ANNA: Final = {"localId": "anna", "tenantId": "acme"}
EXPIRED: Final = ("UNAUTHENTICATED", "CREDENTIAL_EXPIRED")
INVALID: Final = ("UNAUTHENTICATED", "CREDENTIAL_INVALID")


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> Ahead:
    """The clock of sessions and of all that is remembered of credentials."""
    found = Ahead()
    monkeypatch.setattr(clock, "monotonic", found)
    monkeypatch.setattr(sessions, "monotonic", found)
    monkeypatch.setattr(issuer_keys, "_LOOK", 0.05)
    monkeypatch.setattr(asking, "TIMEOUT", 60.0)
    return found


@pytest.fixture
async def issuer(ahead: Ahead) -> AsyncIterator[FakeIssuer]:
    async with running_issuer() as running:
        yield running


@pytest.fixture
async def service(ahead: Ahead) -> AsyncIterator[FakeIdentityService]:
    async with running_identity_service() as running:
        running.users["token-of-anna"] = ANNA
        yield running


@pytest.fixture
async def server(
    store: StoreProcess, issuer: FakeIssuer, service: FakeIdentityService
) -> AsyncIterator[Server]:
    entry = issuer.entry(scopes_claim="scope", commands_claim="commands")
    settings: dict[str, Any] = {
        "issuers": [entry],
        "identity_service_url": service.url,
        "identity_service_api_key": "s3cr3t-canary",
    }
    async with running_server(store, **settings) as running:
        yield running


def by(server: Server, token: str) -> Caller:
    """Somebody with a bearer token."""
    return server.stranger(("authorization", f"Bearer {token}"))


def everything(issuer: FakeIssuer, **claims: Any) -> str:
    """A token for all commands."""
    return issuer.token(**{"commands": ["*"], **claims})


async def test_claims_tell_the_tenant_the_scopes_and_the_commands(
    server: Server, issuer: FakeIssuer
) -> None:
    rival = by(server, everything(issuer, tid="rival"))
    task_id = await rival.enqueue("MAIL")
    acme = by(server, everything(issuer))
    unknown = await refused(acme.start("GetTask", pb.GetTaskRequest(task_id=task_id)))
    assert unknown.reason == "TASK_NOT_FOUND"
    viewer = by(server, everything(issuer, tid="rival", roles=["viewer", "unknown", "X"]))
    assert (await viewer.task(task_id)).task_id == task_id
    assert (await refused(viewer.claim("MAIL"))).reason == "SCOPE_MISSING"
    scoped = by(server, everything(issuer, tid="rival", roles=None, scope="leases.claim root"))
    assert [one.lease.task_id for one in await scoped.claim("MAIL")] == [task_id]
    assert (await refused(scoped.task(task_id))).reason == "SCOPE_MISSING"
    mail = by(server, everything(issuer, commands=["MAIL.*", "no such name!"]))
    assert await mail.claim("MAIL.IN") == []
    assert (await refused(mail.claim("RENDER"))).reason == "COMMAND_FORBIDDEN"


async def test_a_token_that_grants_nothing_is_valid_and_may_nothing(
    server: Server, issuer: FakeIssuer
) -> None:
    claims: dict[str, Any]
    for claims in (
        {"roles": []},
        {"roles": None},
        {"roles": {"admin": True}},
        {"roles": "ADMIN admin\u00a0", "scope": "TASKS.READ"},
        {"commands": None},
        {"commands": []},
        {"commands": "a/b"},
        {"commands": {"*": 1}},
    ):
        caller = by(server, everything(issuer, **claims))
        assert (await refused(caller.claim())).reason == "SCOPE_MISSING", claims


async def test_headers_add_nothing_to_what_is_vouched_for(
    server: Server, service: FakeIdentityService
) -> None:
    caller = server.stranger(
        ("authorization", "Bearer token-of-anna"),
        ("x-role", "ADMIN"),
        ("x-tenant-id", "rival"),
        ("x-user", "root"),
    )
    assert await caller.claim() == []
    await caller.enqueue()
    assert (await refused(caller.stats())).reason == "SCOPE_MISSING"
    assert len(service.tokens) == 1


async def test_calls_that_last_end_with_their_token(server: Server, issuer: FakeIssuer) -> None:
    ends = time.time() + 1.5
    caller = by(server, everything(issuer, exp=ends))
    waiting = asyncio.create_task(refused(caller.claim(wait=20, timeout=30)))
    async with StreamReader(caller, stream_request()) as reader:
        await reader.until(lambda reader: reader.ended)
        assert reader.refusal is not None
        assert reader.refusal.kind == EXPIRED
    assert (await waiting).kind == EXPIRED
    assert time.time() >= ends
    assert (await refused(caller.claim())).kind == EXPIRED


async def test_streams_end_when_the_key_of_their_token_is_removed(
    server: Server, issuer: FakeIssuer, ahead: Ahead
) -> None:
    caller = by(server, everything(issuer))
    async with StreamReader(caller, stream_request()) as reader:
        issuer.keys.clear()
        ahead.seconds += TTL
        await reader.until(lambda reader: reader.ended)
        assert reader.refusal is not None
        assert reader.refusal.kind == EXPIRED
    assert (await refused(caller.claim())).kind == INVALID


async def test_streams_end_when_the_service_no_longer_vouches(
    server: Server, service: FakeIdentityService, ahead: Ahead
) -> None:
    caller = by(server, "token-of-anna")
    async with StreamReader(caller, stream_request()) as reader:
        ahead.seconds += 61
        await eventually(lambda: len(service.tokens) == 2)
        assert not reader.ended
        del service.users["token-of-anna"]
        ahead.seconds += 61
        await reader.until(lambda reader: reader.ended)
        assert reader.refusal is not None
        assert reader.refusal.kind == EXPIRED


async def test_streams_outlast_a_short_outage_of_the_service(
    server: Server, service: FakeIdentityService, ahead: Ahead
) -> None:
    caller = by(server, "token-of-anna")
    async with StreamReader(caller, stream_request()) as reader:
        service.mode = "500"
        ahead.seconds += 61
        await eventually(lambda: service.asked >= 3)
        assert not reader.ended
        refusal = await refused(caller.claim())
        assert refusal.kind == ("UNAVAILABLE", "IDENTITY_UNAVAILABLE")
        assert refusal.retry_after == 1.0
        service.mode = "good"
        await eventually(lambda: len(service.tokens) >= 2)
        assert not reader.ended
        assert await caller.claim() == []
        service.mode = "500"
        ahead.seconds += 121
        await reader.until(lambda reader: reader.ended)
        assert reader.refusal is not None
        assert reader.refusal.reason == "IDENTITY_UNAVAILABLE"


async def test_nobody_else_waits_while_issuer_and_service_hang(
    server: Server, issuer: FakeIssuer, service: FakeIdentityService, ahead: Ahead
) -> None:
    known, gaps = by(server, everything(issuer)), [0.0]
    await known.claim()

    async def tick() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0)
            at = time.monotonic()
            gaps.append(at - last)
            last = at

    issuer.mode = service.mode = "held"
    ahead.seconds += TTL
    await eventually(lambda: issuer.asked == 2)
    new = issuer.token(signing_key("new"))
    tokens = [new, *(f"opaque-{number}" for number in range(100))]
    hanging = [asyncio.create_task(refused(by(server, token).claim())) for token in tokens]
    await eventually(lambda: service.asked == _STRANGERS)
    ticking = asyncio.create_task(tick())
    for _ in range(100):
        await server.caller().claim()
        await known.claim()
    assert sum(not task.done() for task in hanging) >= _STRANGERS
    service.gate.set()
    issuer.gate.set()
    for task in hanging:
        assert (await task).reason in {"IDENTITY_UNAVAILABLE", "CREDENTIAL_INVALID"}
    ticking.cancel()
    print(f"largest gap between two turns of the loop: {max(gaps) * 1000:.0f} ms")  # noqa: T201
    assert max(gaps) < 3


async def test_neither_tokens_nor_the_api_key_are_told_or_logged(
    server: Server,
    issuer: FakeIssuer,
    service: FakeIdentityService,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    good, forged = everything(issuer), everything(issuer, aud="other")
    opaque = "opaque-canary-token"
    await by(server, good).claim()
    told = []
    for mode in ("good", "500", "redirect", "garbage", "closes", "truncated", "403", "huge"):
        service.mode = mode
        for token in (forged, f"{opaque}-{mode}"):
            refusal = await refused(by(server, token).claim())
            told.append(f"{refusal.message} {json.dumps(refusal.metadata)}")
    await service.stop()
    told.append((await refused(by(server, opaque).claim())).message)
    log = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert "cannot be asked" in log
    for secret in (
        "s3cr3t",
        opaque,
        good.split(".")[2],
        forged.split(".")[2],
        forged.split(".")[1],
    ):
        assert secret not in log
        assert secret not in "\n".join(told)
    assert "s3cr3t" not in repr(server.app._settings)
