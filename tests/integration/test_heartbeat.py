"""Heartbeat: extends, never shortens, and names the leases that are lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.duration_pb2 import Duration

from codeq.v1 import codeq_service_pb2 as pb, task_pb2

if TYPE_CHECKING:
    from tests.support.server import Caller, Server


async def left_ms(acme: Caller, task: task_pb2.ClaimedTask) -> int:
    """Lease left when the lease last changed."""
    stored = await acme.task(task.lease.task_id)
    return stored.lease_expire_time.ToMilliseconds() - stored.update_time.ToMilliseconds()


async def test_a_heartbeat_extends_by_the_lease_of_the_claim_or_as_asked(acme: Caller) -> None:
    await acme.enqueue()
    task = await acme.claim_one(lease=40)
    first = (await acme.task(task.lease.task_id)).lease_expire_time.ToMilliseconds()
    assert await acme.heartbeat(task) == []
    assert await left_ms(acme, task) == 40_000
    assert (await acme.task(task.lease.task_id)).lease_expire_time.ToMilliseconds() >= first
    assert await acme.heartbeat(task, extend=86_400) == []
    assert await left_ms(acme, task) == 86_400_000


async def test_a_heartbeat_never_shortens_a_lease(acme: Caller) -> None:
    await acme.enqueue()
    task = await acme.claim_one(lease=1_000)
    before = (await acme.task(task.lease.task_id)).lease_expire_time
    assert await acme.heartbeat(task, extend=1) == []
    assert (await acme.task(task.lease.task_id)).lease_expire_time == before


async def test_only_lost_leases_are_named_and_the_others_extended(
    acme: Caller, peer: Server
) -> None:
    await acme.enqueue_many(3, "A")
    await acme.enqueue_many(1, "B")
    a0, a1, a2 = await acme.claim("A", most=3)
    (b0,) = await acme.claim("B")
    await acme.complete(a0)
    await acme.abandon(a2)
    (again,) = await acme.claim("A")
    assert again.lease.task_id == a2.lease.task_id
    stranger = task_pb2.ClaimedTask(lease=task_pb2.LeaseRef(task_id="never-was", fence=7))
    directives = await peer.caller().heartbeat(a0, a1, a2, b0, stranger, again, extend=500)
    assert {(one.lease.task_id, one.lease.fence) for one in directives} == {
        (task.lease.task_id, task.lease.fence) for task in (a0, a2, stranger)
    }
    assert {one.kind for one in directives} == {pb.DIRECTIVE_KIND_LEASE_LOST}
    assert all(one.reason for one in directives)
    assert [await left_ms(acme, task) for task in (a1, b0, again)] == [500_000] * 3


async def test_the_longest_of_two_extensions_of_one_lease_holds(acme: Caller) -> None:
    await acme.enqueue()
    task = await acme.claim_one(lease=10)
    items = [
        pb.LeaseHeartbeat(lease=task.lease, extend=Duration(seconds=seconds))
        for seconds in (600, 20)
    ]
    response = await acme.start("Heartbeat", pb.HeartbeatRequest(leases=items))
    assert not response.directives
    assert await left_ms(acme, task) == 600_000


async def test_a_heartbeat_of_the_largest_size(acme: Caller) -> None:
    await acme.enqueue_many(999)
    held = await acme.claim(most=1_000)
    while len(held) < 999:
        held += await acme.claim(most=1_000)
    gone = task_pb2.ClaimedTask(lease=task_pb2.LeaseRef(task_id=held[0].lease.task_id, fence=1))
    (directive,) = await acme.heartbeat(*held, gone)
    assert directive.lease == gone.lease
