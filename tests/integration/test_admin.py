"""AdminQueues and AdminCleanup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from tests.support.server import eventually

if TYPE_CHECKING:
    from tests.support.server import Caller, Server

COMPLETED, FAILED = task_pb2.TASK_STATE_COMPLETED, task_pb2.TASK_STATE_FAILED


async def cleanup(acme: Caller, **request: object) -> pb.AdminCleanupResponse:
    """The response of one AdminCleanup."""
    response: pb.AdminCleanupResponse = await acme.start(
        "AdminCleanup",
        pb.AdminCleanupRequest(**request),  # type: ignore[arg-type]
    )
    return response


async def end_tasks(acme: Caller, completed: int, failed: int, command: str = "RENDER") -> None:
    """So many ended tasks, after which a moment has passed."""
    await acme.enqueue_many(completed + failed, command)
    claimed = await acme.claim(command, most=completed + failed)
    outcomes = [
        pb.Outcome(complete=pb.CompleteRequest(lease=task.lease))
        if i < completed
        else pb.Outcome(fail=pb.FailRequest(lease=task.lease, error={"non_retryable": True}))
        for i, task in enumerate(claimed)
    ]
    await acme.start("Report", pb.ReportRequest(outcomes=outcomes))
    ended = (await acme.stats(command)).read_time

    async def passed() -> bool:
        return (await acme.stats(command)).read_time.ToMilliseconds() > ended.ToMilliseconds() + 1

    await eventually(passed)


async def test_queues_are_counted_by_state_and_in_total(acme: Caller, peer: Server) -> None:
    await acme.enqueue_many(8)
    await acme.enqueue(delay=Duration(seconds=600))
    claimed = await acme.claim(most=6)
    await acme.complete(claimed[0])
    await acme.complete(claimed[1])
    await acme.fail(claimed[2], non_retryable=True)
    await acme.fail(claimed[3])
    await acme.abandon(claimed[4])
    stats = await peer.caller().stats()
    assert (stats.pending, stats.scheduled, stats.in_progress) == (3, 2, 1)
    assert (stats.completed, stats.failed) == (2, 1)
    assert (stats.enqueued_total, stats.completed_total) == (9, 2)
    assert (stats.attempt_failed_total, stats.lease_expired_total) == (2, 0)
    oldest = stats.oldest_pending_age.ToMilliseconds()
    first = (await acme.task(claimed[4].lease.task_id)).create_time
    assert oldest == stats.read_time.ToMilliseconds() - first.ToMilliseconds()


async def test_expired_leases_are_counted(acme: Caller) -> None:
    await acme.enqueue_many(2)
    await acme.claim(most=2, lease=1)

    async def counted() -> bool:
        stats = await acme.stats()
        return (stats.lease_expired_total, stats.pending, stats.in_progress) == (2, 2, 0)

    await eventually(counted, within=5)


async def test_all_queues_come_by_name_and_unknown_ones_are_left_out(
    acme: Caller, peer: Server
) -> None:
    for command in ("B", "a", "A"):
        await acme.enqueue(command)
    await acme.claim("NEVER")
    for caller in (acme, peer.caller()):
        response = await caller.start("AdminQueues", pb.AdminQueuesRequest())
        assert [queue.command for queue in response.queues] == ["A", "B", "a"]
        request = pb.AdminQueuesRequest(commands=["a", "NEVER", "B"])
        response = await caller.start("AdminQueues", request)
        assert [queue.command for queue in response.queues] == ["a", "B"]


async def test_an_idle_queue_has_no_oldest_task(acme: Caller) -> None:
    await acme.enqueue()
    assert (await acme.stats()).HasField("oldest_pending_age")
    await acme.claim_one()
    assert not (await acme.stats()).HasField("oldest_pending_age")


async def test_cleanup_deletes_ended_tasks_only(acme: Caller) -> None:
    await acme.enqueue()
    await acme.enqueue(delay=Duration(seconds=600))
    held = await acme.claim_one()
    await end_tasks(acme, 3, 2)
    kept = await acme.enqueue()
    response = await cleanup(acme)
    assert (response.deleted, response.limit) == (5, 1_000)
    stats = await acme.stats()
    assert (stats.completed, stats.failed) == (0, 0)
    assert (stats.pending, stats.scheduled, stats.in_progress) == (1, 1, 1)
    assert stats.completed_total == 3
    assert await acme.state(kept) == "PENDING"
    await acme.complete(held)


async def test_cleanup_keeps_to_its_limit_over_all_queues(acme: Caller) -> None:
    await end_tasks(acme, 4, 3, "A")
    await end_tasks(acme, 5, 0, "B")
    assert [(await cleanup(acme, limit=5)).deleted for _ in range(4)] == [5, 5, 2, 0]


async def test_cleanup_in_steps_reaches_the_largest_limit(acme: Caller) -> None:
    for _ in range(3):
        await acme.enqueue_many(500)
        claimed = await acme.claim(most=500)
        outcomes = [pb.Outcome(complete=pb.CompleteRequest(lease=one.lease)) for one in claimed]
        await acme.start("Report", pb.ReportRequest(outcomes=outcomes))

    async def all_gone() -> bool:
        await cleanup(acme, limit=10_000)
        return (await acme.stats()).completed == 0

    assert (await cleanup(acme, limit=1_200)).deleted == 1_200
    await eventually(all_gone)


async def test_cleanup_takes_only_the_states_asked_for(acme: Caller) -> None:
    await end_tasks(acme, 3, 2)
    assert (await cleanup(acme, states=[FAILED])).deleted == 2
    assert (await cleanup(acme, states=[FAILED])).deleted == 0
    assert (await cleanup(acme, states=[COMPLETED, COMPLETED])).deleted == 3


async def test_cleanup_takes_only_what_ended_before_the_time(acme: Caller) -> None:
    await end_tasks(acme, 2, 0)
    border = (await acme.stats()).read_time
    await end_tasks(acme, 3, 0)
    response = await cleanup(acme, before=border)
    assert (response.deleted, response.before) == (2, border)
    assert (await cleanup(acme, before=Timestamp(seconds=0))).deleted == 0
    # A time ahead means now: nothing that ends later is ever promised to be gone.
    ahead = Timestamp(seconds=border.seconds + 86_400)
    response = await cleanup(acme, before=ahead)
    assert response.deleted == 3
    assert response.before.ToMilliseconds() < ahead.ToMilliseconds()


async def test_cleanup_without_queues_tells_the_time_it_used(acme: Caller) -> None:
    response = await cleanup(acme)
    assert response.deleted == 0
    assert response.before.seconds > 1_700_000_000


async def test_a_deleted_task_is_not_found(acme: Caller) -> None:
    await end_tasks(acme, 1, 0)
    await acme.enqueue()
    task = await acme.claim_one()
    await acme.complete(task)
    ended = (await acme.task(task.lease.task_id)).end_time.ToMilliseconds()

    async def is_gone() -> bool:
        used = (await cleanup(acme)).before.ToMilliseconds()
        return used > ended

    await eventually(is_gone)
    call = acme.start("GetTask", pb.GetTaskRequest(task_id=task.lease.task_id))
    assert (await call.code()).name == "NOT_FOUND"
    call = acme.start("Complete", pb.CompleteRequest(lease=task.lease))
    assert (await call.code()).name == "NOT_FOUND"
