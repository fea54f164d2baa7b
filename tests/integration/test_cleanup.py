"""AdminCleanup: deletes what has ended, of the states and times asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from codeq_grpc.core import limits
from tests.integration import operating
from tests.integration.test_expiry import soon
from tests.support.server import eventually

if TYPE_CHECKING:
    from tests.support.server import Caller

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


async def one_of_each_end(acme: Caller) -> dict[str, str]:
    """State -> the task that ended so; a moment has passed since."""
    expired = await acme.enqueue(expire_time=await soon(acme, 0.1))
    await acme.task(expired, wait=8)
    cancelled = await acme.enqueue()
    await operating.cancel(acme, cancelled)
    completed, failed = await acme.enqueue_many(2)
    first, second = await acme.claim(most=2)
    await acme.complete(first)
    await acme.fail(second, non_retryable=True)
    await end_tasks(acme, 1, 0, "OTHER")
    return {
        "COMPLETED": completed,
        "FAILED": failed,
        "CANCELLED": cancelled,
        "EXPIRED": expired,
    }


@pytest.mark.parametrize("state", ["COMPLETED", "FAILED", "CANCELLED", "EXPIRED"])
async def test_each_state_is_deleted_by_itself(acme: Caller, state: str) -> None:
    found = await one_of_each_end(acme)
    response = await cleanup(acme, states=[f"TASK_STATE_{state}"])
    assert response.deleted == (2 if state == "COMPLETED" else 1)
    assert response.limit == limits.CLEANUP_DEFAULT
    left = {task.task_id for task in await operating.listed(acme)}
    assert left == set(found.values()) - {found[state]}


async def test_without_states_all_that_have_ended_go(acme: Caller) -> None:
    await one_of_each_end(acme)
    kept = await acme.enqueue()
    assert (await cleanup(acme)).deleted == 5
    assert await operating.ids(acme) == [kept]


async def test_a_deleted_task_leaves_neither_labels_nor_key(acme: Caller) -> None:
    spec: dict[str, Any] = {"labels": {"a": "b"}, "idempotency_key": "k"}
    first = await operating.enqueue(acme, **spec)
    await acme.complete(await acme.claim_one())
    await operating.clean(acme)
    assert await operating.ids(acme, labels={"a": "b"}) == []
    second = await operating.enqueue(acme, **spec)
    assert second.created
    assert second.task_id != first.task_id
