"""API keys: made, used, listed and revoked over the wire; who may give away what."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest

from codeq.v1 import admin_service_pb2 as admin_pb, codeq_service_pb2 as pb, task_pb2
from codeq_grpc.client import Client, SyncClient
from codeq_grpc.core import limits
from codeq_grpc.core.errors import KeyNotFound, ScopeMissing
from codeq_grpc.core.principal import ROLES
from tests.integration.api_keys import (
    EXPIRED,
    HEADERS,
    INVALID,
    NOT_FOUND,
    SCOPE_MISSING,
    create,
    holder,
    is_over,
    listed,
    revoke,
)
from tests.integration.calling import ask, start
from tests.integration.looking import armed
from tests.integration.operating import matching
from tests.integration.refusals import refused
from tests.integration.streaming import StreamReader, WatchReader, stream_request
from tests.support.server import Caller, eventually, token_of

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.server import Server
    from tests.support.stores import StoreProcess

PROMISE: Final = 5.0
"""Seconds within which a revoked key is refused everywhere."""

log = logging.getLogger(__name__)


async def test_a_key_opens_what_it_is_for_in_either_header_on_every_server(
    acme: Caller, server: Server, peer: Server
) -> None:
    made = await create(acme, roles=["producer"], scopes=["queues.read"])
    assert made.key.scopes == sorted({"queues.read", *ROLES["producer"]})
    assert made.key.created_by == "admin of acme"
    assert not made.key.HasField("expire_time")
    assert made.secret.startswith(f"cqk_{made.key.key_id}_")
    for at, header in itertools.product((server, peer), HEADERS):
        caller = holder(at, made.secret, header)
        task_id = await caller.enqueue()
        assert await acme.state(task_id) == "PENDING"
        assert (await refused(caller.claim())).kind == SCOPE_MISSING


async def test_a_key_reaches_its_commands_only(acme: Caller, server: Server) -> None:
    made = await create(acme, commands=["REN*"])
    caller = holder(server, made.secret)
    await caller.enqueue("RENDER")
    refusal = await refused(caller.enqueue("OTHER"))
    assert refusal.kind == ("PERMISSION_DENIED", "COMMAND_FORBIDDEN")


async def test_last_use_is_told_to_the_minute(acme: Caller, server: Server) -> None:
    made, unused = await create(acme, "used"), await create(acme, "unused")
    await holder(server, made.secret).enqueue()

    async def is_told() -> bool:
        keys = {key.name: key for key in await listed(acme)}
        assert not keys["unused"].HasField("last_used_time")
        return keys["used"].HasField("last_used_time")

    await eventually(is_told)
    found = next(key for key in await listed(acme) if key.key_id == made.key.key_id)
    assert found.last_used_time.seconds % 60 == 0
    assert unused.key.key_id != made.key.key_id


class Open:
    """Every kind of call that may last, made with a key, and how each ends."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.stream = StreamReader(caller, stream_request("STREAMED"))
        self.watch = WatchReader(caller, pb.TaskSelector(filter=matching("WATCHED")))
        waits = pb.ClaimRequest(worker_id="w", commands=["CLAIMED"], wait={"seconds": 60})
        self.claim = asyncio.ensure_future(refused(start(caller, "Claim", waits, timeout=70)))

    async def ends(self) -> None:
        for reader in (self.stream, self.watch):
            await reader.until(lambda one: one.ended, within=30)
            assert reader.refusal is not None
            assert reader.refusal.kind == EXPIRED
        assert (await self.claim).kind == EXPIRED


async def test_revoking_ends_streams_and_waiting_claims_on_another_server_in_time(
    acme: Caller, peer: Server, admin: Admin
) -> None:
    made = await create(acme)
    calls = Open(holder(peer, made.secret))
    async with calls.stream, calls.watch:
        await armed(admin, command="CLAIMED")
        assert not calls.claim.done()
        await revoke(acme, made.key.key_id)
        revoked_at = time.monotonic()
        await calls.ends()
        took = time.monotonic() - revoked_at
    log.warning("revoked on one server, ended on the other after %.2f s", took)
    assert took < PROMISE
    assert (await refused(holder(peer, made.secret).enqueue())).kind == EXPIRED
    for command in ("STREAMED", "CLAIMED"):
        task_id = await acme.enqueue(command)
        assert await acme.state(task_id) == "PENDING"


async def test_a_request_that_comes_after_the_revocation_is_too_late(
    acme: Caller, server: Server, peer: Server
) -> None:
    made = await create(acme)
    make: Any = server.channel.stream_unary("/codeq.v1.CodeQService/Enqueue")
    call = make(metadata=holder(server, made.secret).metadata, timeout=60)
    if not server.native:  # it waits for the request before it asks whose it is
        await eventually(lambda: server.app.health.details()["under_way"]["calls"] == 1)
    await revoke(peer.caller(), made.key.key_id)
    await eventually(lambda: is_over(holder(server, made.secret)))
    request = pb.EnqueueRequest(task=task_pb2.TaskSpec(command="RENDER"))
    await call.write(request.SerializeToString())
    await call.done_writing()
    assert (await refused(call)).kind == EXPIRED
    assert await acme.claim() == []


async def test_a_key_that_expires_ends_its_calls(
    acme: Caller, server: Server, admin: Admin
) -> None:
    made = await create(acme, ttl=2.0)
    life = made.key.expire_time.ToMilliseconds() - made.key.create_time.ToMilliseconds()
    assert life == 2_000
    calls = Open(holder(server, made.secret))
    async with calls.stream, calls.watch:
        await calls.ends()
    assert (await refused(holder(server, made.secret).enqueue())).kind == EXPIRED
    (key,) = await listed(acme)
    assert not key.revoked


async def test_revoking_again_is_fine_and_the_list_tells_when(acme: Caller, server: Server) -> None:
    made, other = await create(acme, "one"), await create(acme, "other")
    await revoke(acme, made.key.key_id)
    first = {key.name: key for key in await listed(acme)}
    await revoke(acme, made.key.key_id)
    assert {key.name: key for key in await listed(acme)} == first
    assert first["one"].revoked
    assert first["one"].HasField("revoke_time")
    assert not first["other"].revoked
    await holder(server, other.secret).enqueue()


async def test_keys_of_another_tenant_are_unknown(acme: Caller, rival: Caller) -> None:
    mine, theirs = await create(acme, "mine"), await create(rival, "theirs")
    assert [key.name for key in await listed(acme)] == ["mine"]
    assert [key.name for key in await listed(rival)] == ["theirs"]
    for key_id in (theirs.key.key_id, "0" * 12, "x", mine.secret[:40], "\0"):
        refusal = await refused(revoke(acme, key_id))
        assert refusal.kind == NOT_FOUND
        assert refusal.metadata == {"key_id": key_id}
    assert not (await listed(rival))[0].revoked


async def test_pages_go_on_where_the_last_one_ended_within_the_tenant_only(
    acme: Caller, rival: Caller, peer: Server
) -> None:
    made = [(await create(acme, f"k{i}")).key for i in range(5)]
    request = admin_pb.ListApiKeysRequest(page_size=2)
    found, tokens = [], []
    for caller in itertools.cycle((acme, peer.caller("acme"))):
        page = await ask(caller, "ListApiKeys", request)
        found += page.keys
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
        tokens.append(page.next_page_token)
    assert sorted(found, key=lambda key: key.name) == made
    assert len(tokens) == 2
    for token in tokens:
        refusal = await refused(listed(rival, page_token=token))
        assert (refusal.kind, refusal.fields) == (
            ("INVALID_ARGUMENT", "INVALID_FIELD"),
            ("page_token",),
        )


async def test_a_tenant_has_so_many_keys_and_ended_ones_make_room(
    acme: Caller, rival: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "API_KEYS", 3)
    made = [await create(acme) for _ in range(3)]
    refusal = await refused(create(acme))
    assert refusal.kind == ("RESOURCE_EXHAUSTED", "TOO_MANY_KEYS")
    assert refusal.metadata == {"limit": "3"}
    await create(rival)
    await revoke(acme, made[0].key.key_id)
    last = await create(acme)
    left = {key.key_id for key in await listed(acme)}
    assert left == {made[1].key.key_id, made[2].key.key_id, last.key.key_id}


async def test_while_the_store_is_away_no_key_opens_anything(
    own_store: StoreProcess, own_server: Server
) -> None:
    made = await create(own_server.caller())
    caller = holder(own_server, made.secret)
    await caller.enqueue()
    own_store.kill()
    admin_queues = pb.AdminQueuesRequest()

    async def is_refused() -> bool:
        refusal = await refused(start(caller, "AdminQueues", admin_queues))
        assert refusal.kind == ("UNAVAILABLE", "STORE_UNAVAILABLE")
        return refusal.retry_after is not None

    for _ in range(3):
        assert await is_refused()
    unknown = holder(own_server, "cqk_nobody")
    assert (await refused(unknown.enqueue())).kind == INVALID
    own_store.start()

    async def works() -> bool:
        try:
            await caller.enqueue()
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017
            return False
        return True

    await eventually(works)


async def test_both_clients_make_list_and_revoke_keys(server: Server) -> None:
    async with Client(server.address, token=token_of("acme", "admin")) as client:
        made = await client.create_api_key("a", roles=["worker"], commands=["RENDER"], ttl=60)
        async with Client(server.address, token=made.secret) as worker:
            with pytest.raises(ScopeMissing):
                await worker.create_api_key("b", roles=["worker"])
        keys = await client.api_keys()
        assert [(key.name, list(key.commands)) for key in keys] == [("a", ["RENDER"])]
        await client.revoke_api_key(made.key.key_id, "leaked")
        with pytest.raises(KeyNotFound):
            await client.revoke_api_key("0" * 12)

    def synchronously() -> list[bool]:
        with SyncClient(server.address, token=token_of("acme", "admin")) as sync:
            second = sync.create_api_key("b", scopes=["tasks.read"])
            sync.revoke_api_key(second.key.key_id)
            return [key.revoked for key in sync.api_keys()]

    assert await asyncio.to_thread(synchronously) == [True, True]
