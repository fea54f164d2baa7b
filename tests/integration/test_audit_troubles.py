"""The audit trail when the store, the caller or the credential is not what it should be."""

from __future__ import annotations

import asyncio
import json
import math
import time
from typing import TYPE_CHECKING, Any

import pytest

from codeq.v1 import admin_service_pb2 as admin_pb, codeq_service_pb2 as pb
from codeq_grpc.app import doctor
from codeq_grpc.core.audit import Event, Stream
from codeq_grpc.core.findings import Mode
from codeq_grpc.core.principal import Principal, Scope
from codeq_grpc.store.keys import trail_keys
from tests.integration import operating
from tests.integration.auditing import actions, ended, some, trail
from tests.integration.calling import start
from tests.integration.looking import contents, no_calls, page
from tests.integration.refusals import refused
from tests.integration.streaming import stream_request
from tests.integration.test_request_ids import log as log_of_the_process
from tests.support.admin import Admin
from tests.support.replicas import Replica
from tests.support.server import eventually, running_server, settings_for

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

    from codeq_grpc.auth.credentials import Credential
    from tests.support.server import Caller, Server
    from tests.support.stores import Engine, StoreProcess

log = log_of_the_process


async def test_a_change_whose_event_cannot_be_written_is_answered_and_logged_in_full(
    server: Server, acme: Caller, admin: Admin, log: io.StringIO
) -> None:
    admin.call("SET", trail_keys("acme")[0], "of another type")
    request = admin_pb.UpdateQueueRequest(queue={"command": "RENDER", "max_backlog": 5})
    code, _, request_id = await ended(start(acme, "UpdateQueue", request))
    assert code == "OK"
    assert (await operating.settings(acme)).max_backlog == 5
    (line,) = lost(log)
    assert (line["level"], line["tenant"], line["request_id"]) == ("error", "acme", request_id)
    assert line["action"] == "AdminService/UpdateQueue"
    assert (line["subject"], line["object"]) == ("admin of acme", "RENDER (max_backlog)")
    assert (line["outcome"], line["credential"]) == ("OK", "token")
    assert (await page(server, "/health/detailed"))[1]["audit"] == {"lost": 1}


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    """All lines of the log."""
    return [json.loads(line) for line in log.getvalue().splitlines()]


def lost(log: io.StringIO) -> list[dict[str, Any]]:
    """Those of events that are nowhere else."""
    return [line for line in lines(log) if line["message"] == "not in the audit trail"]


@pytest.mark.parametrize("leaves", [False, True])
async def test_an_interrupted_change_has_exactly_one_event(
    own_store: StoreProcess, leaves: bool
) -> None:
    async with running_server(own_store, store_timeout_seconds=30) as server:
        acme = server.caller()
        await operating.update(acme)
        own_store.pause()
        request = admin_pb.PauseQueueRequest(command="RENDER", reason="why")
        call = start(acme, "PauseQueue", request, timeout=1 if not leaves else None)
        if leaves:
            await asyncio.sleep(0.2)  # it may be under way by then, and mostly is
            call.cancel()
        else:
            assert (await refused(call)).kind == ("UNAVAILABLE", "STORE_UNAVAILABLE")
        await no_calls()
        own_store.resume()
        outcome = "CANCELLED" if leaves else "UNAVAILABLE"
        await some(acme, 2)
        expected = [("UpdateQueue", "OK"), ("PauseQueue", outcome)]
        assert [(rpc, code) for _, rpc, code in await actions(acme)] == expected


@pytest.fixture(scope="module")
def pair(engine: Engine) -> Iterator[Replica]:
    with Replica(engine) as pair:
        yield pair


async def test_an_answer_promises_its_event_too(pair: Replica) -> None:
    async with running_server(pair.primary, durability="D4", store_timeout_seconds=5) as server:
        acme = server.caller()
        with Admin(pair.replica.socket_path) as replica:
            for count in range(1, 21):
                await operating.update(acme, f"Q{count}")
                assert replica.call("XLEN", trail_keys("acme")[0]) == count


async def test_a_change_that_is_not_durable_yet_has_exactly_one_event(pair: Replica) -> None:
    with Admin(pair.primary.socket_path) as admin:
        admin.call("FLUSHALL")
    async with running_server(pair.primary, durability="D4", store_timeout_seconds=0.5) as server:
        acme = server.caller()
        pair.replica.pause()
        try:
            call = operating.update(acme)
            assert (await refused(call)).kind == ("UNAVAILABLE", "NOT_DURABLE")
        finally:
            pair.resume()
        assert await actions(acme) == [("admin of acme", "UpdateQueue", "OK")]


class Keys:
    """A way to verify credentials, of keys that end when a test says so."""

    def __init__(self) -> None:
        self.expires_at = 1.0

    def takes(self, credential: Credential) -> bool:
        return credential.text == "ck_secret"

    async def verify(self, credential: Credential) -> Principal:
        return Principal(
            subject="batch job",
            tenant="acme",
            scopes=frozenset(Scope),
            credential="key:ab12",
            expires_at=self.expires_at,
        )


@pytest.fixture
def keys(server: Server) -> Keys:
    known = Keys()
    server.app._callers.gate._authenticator._ways = (known,)
    return known


async def test_a_known_credential_that_has_expired_is_told_of_and_an_unknown_one_is_not(
    server: Server, acme: Caller, admin: Admin, keys: Keys
) -> None:
    before = contents(admin)
    for wrong in ("ck_other", "x"):
        stranger = server.stranger(("x-api-key", wrong))
        assert (await refused(operating.pause(stranger))).kind[1] == "CREDENTIAL_INVALID"
    holder = server.stranger(("x-api-key", "ck_secret"))
    assert (await refused(operating.pause(holder))).kind[1] == "CREDENTIAL_EXPIRED"
    (event,) = await some(acme)
    assert (event.subject, event.credential) == ("batch job", "key:ab12")
    assert (event.outcome, event.reason) == ("UNAUTHENTICATED", "CREDENTIAL_EXPIRED")
    assert contents(admin) == before


async def test_a_stream_that_ends_with_its_credential_is_told_of(
    server: Server, acme: Caller, keys: Keys
) -> None:
    keys.expires_at = time.time() + 2
    holder = server.stranger(("x-api-key", "ck_secret"))
    stream = holder.start("StreamClaim", stream_request(), timeout=None)
    await stream.read()

    async def over() -> None:
        while True:
            await stream.read()

    assert (await refused(over())).kind == ("UNAUTHENTICATED", "CREDENTIAL_EXPIRED")
    (event,) = await some(acme)
    assert (event.action, event.reason) == ("CodeQService/StreamClaim", "CREDENTIAL_EXPIRED")
    keys.expires_at = math.inf
    await holder.start("AdminQueues", pb.AdminQueuesRequest())
    assert len(await trail(acme)) == 1


async def test_a_full_store_takes_what_operators_do(own_store: StoreProcess) -> None:
    async with running_server(own_store) as server:
        acme = server.caller()
        await acme.enqueue()
        with Admin(own_store.socket_path) as admin:
            admin.call("CONFIG", "SET", "maxmemory", "1")
        assert (await refused(acme.enqueue())).kind[1] == "STORE_FULL"
        await operating.pause(acme, reason="full")
        assert await actions(acme) == [("admin of acme", "PauseQueue", "OK")]


async def test_while_the_store_is_away_denials_are_answered_at_once_and_told_of_in_the_log(
    own_store: StoreProcess, log: io.StringIO
) -> None:
    async with running_server(own_store) as server:
        viewer = server.caller("acme", "viewer")
        own_store.kill()
        refusal = await refused(operating.pause(viewer))
        assert refusal.kind == ("PERMISSION_DENIED", "SCOPE_MISSING")
        await eventually(lambda: lost(log))
        (line,) = lost(log)
        assert (line["request_id"], line["subject"]) == (refusal.request_id, "viewer of acme")
        own_store.start()


async def test_an_event_whose_writing_is_interrupted_is_in_the_log(
    own_store: StoreProcess, log: io.StringIO
) -> None:
    async with running_server(own_store, store_timeout_seconds=1.0) as server:
        own_store.pause()
        event = Event("ann", "a", "o", "OK", "r", "why", "token", "ipv4:1")
        writing = asyncio.ensure_future(
            server.app._callers.trail.write("acme", Stream.CHANGES, [event])
        )
        await asyncio.sleep(0.1)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        own_store.resume()
        assert [line["subject"] for line in lost(log)] == ["ann"]


async def test_denials_of_many_tenants_do_not_pile_up_while_the_store_is_away(
    own_store: StoreProcess, log: io.StringIO
) -> None:
    async with running_server(own_store, store_timeout_seconds=1.0) as server:
        trails = server.app._callers.trail
        own_store.pause()
        event = Event("ann", "a", "o", "PERMISSION_DENIED", "r", "why", "token", "ipv4:1")
        tenants = [f"t{number}" for number in range(3_000)]
        for _ in range(5):
            for tenant in tenants:
                trails.deny(tenant, event)
            trails._denials.sum_up()
        assert trails._denials._size <= 2_000
        own_store.kill()
        # It takes no more tries than one to know that the store is away.
        async with asyncio.timeout(10):
            await trails.flush()
        own_store.start()
    told = [int(line["reason"].split()[2]) if "more" in line["reason"] else 1 for line in lost(log)]
    assert sum(told) == 5 * len(tenants)


async def test_what_is_too_old_is_removed_where_nothing_more_is_written(
    store: StoreProcess, admin: Admin
) -> None:
    async with running_server(store, audit_retention_days=0.5 / 86_400) as server:
        acme = server.caller()
        await operating.update(acme)
        key = trail_keys("acme")[0]
        assert admin.call("XLEN", key) == 1

        async def hidden() -> bool:
            return await trail(acme) == []

        await eventually(hidden)
        assert admin.call("XLEN", key) == 1
        await acme.enqueue()  # by which it is known here
        await server.app._callers.trail.forget()
        assert admin.call("XLEN", key) == 0


async def test_the_doctor_has_no_complaint_about_a_trail_and_leaves_it_alone(
    server: Server, acme: Caller, store: StoreProcess, admin: Admin
) -> None:
    await acme.enqueue()
    await operating.update(acme)
    await refused(operating.pause(server.caller("acme", "viewer")))
    before = await some(acme, 2)
    async with doctor(settings_for(store), Mode.RESTORE) as looking:
        looks = [look async for look in looking.examine_registry()]
        for queue in await looking.queues():
            looks += [look async for look in looking.examine(queue)]
    assert len(looks) > 3
    assert [finding for look in looks for finding in look.findings] == []
    assert await trail(acme) == before
    assert admin.call("XLEN", trail_keys("acme")[0]) == 1
