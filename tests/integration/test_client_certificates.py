"""A listed client certificate is a credential like any other; one that is not listed is none."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest

from codeq.v1 import codeq_service_pb2 as pb
from codeq_grpc.auth.permissions import ALSO, PERMISSIONS, Access
from codeq_grpc.client import Client, SyncClient, tls_credentials
from codeq_grpc.core.principal import ROLES
from tests.integration.calling import PATHS
from tests.integration.refusals import read_refusal, refused
from tests.integration.streaming import StreamReader, stream_request
from tests.support.authority import ADMIN, SERVER_NAMES, Authority, tls_server
from tests.support.server import bearer, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.authority import TlsServer
    from tests.support.server import Caller
    from tests.support.stores import StoreProcess

WORKER: Final = "dns:worker.acme.example"
LISTED: Final = (
    {"name": WORKER, "subject": "w", "tenant": "acme", "roles": ["worker"]},
    {"name": "uri:spiffe://acme/admin", "subject": "a", "tenant": "acme", "roles": ["admin"]},
    {"name": "email:ops@acme.example", "subject": "o", "tenant": "acme", "roles": ["operator"]},
    {"name": "cn:Rival Admin", "subject": "r", "tenant": "rival", "roles": ["admin"]},
    {
        "name": "dns:mail.acme.example",
        "subject": "m",
        "tenant": "acme",
        "roles": ["producer"],
        "commands": ["MAIL*"],
    },
)
MISSING: Final = ("UNAUTHENTICATED", "CREDENTIAL_MISSING")
INVALID: Final = ("UNAUTHENTICATED", "CREDENTIAL_INVALID")
FORBIDDEN: Final = ("PERMISSION_DENIED", "SCOPE_MISSING")
ENQUEUE: Final = pb.EnqueueRequest(task={"command": "RENDER"})


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def tls(
    store: StoreProcess, tmp_path: Path, authority: Authority
) -> AsyncIterator[TlsServer]:
    server = authority.issue(*SERVER_NAMES)
    async with tls_server(
        store, tmp_path, server, authority.pem, certificates=LISTED, max_failures_per_second=1_000
    ) as running:
        yield running


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


async def test_a_listed_certificate_may_call_exactly_what_its_roles_say(
    tls: TlsServer, authority: Authority
) -> None:
    names = {
        "worker": authority.issue("worker.acme.example"),
        "admin": authority.issue_uri("spiffe://acme/admin"),
        "operator": authority.issue("ops@acme.example"),
    }
    for role, certificate in names.items():
        async with tls.connected(authority.credentials(certificate), ()) as caller:
            for path in PATHS.values():
                allowed = {PERMISSIONS[path], ALSO.get(path, PERMISSIONS[path])} <= ROLES[role]
                assert (await answered(caller, path) != FORBIDDEN) is allowed, (role, path)


async def test_tenants_and_commands_are_those_of_its_entry(
    tls: TlsServer, authority: Authority
) -> None:
    rival = authority.issue("anything.example", common_name="Rival Admin")
    admin, mail = authority.issue_uri("spiffe://acme/admin"), authority.issue("mail.acme.example")
    async with (
        tls.connected(authority.credentials(rival), ()) as rivals,
        tls.connected(authority.credentials(admin), ()) as acmes,
        tls.connected(authority.credentials(mail), ()) as mails,
    ):
        task_id = await acmes.enqueue()
        assert await acmes.state(task_id) == "PENDING"
        call = rivals.start("GetTask", pb.GetTaskRequest(task_id=task_id))
        assert (await refused(call)).kind == ("NOT_FOUND", "TASK_NOT_FOUND")
        refusal = await refused(mails.start("Enqueue", ENQUEUE))
        assert refusal.kind == ("PERMISSION_DENIED", "COMMAND_FORBIDDEN")
        assert await mails.enqueue("MAIL.WELCOME")


UNLISTED: Final[dict[str, tuple[tuple[str, ...], str | None]]] = {
    "another name": (("other.acme.example",), None),
    "the name as a common name": (("x.example",), "worker.acme.example"),
    "a listed common name with its kind": (("x.example",), "dns:worker.acme.example"),
    "a listed common name as a host": (("rival-admin.example",), None),
    "another case of a common name": (("x.example",), "rival admin"),
    "a space more": (("x.example",), "Rival Admin "),
    "the parent": (("acme.example",), None),
    "a child": (("a.worker.acme.example",), None),
    "a wildcard": (("*.acme.example",), None),
    "a longer URI": (("spiffe://acme/admin/x",), None),
    "a URI of another case": (("spiffe://acme/Admin",), None),
    "another address": (("10.0.0.7",), None),
}


@pytest.mark.parametrize("what", UNLISTED)
async def test_one_that_is_not_listed_is_transport_only(
    tls: TlsServer, authority: Authority, what: str
) -> None:
    names, common_name = UNLISTED[what]
    certificate = (
        authority.issue_uri(*names)
        if "URI" in what
        else authority.issue(*names, common_name=common_name)
    )
    async with tls.connected(authority.credentials(certificate), ()) as nobody:
        for path in PATHS.values():
            assert await answered(nobody, path) == MISSING, path
    async with tls.connected(authority.credentials(certificate), ADMIN) as caller:
        assert await caller.enqueue()


async def test_a_host_name_is_the_same_in_any_case(tls: TlsServer, authority: Authority) -> None:
    certificate = authority.issue("WORKER.acme.Example")
    async with tls.connected(authority.credentials(certificate), ()) as worker:
        assert await worker.claim() == []


async def test_a_certificate_and_a_token_are_two_credentials(
    tls: TlsServer, authority: Authority
) -> None:
    certificate = authority.issue("worker.acme.example")
    credentials = authority.credentials(certificate)
    others = {
        "the same tenant": ADMIN,
        "another": bearer("rival", "admin"),
        "invalid": (("authorization", "Bearer x"),),
        "empty": (("authorization", ""),),
        "an API key": (("x-api-key", "x"),),
        "two": (*ADMIN, *ADMIN),
    }
    for what, metadata in others.items():
        async with tls.connected(credentials, metadata) as caller:
            for path in PATHS.values():
                kind = await answered(caller, path)
                assert kind == INVALID, (what, path, kind)


async def test_one_that_two_entries_name_is_refused(tls: TlsServer, authority: Authority) -> None:
    both = authority.issue("worker.acme.example", common_name="Rival Admin")
    async with tls.connected(authority.credentials(both), ()) as caller:
        assert (await refused(caller.start("Claim", pb.ClaimRequest()))).kind == INVALID


async def test_what_there_is_not_is_told_only_to_who_is_known(
    tls: TlsServer, authority: Authority
) -> None:
    known = authority.credentials(authority.issue("worker.acme.example"))
    unknown = authority.credentials(authority.issue("x.example"))
    for path in ("/codeq.v1.CodeQService/Nothing", "/none.Such/Thing"):
        async with tls.connected(unknown, ()) as nobody:
            assert await answered(nobody, path) == MISSING
        async with tls.connected(known, ()) as worker:
            assert (await answered(worker, path))[0] == "UNIMPLEMENTED"
        async with tls.connected(unknown, ADMIN) as admin:
            assert (await answered(admin, path))[0] == "UNIMPLEMENTED"


async def test_health_is_open_to_whoever_is_let_in(tls: TlsServer, authority: Authority) -> None:
    unknown = authority.credentials(authority.issue("x.example"))
    for metadata in ((), ADMIN, (("authorization", "nonsense"),)):
        async with tls.connected(unknown, metadata) as caller:
            assert (await answered(caller, "/grpc.health.v1.Health/Check"))[0] == "OK"
    assert {m for m, needed in PERMISSIONS.items() if needed is Access.OPEN}


async def test_failures_by_certificate_are_counted_like_others(
    store: StoreProcess, tmp_path: Path, authority: Authority
) -> None:
    server = authority.issue(*SERVER_NAMES)
    few: Any = {"certificates": LISTED, "max_failures_per_second": 2}
    async with tls_server(store, tmp_path, server, authority.pem, **few) as tls:
        credentials = authority.credentials(authority.issue("x.example"))
        async with tls.connected(credentials, ()) as caller:

            async def is_too_many() -> bool:
                refusal = await refused(caller.start("Claim", pb.ClaimRequest()))
                return refusal.kind == ("RESOURCE_EXHAUSTED", "TOO_MANY_FAILURES")

            await eventually(is_too_many)


async def test_places_are_those_of_the_principal(
    store: StoreProcess, tmp_path: Path, authority: Authority
) -> None:
    server = authority.issue(*SERVER_NAMES)
    few: Any = {"certificates": LISTED, "max_streams_per_principal": 1}
    worker = authority.credentials(authority.issue("worker.acme.example"))
    admin = authority.credentials(authority.issue_uri("spiffe://acme/admin"))
    async with (
        tls_server(store, tmp_path, server, authority.pem, **few) as tls,
        tls.connected(worker, ()) as one,
        tls.connected(worker, ()) as same,
        tls.connected(admin, ()) as other,
        StreamReader(one, stream_request()),
    ):
        async with StreamReader(same, stream_request()) as second:
            assert second.refusal is not None
            assert second.refusal.metadata["budget"] == "max_streams_per_principal"
        async with StreamReader(other, stream_request()) as third:
            assert third.refusal is None


async def test_a_stream_ends_with_its_certificate_and_so_does_the_connection(
    tls: TlsServer, authority: Authority
) -> None:
    brief = authority.credentials(authority.issue_short("worker.acme.example", seconds=4))
    lasting = authority.credentials(authority.issue("worker.acme.example"))
    async with (
        tls.connected(brief, ()) as soon_out,
        tls.connected(lasting, ()) as renewed,
        StreamReader(renewed, stream_request()) as goes_on,
    ):
        async with StreamReader(soon_out, stream_request()) as stream:
            assert not stream.ended
            await stream.until(lambda reader: reader.ended, within=30)
            assert stream.refusal is not None
            assert stream.refusal.kind == ("UNAUTHENTICATED", "CREDENTIAL_EXPIRED")
        refusal = await refused(soon_out.start("Claim", pb.ClaimRequest()))
        assert refusal.kind == ("UNAUTHENTICATED", "CREDENTIAL_EXPIRED")
        assert goes_on.refusal is None


async def test_without_its_entry_a_certificate_is_nobody_after_the_restart(
    store: StoreProcess, tmp_path: Path, authority: Authority
) -> None:
    server = authority.issue(*SERVER_NAMES)
    worker = authority.credentials(authority.issue("worker.acme.example"))
    for listed, kind in ((LISTED, "OK"), (LISTED[1:], "UNAUTHENTICATED"), ((), "UNAUTHENTICATED")):
        async with (
            tls_server(store, tmp_path, server, authority.pem, certificates=listed) as tls,
            tls.connected(worker, ()) as caller,
        ):
            assert (await answered(caller, PATHS["Claim"]))[0] in {kind, "INVALID_ARGUMENT"}
            if kind != "OK":
                assert (await answered(caller, PATHS["Claim"])) == MISSING


async def test_many_callers_at_once_are_each_who_they_are(
    tls: TlsServer, authority: Authority
) -> None:
    admin = authority.credentials(authority.issue_uri("spiffe://acme/admin"))
    rival = authority.credentials(authority.issue("x.example", common_name="Rival Admin"))
    async with tls.connected(admin, ()) as acmes, tls.connected(rival, ()) as rivals:
        callers = [acmes, rivals] * 50
        async with asyncio.TaskGroup() as group:
            made = [group.create_task(caller.enqueue()) for caller in callers]
        for caller, task in zip(callers, made, strict=True):
            other = rivals if caller is acmes else acmes
            assert await caller.state(task.result()) == "PENDING"
            call = other.start("GetTask", pb.GetTaskRequest(task_id=task.result()))
            assert (await refused(call)).kind == ("NOT_FOUND", "TASK_NOT_FOUND")


async def test_the_sdk_shows_a_certificate_from_files(
    tls: TlsServer, authority: Authority, tmp_path: Path
) -> None:
    files = authority.issue_uri("spiffe://acme/admin").write(tmp_path, "admin")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    credentials = tls_credentials(tmp_path / "ca.pem", files["certificate"], files["key"])
    target = f"localhost:{tls.ports.grpc}"
    async with Client(target, credentials=credentials) as client:
        task_id = (await client.enqueue("RENDER", b"1")).task_id
    with SyncClient(target, credentials=credentials) as sync:
        task = await asyncio.to_thread(sync.get_task, task_id)
    assert task.task_id == task_id
