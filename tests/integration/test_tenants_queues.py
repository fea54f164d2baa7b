"""A queue of another tenant answers every RPC as one that never was, and nothing happens to it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest

from codeq.v1 import admin_service_pb2 as admin_pb, codeq_service_pb2 as pb, task_pb2
from tests.integration import operating
from tests.integration.calling import METHODS, SCHEDULES, ask
from tests.integration.operating import matching, seconds
from tests.integration.refusals import read_refusal
from tests.integration.streaming import StreamReader, WatchReader, stream_request
from tests.integration.test_tenants import BY_ID, of_tenant

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from tests.support.admin import Admin
    from tests.support.server import Caller, Server

SECRET: Final = "SECRET"
"""A queue that only the other tenant has."""
NEVER: Final = "NEVERX"
"""One that nobody has, of as many characters."""

BY_QUEUE: Final[dict[str, Callable[[str], Message]]] = {
    "Enqueue": lambda name: pb.EnqueueRequest(task={"command": name, "idempotency_key": "k"}),
    "BatchEnqueue": lambda name: pb.BatchEnqueueRequest(
        tasks=[{"command": name, "idempotency_key": "k", "priority": 10}]
    ),
    "Claim": lambda name: pb.ClaimRequest(worker_id="w", commands=[name], max_tasks=9),
    "StreamClaim": stream_request,
    "ListTasks": lambda name: pb.ListTasksRequest(filter=matching(name), page_size=1),
    "WatchTasks": lambda name: pb.WatchTasksRequest(selector={"filter": matching(name)}),
    "CancelTasks": lambda name: pb.CancelTasksRequest(selector={"filter": matching(name)}),
    "RedriveTasks": lambda name: pb.RedriveTasksRequest(selector={"filter": matching(name)}),
    "AdminQueues": lambda name: pb.AdminQueuesRequest(commands=[name]),
    "AdminCleanup": lambda _: pb.AdminCleanupRequest(before={"seconds": 4_000_000_000}),
    "GetQueue": lambda name: admin_pb.GetQueueRequest(command=name),
    "UpdateQueue": lambda name: admin_pb.UpdateQueueRequest(queue={"command": name}),
    "PauseQueue": lambda name: admin_pb.PauseQueueRequest(command=name),
    "ResumeQueue": lambda name: admin_pb.ResumeQueueRequest(command=name),
    "PurgeQueue": lambda name: admin_pb.PurgeQueueRequest(command=name),
    "ListWorkers": lambda name: admin_pb.ListWorkersRequest(command=name),
    "ListAuditEvents": lambda _: admin_pb.ListAuditEventsRequest(),
}
"""Every RPC that names a queue, or all of them."""
ELSEWHERE: Final = {"CreateApiKey", "ListApiKeys", "RevokeApiKey", *SCHEDULES.methods_by_name}
"""RPCs about neither: test_api_keys, test_schedules."""
VARYING: Final = r'(task_id|stream_id): "[^"]*"|(seconds|nanos): \d+'


def test_every_rpc_is_asked_about_another_tenants_tasks_or_queues() -> None:
    assert BY_ID.keys() | BY_QUEUE.keys() | ELSEWHERE == METHODS.keys()


@pytest.fixture
async def secret(rival: Caller) -> None:
    """Tasks in every state, settings, and a worker."""
    await operating.update(rival, SECRET, max_in_progress=3, pause_reason="secret")
    parent = await rival.enqueue(SECRET, idempotency_key="k")
    await rival.enqueue(SECRET, delay=seconds(600))
    await rival.enqueue(SECRET, depends_on=[parent])
    await rival.enqueue_many(3, SECRET, labels={"a": "b"})
    completed, failed, _ = await rival.claim(SECRET, most=3)
    await rival.complete(completed)
    await rival.fail(failed, non_retryable=True)
    cancelled = await rival.enqueue(SECRET)
    await operating.cancel(rival, cancelled)


async def told(caller: Caller, rpc: str, command: str) -> str:
    """All that is told, but for ids, times and the queue's name."""
    try:
        found = str(await ask(caller, rpc, BY_QUEUE[rpc](command)))
    except grpc.aio.AioRpcError as error:
        refusal = read_refusal(error)
        found = str((refusal.kind, refusal.message, refusal.metadata, refusal.fields))
    return re.sub(VARYING, "", found.replace(command, "QUEUE"))


@pytest.mark.parametrize("rpc", BY_QUEUE)
async def test_a_queue_of_another_tenant_is_as_unknown_as_one_that_never_was(
    acme: Caller, peer: Server, admin: Admin, secret: None, rpc: str
) -> None:
    before = of_tenant(admin, "rival")
    for caller in (acme, peer.caller("acme")):
        assert await told(caller, rpc, SECRET) == await told(caller, rpc, NEVER)
    assert of_tenant(admin, "rival") == before


@pytest.mark.parametrize("rpc", BY_QUEUE)
async def test_a_queue_of_the_same_name_is_another_one(
    acme: Caller, rival: Caller, admin: Admin, secret: None, rpc: str
) -> None:
    """Whatever is done to the one changes nothing in the other, nor what is told of it."""
    task_id = await acme.enqueue(SECRET, idempotency_key="mine")
    before = of_tenant(admin, "rival")
    await told(acme, rpc, SECRET)
    assert of_tenant(admin, "rival") == before
    mine = {task.task_id for task in await operating.listed(acme, command=SECRET)}
    assert task_id in mine
    theirs = {task.task_id for task in await operating.listed(rival, command=SECRET)}
    assert not mine & theirs
    assert len(theirs) == 7


async def test_all_queues_are_all_of_the_tenant(acme: Caller, secret: None) -> None:
    await acme.enqueue("MINE")
    response = await ask(acme, "AdminQueues", pb.AdminQueuesRequest())
    assert [queue.command for queue in response.queues] == ["MINE"]


async def test_watchers_hear_nothing_of_another_tenants_tasks(
    acme: Caller, rival: Caller, peer: Server
) -> None:
    async with (
        WatchReader(acme, pb.TaskSelector(filter=matching())) as mine,
        WatchReader(peer.caller("rival"), pb.TaskSelector(filter=matching())) as theirs,
    ):
        first, second = await acme.enqueue(), await rival.enqueue()
        await rival.complete(await rival.claim_one())
        await acme.complete(await acme.claim_one())
        await mine.sees(first, "COMPLETED")
        await theirs.sees(second, "COMPLETED")
        assert {task.task_id for task in mine.tasks} == {first}
        assert {task.task_id for task in theirs.tasks} == {second}


async def test_a_cancel_reaches_no_stream_of_another_tenant(acme: Caller, rival: Caller) -> None:
    await acme.enqueue()
    await rival.enqueue()
    async with (
        StreamReader(acme, stream_request(idle=1)) as mine,
        StreamReader(rival, stream_request(idle=1)) as theirs,
    ):
        await mine.take(1)
        await theirs.take(1)
        assert (await operating.cancel(acme)).requested_count == 1
        await mine.until(lambda one: one.directives)
        await theirs.until(lambda one: "idle" in one.kinds)
        assert theirs.directives == []
        assert await rival.heartbeat(theirs.tasks[0]) == []


@pytest.mark.parametrize("what", ["pause", "purge", "limit", "cancel", "redrive", "cleanup"])
async def test_what_an_operator_does_ends_at_the_border_of_the_tenant(
    acme: Caller, rival: Caller, what: str
) -> None:
    for caller in (acme, rival):
        await caller.enqueue(retry_policy={"max_attempts": 1})
        await caller.fail(await caller.claim_one())
        await caller.enqueue_many(2)
    doings: dict[str, Any] = {
        "pause": operating.pause,
        "purge": operating.purge,
        "cancel": operating.cancel,
        "redrive": operating.redrive,
        "cleanup": operating.clean,
        "limit": lambda caller: operating.update(caller, max_in_progress=1, max_backlog=1),
    }
    before = await rival.stats()
    await doings[what](acme)
    after = await rival.stats()
    assert (after.pending, after.failed, after.paused) == (before.pending, before.failed, False)
    assert len(await rival.claim(most=9)) == 2
    assert (await operating.enqueue(rival)).state == task_pb2.TASK_STATE_PENDING
