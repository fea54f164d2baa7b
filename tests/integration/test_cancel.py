"""CancelTasks: at once where nobody works, by asking where somebody does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from tests.integration import operating
from tests.integration.operating import seconds
from tests.integration.refusals import item_kind
from tests.support.server import eventually

if TYPE_CHECKING:
    from tests.support.server import Caller, Server

CANCEL = pb.DIRECTIVE_KIND_CANCEL


async def test_what_nobody_holds_is_cancelled_at_once_and_keeps_the_reason(acme: Caller) -> None:
    pending = await acme.enqueue(data=b"payload")
    scheduled = await acme.enqueue(delay=seconds(600))
    blocked = await acme.enqueue(depends_on=[pending])
    done = await operating.cancel(acme, scheduled, blocked, pending, reason="not needed")
    assert (done.cancelled_count, done.requested_count, list(done.failures)) == (3, 0, [])
    assert (done.more, done.next_page_token) == (False, "")
    for task_id in (pending, scheduled, blocked):
        task = await acme.task(task_id, full=True)
        assert task.state == task_pb2.TASK_STATE_CANCELLED
        assert (task.error.type, task.error.message) == ("cancelled", "not needed")
        assert task.HasField("end_time")
        assert not task.cancel_requested
        assert not task.attempts
    assert (await acme.task(pending, full=True)).spec.payload.data == b"payload"
    assert await acme.claim() == []
    stats = await acme.stats()
    assert (stats.cancelled, stats.pending, stats.scheduled, stats.blocked) == (3, 0, 0, 0)


async def test_a_worker_is_asked_by_every_heartbeat_and_keeps_its_lease(
    acme: Caller, peer: Server
) -> None:
    task_id = await acme.enqueue()
    held = await acme.claim_one(lease=30)
    done = await operating.cancel(peer.caller(), task_id, reason="stop")
    assert (done.cancelled_count, done.requested_count) == (0, 1)
    task = await acme.task(task_id)
    assert (task.state, task.cancel_requested) == (task_pb2.TASK_STATE_IN_PROGRESS, True)
    for _ in range(2):
        (directive,) = await acme.heartbeat(held, extend=600)
        assert (directive.kind, directive.reason) == (CANCEL, "stop")
        assert directive.lease == held.lease
    after = await acme.task(task_id)
    extended = after.lease_expire_time.ToMilliseconds() - after.update_time.ToMilliseconds()
    assert extended == 600_000


@pytest.mark.parametrize("end", ["Complete", "Fail", "Abandon", "expiry"])
async def test_what_a_worker_reports_then_ends_the_task(acme: Caller, end: str) -> None:
    task_id = await acme.enqueue()
    held = await acme.claim_one(lease=1 if end == "expiry" else None)
    await operating.cancel(acme, task_id, reason="stop")
    ways: dict[str, Any] = {
        "Complete": pb.CompleteRequest(lease=held.lease, result={"data": b"r"}),
        "Fail": pb.FailRequest(lease=held.lease, error={"type": "Mine"}),
        "Abandon": pb.AbandonRequest(lease=held.lease),
    }
    if end in ways:
        for _ in range(2):  # repeating a report is fine
            response = await acme.start(end, ways[end])
            if end == "Fail":
                assert response.state == task_pb2.TASK_STATE_CANCELLED
                assert not response.HasField("run_time")
    task = await acme.task(task_id, wait=8, full=True)
    assert not task.cancel_requested
    if end == "Complete":
        assert (task.state, task.result.data) == (task_pb2.TASK_STATE_COMPLETED, b"r")
        return
    assert task.state == task_pb2.TASK_STATE_CANCELLED
    assert (task.error.type, task.error.message) == ("cancelled", "stop")
    told = {"Fail": ["Mine"], "Abandon": [], "expiry": ["lease_expired"]}[end]
    assert [attempt.error.type for attempt in task.attempts] == told
    assert await acme.claim() == []


async def test_the_ended_and_the_unknown_are_told_one_by_one(acme: Caller, rival: Caller) -> None:
    completed, failed, expired = await acme.enqueue_many(3)
    for task in await acme.claim(most=2):
        await (
            acme.complete(task)
            if task.lease.task_id == completed
            else acme.fail(task, non_retryable=True)
        )
    await operating.cancel(acme, expired)
    pending = await acme.enqueue()
    theirs = await rival.enqueue()
    done = await operating.cancel(acme, completed, "x" * 18, pending, failed, theirs, expired)
    assert [item_kind(item) for item in done.failures] == [
        (0, "FAILED_PRECONDITION", "INVALID_STATE"),
        (1, "NOT_FOUND", "TASK_NOT_FOUND"),
        (3, "FAILED_PRECONDITION", "INVALID_STATE"),
        (4, "NOT_FOUND", "TASK_NOT_FOUND"),
    ]
    assert dict(done.failures[0].metadata) == {"task_id": completed, "state": "COMPLETED"}
    assert dict(done.failures[2].metadata) == {"task_id": failed, "state": "FAILED"}
    # Cancelling what is cancelled is fine.
    assert done.cancelled_count == 2
    assert await rival.state(theirs) == "PENDING"


async def test_one_id_twice_is_one_task(acme: Caller) -> None:
    task_id, other = await acme.enqueue_many(2)
    await operating.cancel(acme, task_id, other, task_id)
    assert (await acme.stats()).cancelled == 2


async def test_a_thousand_ids_of_several_queues_in_one_call(acme: Caller) -> None:
    ids = [*await acme.enqueue_many(600, "A"), *await acme.enqueue_many(400, "B")]
    done = await operating.cancel(acme, *ids)
    assert (done.cancelled_count, len(done.failures)) == (1_000, 0)
    assert [(await acme.stats(one)).cancelled for one in "AB"] == [600, 400]


async def test_a_filter_takes_what_matches_and_has_not_ended(acme: Caller) -> None:
    mine = await acme.enqueue_many(5, labels={"of": "me"})
    await acme.enqueue_many(3, labels={"of": "you"})
    ended, held, *_ = await acme.claim(most=2)
    await acme.complete(ended)
    done = await operating.cancel(acme, labels={"of": "me"}, reason="mine go")
    assert (done.cancelled_count, done.requested_count, done.more) == (3, 1, False)
    assert [await acme.state(one) for one in mine] == [
        *("COMPLETED", "IN_PROGRESS"),
        *["CANCELLED"] * 3,
    ]
    (directive,) = await acme.heartbeat(held)
    assert directive.reason == "mine go"
    assert (await acme.stats()).pending == 3


async def test_a_filter_goes_on_page_by_page_until_all_are_done(acme: Caller) -> None:
    await acme.enqueue_many(250)
    await acme.enqueue_many(30, delay=seconds(600))
    token, counts = "", []
    while True:
        done = await operating.cancel(acme, limit=70, page_token=token)
        counts.append(done.cancelled_count)
        assert done.more == bool(done.next_page_token)
        token = done.next_page_token
        if not token:
            break
    assert sum(counts) == 280
    assert max(counts) == 70
    stats = await acme.stats()
    assert (stats.cancelled, stats.pending, stats.scheduled) == (280, 0, 0)


async def test_a_cancelled_task_is_told_to_who_waits_for_its_end(
    acme: Caller, peer: Server
) -> None:
    task_id = await acme.enqueue()

    async def waits() -> task_pb2.Task:
        return await peer.caller().task(task_id, wait=30)

    async with operating.meanwhile(waits()) as waiting:
        await eventually(lambda: peer.app._waiters._ends)
        await operating.cancel(acme, task_id)
        assert (await waiting).state == task_pb2.TASK_STATE_CANCELLED
