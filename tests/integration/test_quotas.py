"""What tenants may have: refused at exactly one more, without a trace, and nobody else notices."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from codeq.v1 import admin_service_pb2 as admin_pb, codeq_service_pb2 as pb, queue_pb2, task_pb2
from codeq.v1.admin_service_pb2_grpc import AdminServiceStub
from codeq_grpc.broker import backlogs
from codeq_grpc.store.reads import Reads
from tests.integration.calling import ask
from tests.integration.refusals import Refusal, item_kind, refused
from tests.integration.streaming import StreamReader, WatchReader, stream_request
from tests.support.server import eventually, running_server

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.server import Caller
    from tests.support.stores import StoreProcess

FULL = ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")
ALL = pb.TaskSelector(filter={"command": "RENDER"})


def acme(**quotas: int) -> dict[str, Any]:
    """Settings in which acme has these quotas."""
    return {"tenants": {"acme": quotas}}


def is_exceeded(refusal: Refusal, quota: str, limit: int, *, passes: bool) -> None:
    assert refusal.kind == FULL
    assert refusal.metadata == {"quota": quota, "limit": str(limit)}
    assert bool(refusal.retry_after) is passes


async def commands_of(caller: Caller) -> set[str]:
    response: pb.AdminQueuesResponse = await caller.start("AdminQueues", pb.AdminQueuesRequest())
    return {queue.command for queue in response.queues}


def many(count: int, *commands: str, atomic: bool = False) -> pb.BatchEnqueueRequest:
    tasks = [task_pb2.TaskSpec(command=commands[i % len(commands)]) for i in range(count)]
    return pb.BatchEnqueueRequest(tasks=tasks, atomic=atomic)


async def test_queues(store: StoreProcess) -> None:
    async with running_server(store, **acme(queues=2)) as server:
        one, other = server.caller(), server.caller("rival")
        queues: Any = AdminServiceStub(server.channel)

        def make(command: str) -> Any:
            request = admin_pb.UpdateQueueRequest(queue=queue_pb2.Queue(command=command))
            return queues.UpdateQueue(request, metadata=one.metadata)

        await one.enqueue("A")
        await make("B")
        whole = one.start("BatchEnqueue", many(2, "C", atomic=True))
        for call in (one.enqueue("C"), make("C"), whole):
            is_exceeded(await refused(call), "queues", 2, passes=False)
        for commands, expected in (("ACB", [1]), ("CAB", [0]), ("CCC", [0, 1, 2])):
            response = await one.start("BatchEnqueue", many(3, *commands))
            found = [item_kind(item) for item in response.failures]
            assert found == [(index, *FULL) for index in expected]
            quota = {"quota": "queues", "limit": "2"}
            assert all(dict(item.metadata) == quota for item in response.failures)
        assert await commands_of(one) == {"A", "B"}
        assert await one.claim("C") == []
        for command in "ABC":
            await other.enqueue(command)
        assert await commands_of(other) == {"A", "B", "C"}


async def test_two_servers_share_the_queues_of_a_tenant_exactly(store: StoreProcess) -> None:
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(running_server(store, **acme(queues=7)))
            for _ in range(2)
        ]
        callers = [server.caller() for server in servers]
        # Both ask for each, and neither for the same at the same time.
        names = [f"C{(number * 7 + number // 20) % 20}" for number in range(40)]
        made, refusals = set(), 0

        async def enqueue(caller: Caller, command: str) -> None:
            nonlocal refusals
            try:
                await caller.enqueue(command)
                made.add(command)
            except grpc.aio.AioRpcError:
                refusals += 1

        await asyncio.gather(*(enqueue(callers[i % 2], name) for i, name in enumerate(names)))
        assert len(made) == 7
        assert refusals == 26
        assert await commands_of(callers[0]) == await commands_of(callers[1]) == made


async def test_unfinished_tasks_of_all_queues_together(store: StoreProcess) -> None:
    async with running_server(store, **acme(backlog=5)) as server:
        one, other = server.caller(), server.caller("rival")
        ids = [*await one.enqueue_many(2), *await one.enqueue_many(2, "OTHER")]
        for request in (many(2, "RENDER", atomic=True), many(2, "NEW", atomic=True)):
            refusal = await refused(one.start("BatchEnqueue", request))
            is_exceeded(refusal, "backlog", 5, passes=True)
        assert await commands_of(one) == {"RENDER", "OTHER"}
        response = await one.start("BatchEnqueue", many(3, "THIRD"))
        assert [item_kind(item) for item in response.failures] == [(1, *FULL), (2, *FULL)]
        ids.append(response.results[0].task_id)
        is_exceeded(await refused(one.enqueue()), "backlog", 5, passes=True)
        response = await one.start("BatchEnqueue", many(2, "THIRD"))
        assert [item_kind(item) for item in response.failures] == [(0, *FULL), (1, *FULL)]
        held = await one.claim("RENDER", most=1)
        is_exceeded(await refused(one.enqueue()), "backlog", 5, passes=True)
        await other.enqueue_many(9)
        await one.complete(held[0])

        async def room() -> bool:
            try:
                ids.append(await one.enqueue())
            except grpc.aio.AioRpcError:
                return False
            return True

        await eventually(room)
        is_exceeded(await refused(one.enqueue()), "backlog", 5, passes=True)
        await one.start("CancelTasks", pb.CancelTasksRequest(selector={"task_ids": ids}))
        await eventually(room)
        await one.enqueue_many(4)
        is_exceeded(await refused(one.enqueue()), "backlog", 5, passes=True)


async def test_no_server_lets_its_own_callers_exceed_the_backlog(store: StoreProcess) -> None:
    async with running_server(store, **acme(backlog=50)) as server:
        one = server.caller()

        async def enqueue(number: int) -> bool:
            try:
                await one.enqueue(f"C{number % 3}")
            except grpc.aio.AioRpcError:
                return False
            return True

        done = sum(await asyncio.gather(*(enqueue(number) for number in range(120))))
        assert done <= 50

        async def is_full() -> bool:
            # What was added while it was counted may count twice, till it is counted again.
            nonlocal done
            done += await enqueue(0)
            return done == 50

        if done < 50:
            await eventually(is_full)
        is_exceeded(await refused(one.enqueue()), "backlog", 50, passes=True)


async def test_a_server_that_takes_and_ends_tasks_is_not_refused_below_its_backlog(
    store: StoreProcess,
) -> None:
    async with running_server(store, **acme(backlog=10)) as server:
        one = server.caller()
        for _ in range(60):
            await one.enqueue()
            await one.complete(await one.claim_one())
            await asyncio.sleep(0.01)


async def test_a_backlog_of_many_queues_is_counted_seldom(
    store: StoreProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, counts, count = 1_000.0, 0, Reads.unended

    async def counted(reads: Reads, queues: Any) -> int:
        nonlocal counts
        counts += 1
        return await count(reads, queues)

    monkeypatch.setattr(backlogs, "monotonic", lambda: at)
    monkeypatch.setattr(backlogs, "_QUEUE", 5.0)
    monkeypatch.setattr(Reads, "unended", counted)
    async with running_server(store, **acme(backlog=2)) as server:
        one = server.caller()
        ids = [await one.enqueue("A"), await one.enqueue("B")]
        at += 1
        for _ in range(5):
            is_exceeded(await refused(one.enqueue()), "backlog", 2, passes=True)
        assert counts == 2  # by the first count there was no queue
        await one.start("CancelTasks", pb.CancelTasksRequest(selector={"task_ids": ids}))
        at += 9
        is_exceeded(await refused(one.enqueue()), "backlog", 2, passes=True)
        at += 2
        await one.enqueue()
        assert counts == 3


async def test_repeats_do_not_count(store: StoreProcess) -> None:
    async with running_server(store, **acme(backlog=3)) as server:
        one = server.caller()
        ids = {await one.enqueue(idempotency_key="k") for _ in range(3)}
        assert len(ids) == 1
        await one.enqueue_many(2)
        is_exceeded(await refused(one.enqueue()), "backlog", 3, passes=True)


async def test_bytes_of_a_payload(store: StoreProcess) -> None:
    async with running_server(store, **acme(payload_bytes=100)) as server:
        one, other = server.caller(), server.caller("rival")
        await one.enqueue(data=b"x" * 100)
        is_exceeded(await refused(one.enqueue(data=b"x" * 101)), "payload_bytes", 100, passes=False)
        request = many(3, "RENDER")
        request.tasks[1].payload.data = b"x" * 101
        response = await one.start("BatchEnqueue", request)
        assert [item_kind(item) for item in response.failures] == [(1, *FULL)]
        request.atomic = True
        refusal = await refused(one.start("BatchEnqueue", request))
        is_exceeded(refusal, "payload_bytes", 100, passes=False)
        assert (await one.stats()).pending == 3
        await other.enqueue(data=b"x" * 101)
        # Results are no payloads of tasks.
        await one.complete((await one.claim())[0], b"x" * 101)


async def test_streams_and_watches(store: StoreProcess) -> None:
    quotas = {"streams": 2, "watches": 1}
    async with running_server(store, **acme(**quotas)) as server, AsyncExitStack() as stack:
        one, worker, other = (
            server.caller(),
            server.caller("acme", "worker"),
            server.caller("rival"),
        )
        for caller in (one, worker):
            await stack.enter_async_context(StreamReader(caller, stream_request()))
        await stack.enter_async_context(WatchReader(one, ALL))
        for rpc, request, quota in (
            ("StreamClaim", stream_request(), "streams"),
            ("WatchTasks", pb.WatchTasksRequest(selector=ALL), "watches"),
        ):
            for caller in (one, worker):
                refusal = await refused(caller.start(rpc, request, timeout=5).read())
                is_exceeded(refusal, quota, quotas[quota], passes=True)
        for _ in range(3):
            await stack.enter_async_context(StreamReader(other, stream_request()))
            await stack.enter_async_context(WatchReader(other, ALL))
        await stack.aclose()

        async def again() -> bool:
            try:
                async with StreamReader(one, stream_request()), WatchReader(one, ALL):
                    return True
            except (grpc.aio.AioRpcError, AssertionError):
                return False

        await eventually(again)


async def test_calls_a_second(store: StoreProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    at = 1_000.0
    monkeypatch.setattr("codeq_grpc.rpc.tenancy.monotonic", lambda: at)
    async with running_server(store, **acme(calls_per_second=5)) as server:
        one, worker, other = (
            server.caller(),
            server.caller("acme", "worker"),
            server.caller("rival"),
        )
        for caller in (one, worker, one, worker, one):
            await caller.claim()
        for call in (one.enqueue(), worker.claim(), one.task("x" * 18)):
            is_exceeded(await refused(call), "calls_per_second", 5, passes=True)
        refusal = await refused(one.start("StreamClaim", stream_request(), timeout=5).read())
        is_exceeded(refusal, "calls_per_second", 5, passes=True)
        assert refusal.retry_after == pytest.approx(0.2, abs=0.01)
        for _ in range(9):
            await other.claim()
        at += 0.2
        assert await one.claim() == []  # and nothing had been enqueued
        is_exceeded(await refused(one.claim()), "calls_per_second", 5, passes=True)
        at += 60
        for _ in range(5):
            await one.claim()
        is_exceeded(await refused(one.claim()), "calls_per_second", 5, passes=True)


async def test_those_that_are_not_listed_have_what_is_the_default(store: StoreProcess) -> None:
    settings = {"tenants": {"rival": {}}, "tenant_defaults": {"queues": 1}}
    async with running_server(store, **settings) as server:
        one, other = server.caller(), server.caller("rival")
        await one.enqueue("A")
        is_exceeded(await refused(one.enqueue("B")), "queues", 1, passes=False)
        for command in "AB":
            await other.enqueue(command)


async def test_a_tenant_that_is_not_listed_is_refused_if_strict(
    store: StoreProcess, admin: Admin
) -> None:
    async with running_server(store, tenants={"acme": None}, strict_tenants=True) as server:
        one, other = server.caller(), server.caller("rival")
        await one.enqueue()
        unknown = ("PERMISSION_DENIED", "TENANT_UNKNOWN")
        pausing = ask(other, "PauseQueue", admin_pb.PauseQueueRequest(command="RENDER"))
        for call in (other.enqueue(), other.claim(), other.task("x" * 18), pausing):
            refusal = await refused(call)
            assert refusal.kind == unknown
            assert refusal.metadata == {"tenant": "rival"}
        stream = other.start("StreamClaim", stream_request(), timeout=5)
        assert (await refused(stream.read())).kind == unknown
        # Whoever has no valid credential learns nothing of tenants.
        stranger = server.stranger(("authorization", "Bearer rival"))
        assert (await refused(stranger.claim())).kind[1] == "CREDENTIAL_INVALID"
    # Nor is anything kept of it: whoever may name tenants could fill the store.
    assert admin.call("KEYS", "*rival*") == []


async def test_two_servers_exceed_a_backlog_by_what_the_other_added_of_late_at_most(
    store: StoreProcess,
) -> None:
    async with AsyncExitStack() as stack:
        callers = [
            (await stack.enter_async_context(running_server(store, **acme(backlog=100)))).caller()
            for _ in range(2)
        ]
        added = 0

        async def flood(caller: Caller) -> None:
            nonlocal added
            while True:
                try:
                    await caller.enqueue()
                    added += 1
                except grpc.aio.AioRpcError:
                    return

        await asyncio.gather(*(flood(caller) for caller in callers))
        # Each lets itself no more than a hundred, and counts what it sees of the other.
        assert 100 <= added <= 200
        for caller in callers:
            is_exceeded(await refused(caller.enqueue()), "backlog", 100, passes=True)
        assert (await callers[0].stats()).pending == added
