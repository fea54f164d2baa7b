"""depends_on: BLOCKED until the last has completed, FAILED with the first that did not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codeq.v1 import task_pb2
from codeq_grpc.core import limits
from tests.integration import operating
from tests.integration.dependents import becomes, complete_next
from tests.integration.operating import seconds
from tests.integration.refusals import item_kind, refused
from tests.integration.streaming import StreamReader, stream_request
from tests.integration.test_expiry import soon
from tests.support.server import eventually

if TYPE_CHECKING:
    from tests.support.server import Caller, Server

BLOCKED = task_pb2.TASK_STATE_BLOCKED


async def test_a_task_waits_for_those_of_other_queues_to_complete(
    acme: Caller, peer: Server
) -> None:
    first, second = await acme.enqueue("A"), await acme.enqueue("B")
    response = await operating.enqueue(acme, "C", depends_on=[first, second])
    assert response.state == BLOCKED
    assert await acme.claim("C") == []
    async with StreamReader(peer.caller(), stream_request("C")) as stream:
        await complete_next(acme, "A")
        assert await acme.state(response.task_id) == "BLOCKED"
        await complete_next(acme, "B")
        (task,) = await stream.take(1)
        assert task.lease.task_id == response.task_id
        assert list(task.spec.depends_on) == [first, second]


@pytest.mark.parametrize("end", ["fail", "cancel", "expire", "purge"])
async def test_one_that_does_not_complete_fails_those_that_depend_on_it(
    acme: Caller, end: str
) -> None:
    at = await soon(acme, 0.3 if end == "expire" else 600)
    parent = await acme.enqueue("PARENT", expire_time=at)
    good = await acme.enqueue("GOOD")
    child = await acme.enqueue(depends_on=[good, parent], data=b"payload")
    if end == "fail":
        await acme.fail(await acme.claim_one("PARENT"), non_retryable=True)
    elif end == "cancel":
        await operating.cancel(acme, parent)
    elif end == "purge":
        await operating.purge(acme, "PARENT")
    await becomes(acme, child, "FAILED")
    task = await acme.task(child, full=True)
    how = {"fail": "failed", "expire": "expired"}.get(end, "cancelled")
    assert task.error.type == f"dependency_{how}"
    assert parent in task.error.message
    assert task.spec.payload.data == b"payload"
    assert not task.attempts
    # What becomes of the others changes nothing.
    await complete_next(acme, "GOOD")
    assert await acme.state(child) == "FAILED"


async def test_those_that_have_completed_are_no_matter(acme: Caller) -> None:
    done = await acme.enqueue("DONE")
    await complete_next(acme, "DONE")
    response = await operating.enqueue(acme, depends_on=[done, done])
    assert response.state == task_pb2.TASK_STATE_PENDING
    later = await operating.enqueue(acme, depends_on=[done], delay=seconds(60))
    assert later.state == task_pb2.TASK_STATE_SCHEDULED
    waits = await acme.enqueue("WAITS")
    mixed = await operating.enqueue(acme, depends_on=[done, waits])
    assert mixed.state == BLOCKED
    await complete_next(acme, "WAITS")
    await becomes(acme, mixed.task_id, "PENDING")


async def test_one_that_has_failed_already_fails_the_new_task_at_once(acme: Caller) -> None:
    failed = await acme.enqueue("PARENT")
    await acme.fail(await acme.claim_one("PARENT"), non_retryable=True)
    child = await acme.enqueue(depends_on=[failed])
    await becomes(acme, child, "FAILED")
    assert (await acme.task(child)).error.type == "dependency_failed"


async def test_an_id_that_does_not_exist_is_refused_by_its_place(
    acme: Caller, rival: Caller
) -> None:
    mine, theirs = await acme.enqueue("MINE"), await rival.enqueue("THEIRS")
    near = mine[:8] + "A" * 10
    told = set()
    for unknown in ("x" * 18, "", theirs, near, "A" * 18):
        refusal = await refused(operating.enqueue(acme, depends_on=[mine, unknown]))
        assert refusal.kind == ("INVALID_ARGUMENT", "INVALID_FIELD")
        assert refusal.fields == ("task.depends_on[1]",)
        told.add(refusal.message)
    assert len(told) == 1
    assert await rival.state(theirs) == "PENDING"
    specs = [task_pb2.TaskSpec(command="C", depends_on=one) for one in ([mine], [mine, theirs])]
    response = await operating.enqueue_batch(acme, *specs)
    assert [item_kind(item) for item in response.failures] == [
        (1, "INVALID_ARGUMENT", "INVALID_FIELD")
    ]
    assert response.failures[0].metadata["field"] == "tasks[1].depends_on[1]"
    assert response.results[0].state == BLOCKED
    refusal = await refused(operating.enqueue_batch(acme, *specs, atomic=True))
    assert refusal.fields == ("tasks[1].depends_on[1]",)
    assert (await acme.stats("C")).enqueued_total == 1


async def test_a_task_becomes_scheduled_if_its_time_is_to_come(acme: Caller) -> None:
    parent = await acme.enqueue("PARENT")
    child = await acme.enqueue(depends_on=[parent], delay=seconds(600))
    soon_due = await acme.enqueue("DUE", depends_on=[parent], delay=seconds(0.05))
    assert await acme.state(child) == "BLOCKED"
    await complete_next(acme, "PARENT")
    await becomes(acme, child, "SCHEDULED")
    assert (await acme.claim_one("DUE", wait=5)).lease.task_id == soon_due


async def test_a_chain_goes_link_by_link(acme: Caller) -> None:
    first = await acme.enqueue("A")
    second = await acme.enqueue("B", depends_on=[first])
    third = await acme.enqueue("C", depends_on=[second])
    done = [await complete_next(acme, "A", "B", "C") for _ in range(3)]
    assert done == [first, second, third]


async def test_a_chain_fails_to_its_end(acme: Caller) -> None:
    ids = [await acme.enqueue("A")]
    for command in "BCD":
        ids.append(await acme.enqueue(command, depends_on=ids[-1:]))
    await operating.cancel(acme, ids[0])
    for task_id in ids[1:]:
        await becomes(acme, task_id, "FAILED")
    kinds = [(await acme.task(one)).error.type for one in ids[1:]]
    assert kinds == ["dependency_cancelled", "dependency_failed", "dependency_failed"]


async def test_a_diamond_runs_its_last_task_once_and_last(acme: Caller) -> None:
    top = await acme.enqueue("TOP")
    sides = [await acme.enqueue("SIDE", depends_on=[top]) for _ in range(2)]
    bottom = await acme.enqueue("BOTTOM", depends_on=[*sides, top])
    done = [await complete_next(acme, "BOTTOM", "SIDE", "TOP") for _ in range(4)]
    assert (done[0], done[3]) == (top, bottom)
    assert set(done[1:3]) == set(sides)
    assert await acme.claim("TOP", "SIDE", "BOTTOM") == []


async def test_six_hundred_followers_are_all_told(acme: Caller) -> None:
    good, bad = await acme.enqueue("GOOD"), await acme.enqueue("BAD")
    await acme.enqueue_many(600, "HAPPY", depends_on=[good])
    await acme.enqueue_many(600, "SAD", depends_on=[bad])
    await complete_next(acme, "GOOD")
    await operating.cancel(acme, bad)

    async def told() -> bool:
        happy, sad = await acme.stats("HAPPY"), await acme.stats("SAD")
        return (happy.pending, sad.failed) == (600, 600)

    await eventually(told)
    assert (await acme.stats("HAPPY")).blocked == (await acme.stats("SAD")).blocked == 0


async def test_a_hundred_parents_must_all_complete(acme: Caller) -> None:
    parents = await acme.enqueue_many(limits.DEPENDENCIES, "PARENT")
    child = await acme.enqueue(depends_on=parents)
    claimed = await acme.claim("PARENT", most=limits.DEPENDENCIES)
    for task in claimed[:-1]:
        await acme.complete(task)
    assert await acme.state(child) == "BLOCKED"
    await acme.complete(claimed[-1])
    await becomes(acme, child, "PENDING")


async def test_a_parent_redriven_later_revives_nobody_by_itself(acme: Caller) -> None:
    parent = await acme.enqueue("PARENT")
    child = await acme.enqueue(depends_on=[parent])
    await operating.cancel(acme, parent)
    await becomes(acme, child, "FAILED")
    await operating.redrive(acme, parent)
    fresh = await acme.enqueue("FRESH", depends_on=[parent])
    await complete_next(acme, "PARENT")
    await becomes(acme, fresh, "PENDING")
    assert await acme.state(child) == "FAILED"
    # Redriven too, it depends on nothing any more.
    await operating.redrive(acme, child)
    assert await complete_next(acme) == child


async def test_a_blocked_task_can_be_cancelled_and_expires(acme: Caller) -> None:
    parent = await acme.enqueue("PARENT")
    cancelled = await acme.enqueue(depends_on=[parent])
    expired = await acme.enqueue(depends_on=[parent], expire_time=await soon(acme, 0.2))
    await operating.cancel(acme, cancelled)
    await becomes(acme, expired, "EXPIRED")
    await complete_next(acme, "PARENT")
    follower = await acme.enqueue(depends_on=[parent])
    assert await complete_next(acme) == follower
    assert [await acme.state(one) for one in (cancelled, expired)] == ["CANCELLED", "EXPIRED"]


async def test_a_task_that_was_replaced_depends_on_nothing(acme: Caller) -> None:
    old = await acme.enqueue("OLD")
    replace = task_pb2.CONFLICT_POLICY_REPLACE
    first = await operating.enqueue(acme, idempotency_key="key", depends_on=[old])
    again = await operating.enqueue(acme, idempotency_key="key", conflict_policy=replace)
    assert (again.task_id, again.state) == (first.task_id, task_pb2.TASK_STATE_PENDING)
    witness = await acme.enqueue(depends_on=[old])
    await operating.cancel(acme, old)
    await becomes(acme, witness, "FAILED")
    assert await complete_next(acme) == first.task_id


async def test_nothing_is_replaced_by_what_depends_on_others(acme: Caller) -> None:
    """It could make a task depend on one that depends on it."""
    first = await operating.enqueue(acme, idempotency_key="key")
    second = await acme.enqueue(depends_on=[first.task_id])
    refusal = await refused(
        operating.enqueue(
            acme,
            idempotency_key="key",
            depends_on=[second],
            conflict_policy=task_pb2.CONFLICT_POLICY_REPLACE,
        )
    )
    assert refusal.kind == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert refusal.fields == ("task.conflict_policy",)
    assert await acme.state(first.task_id) == "PENDING"
