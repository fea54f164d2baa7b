"""What becomes of callers, streams and leases when a server ends."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from tests.integration.looking import armed, page, waited_for, waiting_servers
from tests.integration.refusals import read_refusal
from tests.integration.streaming import StreamReader, stream_request
from tests.support.admin import Admin
from tests.support.server import Caller, bearer, eventually, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.server import Server
    from tests.support.stores import StoreProcess


@pytest.fixture
def nobody_is_on_the_way() -> None:
    """Here everybody is: servers end as they do in production."""


class Ending:
    """A server that the test ends while its own connection stays."""

    def __init__(self, server: Server, channel: grpc.aio.Channel) -> None:
        self.server = server
        self.acme = Caller(channel, bearer("acme", "admin"))
        self.channel = channel
        self._end = asyncio.Event()
        self._ended: asyncio.Task[None] | None = None

    async def hold(self, stack: contextlib.AsyncExitStack) -> None:
        await self._end.wait()
        await stack.aclose()

    def end(self) -> asyncio.Task[None]:
        """Begins the end; the task is done when the server is."""
        assert self._ended is not None
        self._end.set()
        return self._ended


@contextlib.asynccontextmanager
async def ending(store: StoreProcess, **settings: Any) -> AsyncIterator[Ending]:
    """A server and a connection to it."""
    stack = contextlib.AsyncExitStack()
    server = await stack.enter_async_context(running_server(store, **settings))
    async with grpc.aio.insecure_channel(server.address) as channel:
        found = Ending(server, channel)
        found._ended = asyncio.create_task(found.hold(stack))
        yield found
        await found.end()


async def test_waiting_calls_are_answered_and_not_cut_off(
    store: StoreProcess, admin: Admin
) -> None:
    async with ending(store) as one:
        task_id = await one.acme.enqueue("HELD")
        await one.acme.claim("HELD")
        claim = asyncio.create_task(one.acme.claim(wait=30, timeout=40))
        get = asyncio.create_task(one.acme.task(task_id, wait=30))
        await armed(admin)
        await waited_for(admin, "HELD")
        began = time.monotonic()
        await one.end()
        assert time.monotonic() - began < 3
        assert await claim == []
        assert (await get).state == task_pb2.TASK_STATE_IN_PROGRESS


async def test_streams_are_told_to_reopen_and_keep_their_leases(
    store: StoreProcess, peer: Server
) -> None:
    async with ending(store) as one:
        await one.acme.enqueue_many(3)
        request = stream_request(credit=3, disconnect_policy=pb.DISCONNECT_POLICY_RELEASE)
        async with StreamReader(one.acme, request) as stream:
            tasks = await stream.take(3)
            began = time.monotonic()
            await one.end()
            assert time.monotonic() - began < 3
            await stream.until(lambda reader: reader.ended)
            assert stream.kinds == ["opened", "batch", "drain"]
            assert stream.refusal is None
        other = peer.caller()
        assert await other.heartbeat(*tasks) == []
        for task in tasks:
            await other.complete(task)
        assert (await other.stats()).completed == 3


async def test_a_server_that_ends_is_not_ready_and_still_alive(store: StoreProcess) -> None:
    async with ending(store, drain_seconds=1.5) as one:
        watch = health_pb2_grpc.HealthStub(one.channel).Watch(health_pb2.HealthCheckRequest())
        statuses = aiter(watch)
        assert (await anext(statuses)).status == health_pb2.HealthCheckResponse.SERVING
        # Holds the end up: a caller who has begun and not yet said what it wants.
        make: Any = one.channel.stream_unary("/codeq.v1.CodeQService/Enqueue")
        held = make(_never(), metadata=one.acme.metadata, timeout=10)
        await one.acme.enqueue()
        ended = one.end()
        assert (await anext(statuses)).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert [message async for message in statuses] == []
        status, body = await page(one.server, "/readyz")
        assert status == 503
        assert list(body["reasons"]) == ["server"]
        assert (await page(one.server, "/livez"))[0] == 200
        assert not ended.done()
        await ended
        held.cancel()


async def _never() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


async def test_new_streams_are_refused_while_the_server_drains(store: StoreProcess) -> None:
    async with ending(store) as one:
        one.server.app._streams._draining = True
        call = one.acme.start("StreamClaim", stream_request())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        refusal = read_refusal(caught.value)
        assert refusal.kind == ("UNAVAILABLE", "DRAINING")
        assert refusal.retry_after


async def test_no_call_fails_but_by_a_code_that_clients_repeat(store: StoreProcess) -> None:
    async with ending(store) as one:
        codes: set[str] = set()
        ids: list[str] = []

        async def enqueue_for_ever() -> None:
            request = pb.EnqueueRequest(task={"command": "RENDER"})
            while not codes & {"UNAVAILABLE"}:
                call = one.acme.start("Enqueue", request, timeout=5)
                try:
                    ids.append((await call).task_id)
                except grpc.aio.AioRpcError as error:
                    codes.add(error.code().name)

        callers = [asyncio.create_task(enqueue_for_ever()) for _ in range(8)]
        await eventually(lambda: len(ids) > 50)
        await one.end()
        await asyncio.wait(callers)
        assert codes == {"UNAVAILABLE"}
    async with running_server(store) as server:
        assert (await server.caller().stats()).pending >= len(ids)


async def test_no_task_waits_for_its_lease_because_a_server_ended(
    store: StoreProcess, peer: Server
) -> None:
    """Claims that were under way or not yet sent are returned, uncounted."""
    other = peer.caller()
    ids = await other.enqueue_many(400)
    async with ending(store) as one:
        readers = [
            StreamReader(one.acme, stream_request(credit=5, max_batch_size=1, lease=600))
            for _ in range(10)
        ]
        opening = [asyncio.create_task(reader.__aenter__()) for reader in readers]
        claims = [asyncio.create_task(one.acme.claim(most=3, lease=600)) for _ in range(5)]
        await eventually(lambda: any(reader.tasks for reader in readers))
        await one.end()
        await asyncio.wait([*opening, *claims])
        got = [task for reader in readers for task in reader.tasks]
        got += [task for claim in claims if not claim.exception() for task in claim.result()]
        for reader in readers:
            await reader.close()
    for task in got:
        await other.complete(task)
    left = len(ids) - len(got)
    assert (await other.stats()).in_progress == 0
    claimed = await other.claim(most=1_000)
    assert len(claimed) == left
    assert {task.attempt for task in claimed} <= {1}


async def test_nothing_is_left_behind(store: StoreProcess, admin: Admin) -> None:
    before = asyncio.all_tasks()
    async with ending(store) as one:
        await one.acme.enqueue("OTHER")
        waiting = asyncio.create_task(one.acme.claim(wait=30, timeout=40))
        await armed(admin)
        async with StreamReader(one.acme, stream_request("OTHER", "MORE")) as stream:
            await stream.take(1)
            await one.end()
        assert await waiting == []
    ours = [task for task in asyncio.all_tasks() - before if "codeq" in repr(task)]
    assert ours == []
    # A channel of grpc that was closed ends its own tasks in the next rounds of the loop.
    await eventually(lambda: asyncio.all_tasks() <= before)
    assert waiting_servers(admin) == 0
    assert b"clients:1\r\n" in admin.call("INFO", "clients").replace(b"connected_", b"")


async def test_a_taken_port_is_told_and_leaves_nothing_behind(
    server: Server, store: StoreProcess, admin: Admin
) -> None:
    before = asyncio.all_tasks()
    for port in ({"grpc_port": server.ports.grpc}, {"http_port": server.ports.http}):
        with pytest.raises(OSError, match="cannot listen on 127"):
            async with running_server(store, **port):
                pass
    await eventually(lambda: asyncio.all_tasks() <= before)


async def test_a_server_ends_in_time_though_the_store_is_silent(own_store: StoreProcess) -> None:
    async with ending(own_store, drain_seconds=1) as one:
        await one.acme.enqueue()
        await one.acme.claim_one()
        async with StreamReader(one.acme, stream_request()) as stream:
            with Admin(own_store.socket_path) as admin:
                await armed(admin)
            waiting = asyncio.create_task(one.acme.claim(wait=30, timeout=40))
            own_store.pause()
            began = time.monotonic()
            await one.end()
            assert time.monotonic() - began < 7
            await stream.until(lambda reader: reader.ended)
            assert stream.kinds[-1] == "drain"
        await asyncio.wait([waiting])
        own_store.resume()
