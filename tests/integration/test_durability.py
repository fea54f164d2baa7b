"""OK only when a change is as durable as promised, and what is told if it is not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest

from codeq.v1 import (
    admin_service_pb2 as admin_pb,
    codeq_service_pb2 as pb,
    queue_pb2,
    schedule_service_pb2 as schedule_pb,
    task_pb2,
)
from codeq_grpc.auth.permissions import PERMISSIONS
from codeq_grpc.client import Client
from codeq_grpc.core.errors import NotDurable
from codeq_grpc.rpc.durability import NO_PROMISES, PROMISES
from tests.integration.calling import PATHS, ask
from tests.integration.looking import page
from tests.integration.refusals import refused
from tests.integration.requests_of_schedules import of_schedules
from tests.support.admin import Admin
from tests.support.replicas import Replica
from tests.support.server import eventually, running_server, token_of
from tests.support.stores import StoreProcess, engines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from google.protobuf.message import Message

    from tests.support.server import Caller, Server
    from tests.support.stores import Engine

NOT_DURABLE = ("UNAVAILABLE", "NOT_DURABLE")


@pytest.fixture(scope="module")
def shared_pair(engine: Engine) -> Iterator[Replica]:
    with Replica(engine) as pair:
        yield pair


@pytest.fixture
def pair(shared_pair: Replica) -> Iterator[Replica]:
    with Admin(shared_pair.primary.socket_path) as admin:
        admin.call("FLUSHALL")
    yield shared_pair
    shared_pair.resume()


@pytest.fixture
async def careful(pair: Replica) -> AsyncIterator[Server]:
    """Promises D4, and is not patient."""
    async with running_server(pair.primary, durability="D4", store_timeout_seconds=0.5) as server:
        yield server


def test_of_every_rpc_it_is_settled_whether_it_promises() -> None:
    ours = {method for method in PERMISSIONS if method.startswith("/codeq.v1.")}
    assert ours == PROMISES.keys() | NO_PROMISES
    assert not PROMISES.keys() & NO_PROMISES


async def test_while_the_replica_hangs_an_enqueue_is_not_ok_and_its_repeat_makes_no_second_task(
    pair: Replica, careful: Server
) -> None:
    acme = careful.caller()
    await acme.enqueue(idempotency_key="before")
    pair.replica.pause()
    refusal = await refused(acme.enqueue(idempotency_key="k"))
    assert refusal.kind == NOT_DURABLE
    assert refusal.message == NotDurable().message
    # Which of the two is a matter of how busy the machine is.
    assert refusal.metadata["problem"] in {"on 0 of 1 replicas", "not in time"}
    assert refusal.retry_after == 0.5
    # A key that has a task is as good as OK to who asks again.
    existing = pb.EnqueueRequest(task={"command": "RENDER", "idempotency_key": "k"})
    existing.task.conflict_policy = task_pb2.CONFLICT_POLICY_FAIL
    assert (await refused(acme.start("Enqueue", existing))).kind == NOT_DURABLE
    pair.resume()
    assert await acme.state(await acme.enqueue(idempotency_key="k")) == "PENDING"
    assert (await refused(acme.start("Enqueue", existing))).kind[1] == "TASK_EXISTS"
    assert (await acme.stats()).pending == 2


async def test_the_sdk_repeats_an_enqueue_until_it_is_durable(
    pair: Replica, careful: Server
) -> None:
    token = token_of("acme", "admin")
    async with Client(careful.address, token=token, timeout=20) as client:
        pair.replica.pause()
        adding = asyncio.create_task(client.enqueue("RENDER", b"x", idempotency_key="k"))
        await eventually(lambda: not careful.app.health.ready)
        assert not adding.done()
        await asyncio.to_thread(pair.resume)
        task_id = (await adding).task_id
    acme = careful.caller()
    assert await acme.state(task_id) == "PENDING"
    assert (await acme.stats()).pending == 1


async def promises_of(acme: Caller) -> list[tuple[str, Message]]:
    """A request of each RPC that changes something, with leases for those that need one."""
    await acme.enqueue_many(6)
    one, two, three, four, five = [task.lease for task in await acme.claim(most=5)]
    beat = pb.HeartbeatRequest(leases=[{"lease": five}])
    beat.leases[0].progress.checkpoint.data = b"half"
    key = admin_pb.ApiKey(name="ci", scopes=["tasks.read"])
    made = await ask(acme, "CreateApiKey", admin_pb.CreateApiKeyRequest(key=key))
    return [
        ("Enqueue", pb.EnqueueRequest(task={"command": "RENDER"})),
        ("BatchEnqueue", pb.BatchEnqueueRequest(tasks=[{"command": "RENDER"}])),
        ("Heartbeat", beat),
        ("Complete", pb.CompleteRequest(lease=one)),
        ("Fail", pb.FailRequest(lease=two, error={"non_retryable": True})),
        ("Abandon", pb.AbandonRequest(lease=three)),
        ("Report", pb.ReportRequest(outcomes=[{"complete": {"lease": four}}])),
        ("CancelTasks", pb.CancelTasksRequest(selector={"task_ids": [five.task_id]})),
        ("RedriveTasks", pb.RedriveTasksRequest(selector={"task_ids": [two.task_id]})),
        ("AdminCleanup", pb.AdminCleanupRequest()),
        ("UpdateQueue", admin_pb.UpdateQueueRequest(queue=queue_pb2.Queue(command="RENDER"))),
        ("PauseQueue", admin_pb.PauseQueueRequest(command="RENDER")),
        ("ResumeQueue", admin_pb.ResumeQueueRequest(command="RENDER")),
        ("PurgeQueue", admin_pb.PurgeQueueRequest(command="RENDER")),
        ("CreateApiKey", admin_pb.CreateApiKeyRequest(key=key)),
        ("RevokeApiKey", admin_pb.RevokeApiKeyRequest(key_id=made.key.key_id)),
    ]


def promises_of_schedules() -> Iterator[tuple[str, Message]]:
    """The same of one schedule, which is deleted in the end."""
    for rpc, request in of_schedules(task_pb2.RetryPolicy()):
        if isinstance(request, schedule_pb.RollbackScheduleRequest):
            request.etag = ""
        again = isinstance(request, schedule_pb.UpdateScheduleRequest) and request.schedule.etag
        if PATHS[rpc] in PROMISES and not again:
            yield rpc, request


async def test_while_the_replica_hangs_no_change_of_a_schedule_is_ok(
    pair: Replica, careful: Server
) -> None:
    acme = careful.caller()
    pair.replica.pause()
    for rpc, request in promises_of_schedules():
        assert (await refused(ask(acme, rpc, request))).kind == NOT_DURABLE, rpc
    pair.resume()


async def test_while_the_replica_hangs_no_change_is_ok_and_claims_and_reads_are(
    pair: Replica, careful: Server
) -> None:
    acme = careful.caller()
    requests = await promises_of(acme)
    rpcs = {rpc for rpc, _ in [*requests, *promises_of_schedules()]}
    assert {method.rpartition("/")[2] for method in PROMISES} == rpcs
    pair.replica.pause()
    for rpc, request in requests:
        assert (await refused(ask(acme, rpc, request))).kind == NOT_DURABLE, rpc
    assert await acme.claim(most=1) == []  # the purge was done, promised or not
    assert (await acme.stats()).in_progress == 1
    pair.resume()
    task_id = await acme.enqueue()
    task = await acme.claim_one()
    assert task.lease.task_id == task_id
    pair.replica.pause()
    assert await acme.heartbeat(task) == []
    assert await acme.state(task_id) == "IN_PROGRESS"
    pair.resume()

    async def completed() -> bool:
        try:
            await acme.complete(task)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return False
        return True

    await eventually(completed)


async def test_who_goes_away_while_it_waits_takes_nobody_along(pair: Replica) -> None:
    async with running_server(pair.primary, durability="D4") as server:
        acme = server.caller()
        await acme.enqueue()
        pair.replica.pause()
        request = pb.EnqueueRequest(task={"command": "RENDER"})
        calls = [acme.start("Enqueue", request) for _ in range(20)]
        await asyncio.sleep(0.1)
        for call in calls[::2]:
            call.cancel()
        pair.resume()
        for call in calls[1::2]:
            assert (await call).task_id
        for call in calls[::2]:
            assert await call.code() is grpc.StatusCode.CANCELLED


async def test_the_callers_deadline_is_kept(pair: Replica) -> None:
    async with running_server(pair.primary, durability="D4") as server:
        acme = server.caller()
        await acme.enqueue()
        pair.replica.pause()
        request = pb.EnqueueRequest(task={"command": "RENDER"})
        assert (await refused(acme.start("Enqueue", request, timeout=1))).kind == NOT_DURABLE
        pair.resume()


async def test_a_replica_that_hangs_makes_the_server_unready_for_a_reason(
    pair: Replica, careful: Server
) -> None:
    async def status(wanted: int) -> bool:
        return (await page(careful, "/readyz"))[0] == wanted

    async def reason() -> str:
        _, body = await page(careful, "/readyz")
        return str(body.get("reasons", {}).get("store.durability", ""))

    async def is_the_replica() -> bool:
        return "on 0 of 1 replicas" in await reason()

    await eventually(lambda: status(200))
    pair.replica.pause()
    await eventually(lambda: status(503))
    await eventually(is_the_replica)
    pair.resume()
    await eventually(lambda: status(200))


async def test_what_differs_from_the_level_is_on_the_health_pages_and_in_the_log(
    own_store: StoreProcess, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        async with running_server(own_store, durability="D2") as server:
            problem = "appendfsync is everysec, D2 needs always"
            status, body = await page(server, "/readyz")
            assert (status, body["reasons"]) == (503, {"store.durability": problem})
            _, details = await page(server, "/health/detailed")
            assert details["durability"] == "D2"
            assert details["services"]["store.durability"] == "NOT_SERVING"
            assert f"the store is not fit: {problem}" in caplog.messages
            with Admin(own_store.socket_path) as admin:
                admin.call("CONFIG", "SET", "appendfsync", "always")
            await eventually(lambda: server.app.health.ready)
            assert "the store is fit" in caplog.messages
            _, details = await page(server, "/health/detailed")
            assert details["store"]["fsync"] == "always"


async def test_at_d3_a_full_store_can_be_drained() -> None:
    options = ("--appendfsync", "always")
    with StoreProcess(engines()[0], aof=True, options=options) as store:
        async with running_server(store, durability="D3") as server:
            acme = server.caller()
            await acme.enqueue_many(2)
            with Admin(store.socket_path) as admin:
                admin.call("CONFIG", "SET", "maxmemory", "1")
                refusal = await refused(acme.enqueue())
                assert refusal.kind == ("RESOURCE_EXHAUSTED", "STORE_FULL")
                first, second = await acme.claim(most=2)
                await acme.complete(first)
                await acme.complete(second)
                assert server.app.health.ready
                admin.call("CONFIG", "SET", "maxmemory", "0")
            await acme.enqueue()
