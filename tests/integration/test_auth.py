"""Credentials: what is refused, before a request is read; and the matrix of roles and RPCs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from codeq.v1 import codeq_service_pb2 as pb
from codeq_grpc.auth import authenticator
from codeq_grpc.auth.permissions import ALSO, PERMISSIONS, Access
from codeq_grpc.client import Client
from codeq_grpc.core.principal import ROLES
from tests.integration.calling import PATHS, SERVICE
from tests.integration.looking import calls_under_way, contents
from tests.integration.refusals import read_refusal, refused
from tests.support.server import Caller, bearer, eventually, token_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from codeq_grpc.auth.credentials import Credential
    from tests.support.admin import Admin
    from tests.support.server import Metadata, Server

GOOD: Final = token_of("acme", "admin")
MISSING: Final = ("UNAUTHENTICATED", "CREDENTIAL_MISSING")
INVALID: Final = ("UNAUTHENTICATED", "CREDENTIAL_INVALID")
RPCS: Final = list(PATHS.values())

BAD_CREDENTIALS: Final[dict[str, tuple[Metadata, tuple[str, str]]]] = {
    "none": ((), MISSING),
    "in another header": ((("x-authorization", f"Bearer {GOOD}"),), MISSING),
    "as an API key": ((("x-api-key", GOOD),), INVALID),
    "in two headers": ((*bearer("acme", "admin"), ("x-api-key", GOOD)), INVALID),
    "in a cookie": ((("cookie", f"authorization=Bearer {GOOD}"),), MISSING),
    "empty": ((("authorization", ""),), INVALID),
    "no scheme": ((("authorization", GOOD),), INVALID),
    "no token": ((("authorization", "Bearer "),), INVALID),
    "another scheme": ((("authorization", f"Basic {GOOD}"),), INVALID),
    "unknown": ((("authorization", f"Bearer {GOOD}x"),), INVALID),
    "cut short": ((("authorization", f"Bearer {GOOD[:-1]}"),), INVALID),
    "other case": ((("authorization", f"Bearer {GOOD.upper()}"),), INVALID),
    "two words": ((("authorization", f"Bearer {GOOD} {GOOD}"),), INVALID),
    "a comma": ((("authorization", f"Bearer {GOOD},Bearer {GOOD}"),), INVALID),
    "too long": ((("authorization", "Bearer " + "x" * 5_000),), INVALID),
    "twice the same": ((*bearer("acme", "admin"), *bearer("acme", "admin")), INVALID),
    "two different": ((*bearer("acme", "viewer"), *bearer("acme", "admin")), INVALID),
    "good, then bad": ((*bearer("acme", "admin"), ("authorization", "Bearer x")), INVALID),
    "bad, then good": ((("authorization", "Bearer x"), *bearer("acme", "admin")), INVALID),
}


async def silent(caller: Caller, path: str, *, timeout: float = 10) -> tuple[str, str]:
    """Code and reason of a call that sends its headers and never a message."""
    enough = asyncio.Event()

    async def never() -> AsyncIterator[bytes]:
        await enough.wait()
        yield b""

    make: Any = caller.channel.stream_stream(path)
    call = make(never(), metadata=caller.metadata, timeout=timeout)
    try:
        await call.read()
    except grpc.aio.AioRpcError as error:
        return read_refusal(error).kind
    finally:
        call.cancel()
        enough.set()
    return await call.code(), ""


async def answered(caller: Caller, path: str) -> tuple[str, str]:
    """Code and reason of a call with an empty request."""
    make: Any = caller.channel.unary_stream(path)
    call = make(b"", metadata=caller.metadata, timeout=10)
    try:
        await call.read()
    except grpc.aio.AioRpcError as error:
        return read_refusal(error).kind
    finally:
        call.cancel()
    return "OK", ""


@pytest.mark.parametrize("what", BAD_CREDENTIALS)
async def test_every_rpc_refuses_a_bad_credential(server: Server, admin: Admin, what: str) -> None:
    before = contents(admin)
    metadata, kind = BAD_CREDENTIALS[what]
    caller = server.stranger(*metadata)
    for path in RPCS:
        assert await answered(caller, path) == kind, path
    assert contents(admin) == before


async def test_a_verifier_that_breaks_tells_callers_nothing_of_it(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(metadata: object) -> Credential:
        raise RuntimeError(f"canary in {type(metadata)}")

    monkeypatch.setattr(authenticator, "read_credential", broken)
    for path in RPCS:
        assert await answered(server.caller(), path) == ("INTERNAL", "INTERNAL"), path
    refusal = await refused(server.caller().claim())
    assert refusal.request_id in refusal.message
    assert "canary" not in refusal.message
    assert "canary" in caplog.text


async def test_a_token_for_this_machine_is_shown_to_no_proxy(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(1 << 10))
        writer.close()

    async with await asyncio.start_server(proxy, "127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        for name in ("http_proxy", "https_proxy", "grpc_proxy"):
            monkeypatch.setenv(name, url)
        for name in ("no_proxy", "no_grpc_proxy"):
            monkeypatch.delenv(name, raising=False)
        port = server.ports.grpc
        for target in (f"127.0.0.1:{port}", f"localhost:{port}", f"dns:///127.0.0.1:{port}"):
            async with Client(target, token=GOOD) as client:
                assert (await client.enqueue("RENDER")).task_id
    assert asked == []


async def test_the_scheme_is_known_in_any_case_and_spacing(server: Server) -> None:
    for scheme in ("bearer ", "BEARER  ", "Bearer "):
        caller = server.stranger(("authorization", scheme + GOOD))
        assert await caller.claim() == []


async def test_a_refusal_tells_nothing_of_what_would_be_right(server: Server) -> None:
    unknown = server.stranger(("authorization", "Bearer nobodys.token"))
    refusal = await refused(unknown.start("Claim", pb.ClaimRequest()))
    assert refusal.message == "The credential is not valid."
    assert refusal.metadata == {}
    assert refusal.fields == ()
    assert refusal.request_id


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_may_call_exactly_what_its_scopes_say(server: Server, role: str) -> None:
    caller = server.caller("acme", role)
    for path in RPCS:
        needed = PERMISSIONS[path]
        assert not isinstance(needed, Access)
        kind = await answered(caller, path)
        if {needed, ALSO.get(path, needed)} <= ROLES[role]:
            assert kind in {("OK", ""), ("INVALID_ARGUMENT", "INVALID_FIELD")}, path
        else:
            assert kind == ("PERMISSION_DENIED", "SCOPE_MISSING"), path
            # Refused by the headers alone, before any request is there.
            assert server.native or await silent(caller, path) == kind


async def test_a_refusal_names_the_missing_scope(server: Server) -> None:
    viewer = server.caller("acme", "viewer")
    refusal = await refused(viewer.start("Enqueue", pb.EnqueueRequest()))
    assert refusal.metadata == {"scope": "tasks.enqueue", "method": RPCS[0]}


FORGED: Final = (
    ("x-role", "admin"),
    ("x-roles", "admin"),
    ("x-scopes", "tasks.enqueue queues.admin"),
    ("x-tenant", "rival"),
    ("x-tenant-id", "rival"),
    ("x-user", "admin of rival"),
    ("x-subject", "admin of rival"),
    ("x-forwarded-user", "admin"),
    ("codeq-tenant", "rival"),
    ("tenant", "rival"),
)


async def test_roles_and_tenants_in_headers_are_ignored(server: Server, rival: Caller) -> None:
    task_id = await rival.enqueue("SECRET")
    for role in ROLES:
        plain = server.caller("acme", role)
        forged = Caller(server.channel, (*plain.metadata, *FORGED))
        for path in RPCS:
            assert await answered(forged, path) == await answered(plain, path)
        call = forged.start("GetTask", pb.GetTaskRequest(task_id=task_id))
        assert (await refused(call)).kind == ("NOT_FOUND", "TASK_NOT_FOUND")
    assert await answered(server.stranger(*FORGED), RPCS[0]) == MISSING
    forged = Caller(server.channel, (*bearer("acme", "admin"), *FORGED))
    assert await forged.claim("SECRET") == []


async def test_health_is_open_to_anybody(server: Server) -> None:
    stub: Any = health_pb2_grpc.HealthStub(server.channel)
    assert (await stub.Check(health_pb2.HealthCheckRequest())).status == 1
    assert (await stub.List(health_pb2.HealthListRequest())).statuses
    for metadata, _ in BAD_CREDENTIALS.values():
        assert (await stub.Check(health_pb2.HealthCheckRequest(), metadata=metadata)).status == 1


async def test_strangers_who_send_headers_only_are_refused_and_hold_nobody_up(
    server: Server,
) -> None:
    stranger = server.stranger()
    acme = server.caller()
    calls = [asyncio.create_task(silent(stranger, path, timeout=2)) for path in RPCS * 20]
    task_id = await acme.enqueue()
    assert [task.lease.task_id for task in await acme.claim()] == [task_id]
    # pygrpc-native asks nobody before there is a message, and keeps no place for the call.
    expected = ("DEADLINE_EXCEEDED", "") if server.native else MISSING
    assert {await call for call in calls} == {expected}
    assert await silent(stranger, f"/{SERVICE.full_name}/Nothing") == MISSING


async def test_callers_who_send_headers_only_hold_nobody_up(server: Server) -> None:
    acme = server.caller()
    calls = [asyncio.create_task(silent(acme, path, timeout=1)) for path in RPCS * 8]
    await eventually(lambda: server.native or calls_under_way() == len(calls))
    task_id = await acme.enqueue()
    assert [task.lease.task_id for task in await acme.claim()] == [task_id]
    assert {await call for call in calls} == {("DEADLINE_EXCEEDED", "")}
