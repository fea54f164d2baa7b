"""What callers see while the store is gone, silent, full or unfit, and that it passes."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import grpc
import pytest

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from tests.integration import operating
from tests.integration.calling import METHODS, STREAMING, ask, start
from tests.integration.looking import page
from tests.integration.refusals import read_refusal, refused
from tests.integration.requests import requests
from tests.integration.streaming import stream_request
from tests.support.admin import Admin
from tests.support.server import eventually, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from google.protobuf.message import Message

    from tests.integration.refusals import Refusal
    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess

UNAVAILABLE: Final = ("UNAVAILABLE", "STORE_UNAVAILABLE")
RECOVERY: Final = 2.0
"""Seconds after the store answers in which calls succeed again."""


def unary_requests(lease: task_pb2.LeaseRef) -> Iterator[tuple[str, Message]]:
    """One of each RPC, and a Claim and a GetTask that wait."""
    for rpc, request in requests(lease):
        if rpc not in STREAMING:
            yield rpc, request
    claim = pb.ClaimRequest(worker_id="w", commands=["RENDER", "NEVER-SEEN"])
    claim.wait.seconds = 60
    yield "Claim", claim
    get = pb.GetTaskRequest(task_id=lease.task_id)
    get.wait.seconds = 60
    yield "GetTask", get


async def lease_of(acme: Caller) -> task_pb2.LeaseRef:
    """A live one."""
    await acme.enqueue()
    return (await acme.claim_one()).lease


async def refusals(
    acme: Caller, lease: task_pb2.LeaseRef, timeout: float
) -> list[tuple[str, Refusal]]:
    """Of every RPC, all called at once, with this deadline."""
    calls = [
        (rpc, start(acme, rpc, request, timeout=timeout)) for rpc, request in unary_requests(lease)
    ]
    assert {rpc for rpc, _ in calls} == METHODS.keys() - STREAMING
    return [(rpc, await refused(call)) for rpc, call in calls]


async def works(acme: Caller) -> bool:
    """Whether a task can be enqueued and claimed."""
    try:
        await acme.enqueue("PROBE")
        await acme.complete((await acme.claim("PROBE"))[0])
    except grpc.aio.AioRpcError as error:
        assert read_refusal(error).kind == UNAVAILABLE  # noqa: PT017
        return False
    return True


async def test_while_the_store_is_gone_every_call_says_so_and_afterwards_works_again(
    own_store: StoreProcess, own_server: Server
) -> None:
    acme = own_server.caller()
    lease = await lease_of(acme)
    assert await page(own_server, "/readyz") == (200, {"status": "ready"})
    own_store.kill()
    began = time.monotonic()
    for rpc, refusal in await refusals(acme, lease, timeout=30):
        assert refusal.kind == UNAVAILABLE, rpc
        assert refusal.retry_after, rpc
    watch = pb.WatchTasksRequest(selector={"task_ids": [lease.task_id]})
    streams = {"StreamClaim": stream_request("NEVER-SEEN"), "WatchTasks": watch}
    assert streams.keys() == STREAMING
    for rpc, request in streams.items():
        assert (await refused(ask(acme, rpc, request))).kind == UNAVAILABLE
    assert time.monotonic() - began < 5

    async def unready() -> bool:
        return (await page(own_server, "/readyz"))[0] == 503

    await eventually(unready, within=3)
    _, body = await page(own_server, "/readyz")
    assert list(body["reasons"]) == ["store.reachable"]
    assert await page(own_server, "/livez") == (200, {"status": "ok"})
    own_store.start()
    await eventually(lambda: works(acme), within=RECOVERY)
    assert await acme.state(lease.task_id) == "IN_PROGRESS"

    async def ready() -> bool:
        return (await page(own_server, "/readyz"))[0] == 200

    await eventually(ready, within=3)


async def test_while_the_store_is_silent_every_call_answers_before_its_deadline(
    own_store: StoreProcess, own_server: Server
) -> None:
    acme = own_server.caller()
    lease = await lease_of(acme)
    own_store.pause()
    for rpc, refusal in await refusals(acme, lease, timeout=1):
        assert refusal.kind == UNAVAILABLE, rpc
    own_store.resume()
    await eventually(lambda: works(acme), within=RECOVERY)


async def test_without_a_deadline_a_silent_store_is_waited_for_no_longer_than_set(
    own_store: StoreProcess,
) -> None:
    async with running_server(own_store, store_timeout_seconds=0.5) as server:
        acme = server.caller()
        lease = await lease_of(acme)
        own_store.pause()
        began = time.monotonic()
        for rpc, refusal in await refusals(acme, lease, timeout=30):
            assert refusal.kind == UNAVAILABLE, rpc
        assert time.monotonic() - began < 3

        async def unready() -> bool:
            return (await page(server, "/readyz"))[0] == 503

        await eventually(unready, within=3)
        assert await page(server, "/livez") == (200, {"status": "ok"})
        own_store.resume()
        await eventually(lambda: works(acme), within=RECOVERY)


async def test_a_server_started_without_a_store_waits_for_it(own_store: StoreProcess) -> None:
    own_store.kill()
    async with running_server(own_store) as server:
        acme = server.caller()
        assert (await refused(acme.start("Enqueue", _enqueue()))).kind == UNAVAILABLE
        assert (await page(server, "/readyz"))[0] == 503
        own_store.start()
        await eventually(lambda: works(acme), within=RECOVERY)


def _enqueue() -> pb.EnqueueRequest:
    return pb.EnqueueRequest(task={"command": "RENDER"})


async def test_a_full_store_takes_no_tasks_and_can_be_drained(
    own_store: StoreProcess, own_server: Server
) -> None:
    acme = own_server.caller()
    ids = await acme.enqueue_many(4)
    with Admin(own_store.socket_path) as admin:
        admin.call("CONFIG", "SET", "maxmemory", "1")
        batch = pb.BatchEnqueueRequest(tasks=[{"command": "RENDER"}, {"command": "NEW"}])
        for rpc, request in (("Enqueue", _enqueue()), ("BatchEnqueue", batch)):
            refusal = await refused(acme.start(rpc, request))
            assert refusal.kind == ("RESOURCE_EXHAUSTED", "STORE_FULL")
            assert refusal.retry_after == 5

        async def told() -> bool:
            status, details = await page(own_server, "/health/detailed")
            return (status, details["services"]["store.memory"]) == (200, "NOT_SERVING")

        await eventually(told)
        first, second, third, fourth = await acme.claim(most=9)
        assert await acme.heartbeat(first, second, third, fourth) == []
        await acme.complete(first, bytes(1_000))
        await acme.fail(second, non_retryable=True)
        await acme.abandon(third)
        report = pb.ReportRequest(outcomes=[{"complete": {"lease": fourth.lease}}])
        assert not (await acme.start("Report", report)).failures
        assert (await acme.task(ids[0], full=True)).result.data == bytes(1_000)
        assert (await acme.stats()).pending == 1
        await operators_may_empty_a_full_store(acme, second.lease.task_id)
        await operating.clean(acme)
        admin.call("CONFIG", "SET", "maxmemory", "0")
    await acme.enqueue()


async def operators_may_empty_a_full_store(acme: Caller, failed: str) -> None:
    """Whatever makes room and whatever reads; not what adds."""
    refusal = await refused(operating.redrive(acme, failed))
    assert refusal.kind == ("RESOURCE_EXHAUSTED", "STORE_FULL")
    await operating.pause(acme)
    assert (await operating.settings(acme)).paused
    await operating.resume(acme)
    assert not (await operating.settings(acme)).paused
    assert (await operating.cancel(acme)).cancelled_count == 1
    assert await operating.purge(acme) == 0
    assert len(await operating.listed(acme)) == 4


@pytest.mark.parametrize(
    ("trouble", "cure", "check", "reason"),
    [
        (
            ("CONFIG", "SET", "maxmemory-policy", "allkeys-lru"),
            ("CONFIG", "SET", "maxmemory-policy", "noeviction"),
            "store.noeviction",
            "allkeys-lru",
        ),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"), "store.primary", "slave"),
    ],
)
async def test_an_unfit_store_makes_the_server_unready_for_a_reason(
    own_store: StoreProcess,
    own_server: Server,
    trouble: tuple[str, ...],
    cure: tuple[str, ...],
    check: str,
    reason: str,
) -> None:
    async def status(wanted: int) -> bool:
        return (await page(own_server, "/readyz"))[0] == wanted

    with Admin(own_store.socket_path) as admin:
        assert await status(200)
        admin.call(*trouble)
        await eventually(lambda: status(503), within=3)
        _, body = await page(own_server, "/readyz")
        assert reason in body["reasons"][check]
        assert (await page(own_server, "/livez"))[0] == 200
        _, details = await page(own_server, "/health/detailed")
        assert details["services"][check] == "NOT_SERVING"
        admin.call(*cure)
    await eventually(lambda: status(200), within=3)


async def test_an_error_inside_the_store_is_told_as_a_bug_without_its_text(
    acme: Caller, admin: Admin, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = await acme.enqueue()
    admin.call("SET", "codeq:{acme/RENDER/0}:m", "of another kind")
    call = acme.start("GetTask", pb.GetTaskRequest(task_id=task_id))
    refusal = await refused(call)
    assert refusal.kind == ("INTERNAL", "INTERNAL")
    assert refusal.message == f"internal error, request id {refusal.request_id}"
    assert refusal.metadata == {}
    assert "WRONGTYPE" in caplog.text


SECRET: Final = "redis://user:secret@10.0.0.1:6379 /srv/app/codeq.py"


@pytest.mark.parametrize("rpc", ["Enqueue", "StreamClaim", "Heartbeat"])
async def test_a_bug_tells_nothing_but_the_request_id(
    acme: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, rpc: str
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError(SECRET)

    for place in ("tasks.Tasks.enqueue", "streams.Streams.serve", "reports.Reports.heartbeat"):
        monkeypatch.setattr(f"codeq_grpc.broker.{place}", broken)
    lease = task_pb2.LeaseRef(task_id="x" * 18, fence=1)
    request = next(request for name, request in requests(lease) if name == rpc)
    call = start(acme, rpc, request, metadata=(("x-request-id", "abc-1"),))
    refusal = await refused(call.read() if rpc == "StreamClaim" else call)
    assert refusal.kind == ("INTERNAL", "INTERNAL")
    assert refusal.message == "internal error, request id abc-1"
    assert (refusal.metadata, refusal.fields, refusal.request_id) == ({}, (), "abc-1")
    assert SECRET in caplog.text


@pytest.mark.parametrize("rpc", ["Enqueue", "StreamClaim"])
async def test_something_cancelled_inside_is_told_at_once_as_unavailable(
    acme: Caller, monkeypatch: pytest.MonkeyPatch, rpc: str
) -> None:
    async def cancelled(*_: Any, **__: Any) -> None:
        raise asyncio.CancelledError

    for place in ("tasks.Tasks.enqueue", "streams.Streams.serve"):
        monkeypatch.setattr(f"codeq_grpc.broker.{place}", cancelled)
    lease = task_pb2.LeaseRef(task_id="x" * 18, fence=1)
    request = next(request for name, request in requests(lease) if name == rpc)
    call = acme.start(rpc, request, timeout=30)
    began = time.monotonic()
    refusal = await refused(call.read() if rpc == "StreamClaim" else call)
    assert refusal.kind == UNAVAILABLE
    assert time.monotonic() - began < 5
