"""Nobody gets all places for calls, and every place comes back, whatever becomes of the call."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from codeq.v1 import codeq_service_pb2 as pb
from codeq_grpc.app import App
from tests.integration.looking import armed, calls_under_way, no_calls, page
from tests.integration.refusals import Refusal, refused
from tests.integration.streaming import StreamReader, WatchReader, stream_request
from tests.support.server import Caller, bearer, eventually, running_server, settings_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.admin import Admin
    from tests.support.server import Server
    from tests.support.stores import StoreProcess

FULL = "RESOURCE_EXHAUSTED"
ALL = pb.TaskSelector(filter={"command": "RENDER"})


@pytest.fixture
async def small(store: StoreProcess) -> AsyncIterator[Server]:
    """Three calls of a caller, four of this machine."""
    limits = {"max_calls_per_principal": 3, "max_calls_per_address": 4}
    async with running_server(store, **limits) as server:
        yield server


def waiting(caller: Caller, wait: int = 20) -> Any:
    """A call that stays under way."""
    request = pb.ClaimRequest(worker_id="w", commands=["RENDER"])
    request.wait.FromSeconds(wait)
    return caller.start("Claim", request, timeout=30)


async def under_way(server: Server) -> dict[str, int]:
    """As the health page tells."""
    _, found = await page(server, "/health/detailed")
    told: dict[str, int] = found["under_way"]
    return told


async def taken(server: Server, **counts: int) -> None:
    """Returns once so many places are taken, and one by whoever asks."""
    kinds = ("calls", "streams", "watches", "health_watches")
    expected = {**dict.fromkeys(kinds, 0), "health_checks": 1, **counts}

    async def so_many() -> bool:
        return await under_way(server) == expected

    await eventually(so_many)


async def refusal_of(caller: Caller) -> Refusal:
    return await refused(waiting(caller, 0))


async def test_a_caller_who_has_all_its_places_leaves_others_theirs(small: Server) -> None:
    calls = [waiting(small.caller("acme")) for _ in range(3)]
    await taken(small, calls=3)
    refusal = await refusal_of(small.caller("acme"))
    assert refusal.kind == (FULL, "TOO_MANY_CALLS")
    assert refusal.metadata == {"budget": "max_calls_per_principal", "limit": "3"}
    assert refusal.retry_after
    assert await small.caller("rival").claim() == []
    for call in calls:
        call.cancel()
    await taken(small)


async def test_an_address_that_has_all_its_places_is_refused_whoever_calls(small: Server) -> None:
    calls = [waiting(small.caller("acme")) for _ in range(3)]
    calls.append(waiting(small.caller("rival")))
    await taken(small, calls=4)
    refusal = await refusal_of(small.caller("rival"))
    assert refusal.kind == (FULL, "TOO_MANY_CALLS")
    assert refusal.metadata == {"budget": "max_calls_per_address", "limit": "4"}
    stub: Any = health_pb2_grpc.HealthStub(small.channel)
    assert (await stub.Check(health_pb2.HealthCheckRequest())).status == 1
    for call in calls:
        call.cancel()
    await taken(small)


async def test_a_server_has_a_limit_for_all_together(store: StoreProcess) -> None:
    async with running_server(store, max_calls=1) as server:
        call = waiting(server.caller())
        await taken(server, calls=1)
        refusal = await refusal_of(server.caller("rival"))
        assert refusal.metadata == {"budget": "max_calls", "limit": "1"}
        call.cancel()
        await taken(server)


async def test_streams_and_watches_have_places_of_their_own(store: StoreProcess) -> None:
    ones = {f"max_{kind}_per_principal": 1 for kind in ("calls", "streams", "watches")}
    async with running_server(store, **ones) as server:
        acme = server.caller()
        async with StreamReader(acme, stream_request()), WatchReader(acme, ALL):
            assert len(await acme.enqueue()) == 18
            await taken(server, streams=1, watches=1)
            for rpc, request in (
                ("StreamClaim", stream_request()),
                ("WatchTasks", pb.WatchTasksRequest(selector=ALL)),
            ):
                refusal = await refused(acme.start(rpc, request, timeout=5).read())
                name = "max_streams" if rpc == "StreamClaim" else "max_watches"
                assert refusal.kind == (FULL, "TOO_MANY_STREAMS")
                assert refusal.metadata["budget"] == f"{name}_per_principal"
        await taken(server)


async def test_a_place_is_free_again_after_every_end_of_a_call(small: Server, admin: Admin) -> None:
    acme = small.caller()
    for _ in range(5):
        await acme.enqueue()
        await acme.claim()
        assert (await refused(acme.start("Claim", pb.ClaimRequest()))).kind[0] == "INVALID_ARGUMENT"
        assert (await refused(acme.task("x" * 18))).kind[0] == "NOT_FOUND"
        late = waiting(acme)
        await armed(admin)
        late.cancel()
        short = acme.start("GetTask", pb.GetTaskRequest(task_id="x"), timeout=0)
        assert await short.code() is not grpc.StatusCode.OK
        raw: Any = acme.channel.unary_unary("/codeq.v1.CodeQService/Claim")
        assert (await refused(raw(b"\xff", metadata=acme.metadata))).kind[1] == "MALFORMED_MESSAGE"
    await taken(small)
    await eventually(lambda: room_taken(small) == 0)


async def test_a_place_is_free_again_when_the_connection_breaks(
    small: Server, store: StoreProcess
) -> None:
    options = [("grpc.use_local_subchannel_pool", 1)]
    for _ in range(3):
        async with grpc.aio.insecure_channel(small.address, options=options) as channel:
            caller = Caller(channel, small.caller().metadata)
            calls = [waiting(caller) for _ in range(3)]
            await taken(small, calls=3)
        assert all(call.done() for call in calls)
        await taken(small)


async def test_draining_gives_all_places_back(store: StoreProcess) -> None:
    app = App(settings_for(store))
    async with AsyncExitStack() as stack:
        async with app.running() as ports:
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}")
            acme = Caller(await stack.enter_async_context(channel), bearer("acme", "admin"))
            calls = [waiting(acme) for _ in range(3)]
            stream = await stack.enter_async_context(StreamReader(acme, stream_request()))
            budgets = app._budgets
            await eventually(lambda: sum(budgets.under_way().values()) == 4)
        assert set(budgets.under_way().values()) == {0}
        assert {(await call.code()).name for call in calls} <= {"OK", "UNAVAILABLE"}
        assert stream.ended


async def test_a_call_without_a_message_holds_a_place_and_no_longer_than_it_may(
    small: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codeq_grpc.rpc.arrivals._SECONDS", 2.0)
    acme, enough = small.caller(), asyncio.Event()

    async def never() -> AsyncIterator[bytes]:
        await enough.wait()
        for nothing in list[bytes]():
            yield nothing

    make: Any = acme.channel.stream_unary("/codeq.v1.CodeQService/Claim")
    calls = [make(never(), metadata=acme.metadata, timeout=None) for _ in range(3)]
    if small.native:
        # It asks nobody before there is a message, and keeps no place.
        assert await acme.claim() == []
        for call in calls:
            call.cancel()
    else:
        await taken(small, calls=3)
        assert (await refusal_of(acme)).metadata["budget"] == "max_calls_per_principal"
        for call in calls:
            assert (await refused(call)).kind == ("UNAVAILABLE", "REQUEST_LATE")
    enough.set()
    await taken(small)


def junk(caller: Caller) -> Any:
    """A call of 4 MiB that stays under way: most of it are fields that nobody knows."""
    request = pb.ClaimRequest(worker_id="w", commands=["RENDER"])
    request.wait.FromSeconds(20)
    count = (4 << 20) - 200
    length = bytes(
        [count & 127 | 128, count >> 7 & 127 | 128, count >> 14 & 127 | 128, count >> 21]
    )
    raw = request.SerializeToString() + b"\xfa\x3f" + length + bytes(count)
    make: Any = caller.channel.unary_unary("/codeq.v1.CodeQService/Claim")
    return make(raw, metadata=caller.metadata, timeout=30)


def room_taken(server: Server) -> int:
    """Bytes of requests under way."""
    return server.app._budgets.of("/codeq.v1.CodeQService/Claim")._room.held


async def test_a_call_that_finds_no_room_for_its_message_is_refused(
    store: StoreProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codeq_grpc.rpc.room._PATIENCE", 0.2)
    rooms = {"max_request_bytes": 16 << 20, "max_request_bytes_per_principal": 8 << 20}
    async with running_server(store, **rooms) as server:
        acme = server.caller()
        calls = [junk(acme) for _ in range(2)]
        await taken(server, calls=2)
        if server.native:
            assert await acme.claim() == []
        else:
            await eventually(lambda: 7 << 20 < room_taken(server) < 8 << 20)
            refusal = await refusal_of(acme)
            assert refusal.kind == (FULL, "TOO_MANY_CALLS")
            limit = {"budget": "max_request_bytes_per_principal", "limit": str(8 << 20)}
            assert refusal.metadata == limit
            assert refusal.retry_after
        assert await server.caller("rival").claim() == []
        for call in calls:
            call.cancel()
        await eventually(lambda: room_taken(server) == 0)
        assert await acme.claim() == []


async def test_small_calls_wait_for_room_and_none_is_refused(store: StoreProcess) -> None:
    rooms = {"max_request_bytes": 8 << 20, "max_request_bytes_per_principal": 8 << 20}
    async with running_server(store, **rooms) as server:
        calls = [waiting(server.caller(tenant), 1) for tenant in ("acme", "rival") * 250]
        assert {(await call.code()).name for call in calls} == {"OK"}
        await eventually(lambda: room_taken(server) == 0)


async def test_a_message_that_does_not_come_gives_way_to_those_that_do(
    store: StoreProcess,
) -> None:
    rooms = {"max_request_bytes": 16 << 20, "max_request_bytes_per_principal": 8 << 20}
    async with running_server(store, **rooms) as server:
        acme, enough = server.caller(), asyncio.Event()

        async def never() -> AsyncIterator[bytes]:
            await enough.wait()
            for nothing in list[bytes]():
                yield nothing

        make: Any = acme.channel.stream_unary("/codeq.v1.CodeQService/Claim")
        calls = [make(never(), metadata=acme.metadata, timeout=None) for _ in range(2)]
        if not server.native:
            await eventually(lambda: room_taken(server) == 8 << 20)
        assert await server.caller("rival").claim() == []
        assert await acme.claim() == []
        if server.native:
            for call in calls:
                call.cancel()
        else:
            late = [(await refused(call)).kind for call in calls]
            assert ("UNAVAILABLE", "REQUEST_LATE") in late
        enough.set()
        await eventually(lambda: room_taken(server) == 0)


async def test_a_call_that_ends_without_a_message_is_malformed(server: Server) -> None:
    acme = server.caller()
    make: Any = acme.channel.stream_unary("/codeq.v1.CodeQService/Claim")
    call = make(iter(()), metadata=acme.metadata, timeout=5)
    code = await call.code()
    assert code is (grpc.StatusCode.INTERNAL if server.native else grpc.StatusCode.INVALID_ARGUMENT)


async def test_failed_authentications_are_limited_and_good_ones_are_not(
    store: StoreProcess,
) -> None:
    async with running_server(store, max_failures_per_second=5) as server:
        stranger, acme = server.stranger(("authorization", "Bearer nobodys")), server.caller()

        async def limited() -> bool:
            found = [(await refused(waiting(stranger, 0))) for _ in range(8)]
            assert {one.kind[1] for one in found} <= {"CREDENTIAL_INVALID", "TOO_MANY_FAILURES"}
            assert await acme.claim() == []
            last = found[-1]
            if last.kind != (FULL, "TOO_MANY_FAILURES"):
                return False
            assert last.metadata == {"limit": "5"}
            assert last.retry_after
            return True

        await eventually(limited)


async def test_watchers_of_health_are_limited_and_checks_go_on(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub: Any = health_pb2_grpc.HealthStub(server.channel)
    most = server.app._budgets.of("/grpc.health.v1.Health/Watch")._places.address
    assert most is not None
    calls = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(most)]
    for call in calls:
        await call.read()
    refusal = await refused(stub.Watch(health_pb2.HealthCheckRequest()).read())
    assert refusal.kind == (FULL, "TOO_MANY_STREAMS")
    assert refusal.metadata == {"budget": "health_watches_per_address", "limit": str(most)}
    assert (await stub.Check(health_pb2.HealthCheckRequest())).status == 1
    for call in calls:
        call.cancel()
    await taken(server)
    await no_calls()
    assert calls_under_way() == 0
