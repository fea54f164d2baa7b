"""No call of one tenant reads, changes, counts or detects what is another's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from tests.integration.calling import ask
from tests.integration.looking import contents
from tests.integration.refusals import read_refusal, refused
from tests.integration.streaming import StreamReader, stream_request
from tests.support.server import running_server

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from tests.support.admin import Admin
    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess

UNKNOWN: Final = "AAAAAAAAAAAAAAAAAA"

BY_ID: Final[dict[str, Callable[[task_pb2.LeaseRef], Message]]] = {
    "Heartbeat": lambda lease: pb.HeartbeatRequest(leases=[{"lease": lease}]),
    "Complete": lambda lease: pb.CompleteRequest(lease=lease),
    "Fail": lambda lease: pb.FailRequest(lease=lease),
    "Abandon": lambda lease: pb.AbandonRequest(lease=lease),
    "Report": lambda lease: pb.ReportRequest(outcomes=[{"complete": {"lease": lease}}]),
    "GetTask": lambda lease: pb.GetTaskRequest(task_id=lease.task_id),
    "WatchTasks": lambda lease: pb.WatchTasksRequest(selector={"task_ids": [lease.task_id]}),
    "CancelTasks": lambda lease: pb.CancelTasksRequest(selector={"task_ids": [lease.task_id]}),
    "RedriveTasks": lambda lease: pb.RedriveTasksRequest(selector={"task_ids": [lease.task_id]}),
    "Enqueue": lambda lease: pb.EnqueueRequest(task=_behind(lease)),
    "BatchEnqueue": lambda lease: pb.BatchEnqueueRequest(tasks=[_behind(lease)]),
}
"""Every RPC that names tasks."""


def _behind(lease: task_pb2.LeaseRef) -> task_pb2.TaskSpec:
    return task_pb2.TaskSpec(command="RENDER", depends_on=[lease.task_id])


async def shape(caller: Caller, rpc: str, lease: task_pb2.LeaseRef) -> Any:
    """All that is told, without the id and the fence that were asked for."""
    try:
        found = str(await ask(caller, rpc, BY_ID[rpc](lease)))
    except grpc.aio.AioRpcError as error:
        refusal = read_refusal(error)
        found = str(
            (refusal.kind, refusal.message, refusal.metadata, refusal.fields, refusal.retry_after)
        )
    return re.sub(rf"\b{lease.fence}\b", "FENCE", found.replace(lease.task_id, "ID"))


@pytest.mark.parametrize("rpc", BY_ID)
async def test_a_task_of_another_tenant_is_as_unknown_as_one_that_never_was(
    acme: Caller, rival: Caller, peer: Server, admin: Admin, rpc: str
) -> None:
    await rival.enqueue_many(3)
    await rival.enqueue("SECRET")
    pending, held, ended = (task.lease for task in await rival.claim(most=3))
    await rival.start("Abandon", pb.AbandonRequest(lease=pending))
    await rival.start("Complete", pb.CompleteRequest(lease=ended))
    await acme.enqueue()
    own = (await acme.claim_one()).lease
    before = contents(admin)
    # A tag that routes to the other's queue, and a number that is none of it.
    near = held.task_id[:8] + own.task_id[8:]
    absent = own.task_id[:8] + held.task_id[8:]
    fence = held.fence
    for caller in (acme, peer.caller("acme")):
        told = {
            task_id: await shape(caller, rpc, task_pb2.LeaseRef(task_id=task_id, fence=fence))
            for task_id in (UNKNOWN, held.task_id, pending.task_id, ended.task_id, near, absent)
        }
        assert len(set(told.values())) == 1, told
        assert re.search("NOT_FOUND|LEASE_LOST|there is no such task", told[UNKNOWN])
        mine = await shape(caller, rpc, task_pb2.LeaseRef(task_id=own.task_id, fence=fence))
        assert mine != told[UNKNOWN]
    # An own task was cancelled, or another put behind it; nothing of the other tenant's changed.
    assert of_tenant(admin, "rival") == {
        name: value for name, value in before.items() if b"{rival" in name
    }


async def test_while_the_store_is_away_a_task_of_another_tenant_is_as_unknown(
    own_store: StoreProcess,
) -> None:
    """What a server knows by heart of others' queues shows neither so nor in how long it takes."""
    async with running_server(own_store, store_timeout_seconds=0.5) as server:
        theirs = await server.caller("rival").enqueue()
        others = await server.caller().enqueue("OTHER")
        for caller in (server.caller(), server.caller("acme", "admin-of-render")):
            await refused(caller.start("GetTask", pb.GetTaskRequest(task_id=theirs)))
        own_store.pause()
        for caller, task_id in (
            (server.caller(), UNKNOWN),
            (server.caller(), theirs),
            (server.caller("acme", "admin-of-render"), others),
        ):
            refusal = await refused(caller.start("GetTask", pb.GetTaskRequest(task_id=task_id)))
            assert refusal.kind == ("UNAVAILABLE", "STORE_UNAVAILABLE")
        own_store.resume()


def of_tenant(admin: Admin, tenant: str) -> dict[bytes, bytes]:
    """Every key of a tenant and its value."""
    return {n: value for n, value in contents(admin).items() if b"{%b" % tenant.encode() in n}


async def test_one_command_of_two_tenants_is_two_queues(acme: Caller, rival: Caller) -> None:
    mine, theirs = await acme.enqueue(data=b"mine"), await rival.enqueue(data=b"theirs")
    assert [task.lease.task_id for task in await rival.claim(most=9)] == [theirs]
    assert [task.lease.task_id for task in await acme.claim(most=9)] == [mine]


async def test_neither_claims_nor_streams_see_tasks_of_another_tenant(
    acme: Caller, rival: Caller
) -> None:
    waiting = acme.start("Claim", _waits(), timeout=None)
    async with StreamReader(acme, stream_request(idle=1)) as stream:
        await rival.enqueue_many(5)
        assert not (await waiting).tasks
        await stream.until(lambda one: "idle" in one.kinds)
        assert stream.tasks == []
    assert len(await rival.claim(most=9)) == 5


def _waits() -> pb.ClaimRequest:
    request = pb.ClaimRequest(worker_id="w", commands=["RENDER"], max_tasks=9)
    request.wait.FromMilliseconds(500)
    return request


async def test_queues_of_another_tenant_are_not_listed_nor_counted(
    acme: Caller, rival: Caller
) -> None:
    await rival.enqueue("SECRET")
    await rival.enqueue_many(5, "SHARED")
    await acme.enqueue("SHARED")
    everything = await acme.start("AdminQueues", pb.AdminQueuesRequest())
    assert [(queue.command, queue.pending) for queue in everything.queues] == [("SHARED", 1)]
    for commands in (["SECRET"], ["NEVER"]):
        response = await acme.start("AdminQueues", pb.AdminQueuesRequest(commands=commands))
        assert not response.queues


async def test_cleanup_deletes_nothing_of_another_tenant(acme: Caller, rival: Caller) -> None:
    ids = []
    for caller in (acme, rival):
        ids.append(await caller.enqueue())
        await caller.complete(await caller.claim_one())
    ended = (await rival.task(ids[1])).end_time.ToMilliseconds()
    deleted, used = 0, 0
    while used <= ended + 1:
        response = await acme.start("AdminCleanup", pb.AdminCleanupRequest())
        deleted, used = deleted + response.deleted, response.before.ToMilliseconds()
    assert deleted == 1
    assert await rival.state(ids[1]) == "COMPLETED"
    assert (await rival.stats()).completed == 1


async def test_a_report_of_own_and_foreign_leases_applies_the_own(
    acme: Caller, rival: Caller
) -> None:
    mine, theirs = await acme.enqueue(), await rival.enqueue()
    leases = [(await caller.claim_one()).lease for caller in (acme, rival)]
    outcomes = [pb.Outcome(complete=pb.CompleteRequest(lease=lease)) for lease in leases]
    response = await acme.start("Report", pb.ReportRequest(outcomes=outcomes))
    assert [(item.index, item.reason) for item in response.failures] == [(1, "TASK_NOT_FOUND")]
    assert await acme.state(mine) == "COMPLETED"
    assert await rival.state(theirs) == "IN_PROGRESS"
