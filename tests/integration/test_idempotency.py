"""One task per idempotency key: what a match answers under each policy, how long a key lives."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from codeq.v1 import task_pb2
from tests.integration import operating
from tests.integration.refusals import item_kind, refused
from tests.support.server import eventually

if TYPE_CHECKING:
    from tests.support.server import Caller, Server

FAIL = task_pb2.CONFLICT_POLICY_FAIL
REPLACE = task_pb2.CONFLICT_POLICY_REPLACE
PENDING, SCHEDULED = task_pb2.TASK_STATE_PENDING, task_pb2.TASK_STATE_SCHEDULED
COMPLETED = task_pb2.TASK_STATE_COMPLETED


def keyed(command: str = "RENDER", data: bytes = b"x", **spec: Any) -> task_pb2.TaskSpec:
    """A spec with the key that these tests share."""
    spec.setdefault("idempotency_key", "key")
    return task_pb2.TaskSpec(command=command, payload=task_pb2.Payload(data=data), **spec)


async def add(caller: Caller, data: bytes = b"x", **spec: Any) -> tuple[str, int, bool]:
    """Id, state and whether it was made."""
    given = keyed(data=data, **spec)
    response = await operating.enqueue_batch(caller, given, atomic=True)
    (result,) = response.results
    return result.task_id, result.state, result.created


async def test_a_repeated_enqueue_gives_the_task_that_is_there(acme: Caller, peer: Server) -> None:
    task_id, state, created = await add(acme)
    assert (state, created) == (PENDING, True)
    assert await add(peer.caller()) == (task_id, PENDING, False)
    # All but the payload may differ; what is there stays as it is.
    assert await add(acme, priority=9, labels={"a": "b"}) == (task_id, PENDING, False)
    claimed = await acme.claim_one()
    assert not claimed.spec.HasField("priority")
    assert await add(acme) == (task_id, task_pb2.TASK_STATE_IN_PROGRESS, False)
    await acme.complete(claimed)
    assert await add(acme) == (task_id, COMPLETED, False)
    assert await acme.claim() == []
    assert (await acme.stats()).enqueued_total == 1


@pytest.mark.parametrize("policy", [task_pb2.CONFLICT_POLICY_USE_EXISTING, FAIL, REPLACE])
async def test_sixteen_callers_with_one_key_make_one_task(
    acme: Caller, peer: Server, policy: task_pb2.ConflictPolicy
) -> None:
    callers = [acme, peer.caller()] * 8
    calls = [asyncio.create_task(add(one, conflict_policy=policy)) for one in callers]
    await asyncio.wait(calls)
    results = [call.result() for call in calls if not call.exception()]
    assert sum(created for _, _, created in results) == 1
    assert len({task_id for task_id, _, _ in results}) == 1
    assert len(results) == (1 if policy == FAIL else 16)
    for call in calls:
        if call.exception():
            assert (await refused(call)).kind == ("ALREADY_EXISTS", "TASK_EXISTS")
    assert len(await acme.claim(most=20)) == 1
    assert (await acme.stats()).enqueued_total == 1


@pytest.mark.parametrize(
    "other", [{"data": b"y"}, {"payload": {"data": b"x", "content_type": "a"}}]
)
async def test_another_payload_under_the_same_key_is_refused(
    acme: Caller, other: dict[str, Any]
) -> None:
    task_id, _, _ = await add(acme)
    spec = keyed(data=other.get("data", b"x"))
    if "payload" in other:
        spec.payload.content_type = "text/plain"
    refusal = await refused(operating.enqueue_batch(acme, spec, atomic=True))
    assert refusal.kind == ("FAILED_PRECONDITION", "IDEMPOTENCY_MISMATCH")
    assert refusal.metadata == {"task_id": task_id, "state": "PENDING"}
    # Whatever its state, and though its payload is dropped by then.
    await acme.complete(await acme.claim_one())
    refusal = await refused(operating.enqueue_batch(acme, spec, atomic=True))
    assert refusal.metadata == {"task_id": task_id, "state": "COMPLETED"}


async def test_fail_refuses_any_match_and_names_it(acme: Caller) -> None:
    task_id, _, created = await add(acme, conflict_policy=FAIL)
    assert created
    held = None
    for state in ("PENDING", "IN_PROGRESS", "COMPLETED"):
        refusal = await refused(add(acme, conflict_policy=FAIL))
        assert refusal.kind == ("ALREADY_EXISTS", "TASK_EXISTS")
        assert refusal.metadata == {"task_id": task_id, "state": state}
        if held is None:
            held = await acme.claim_one()
        else:
            await acme.complete(held)


async def test_replace_renews_a_task_that_nobody_holds_and_keeps_its_id(acme: Caller) -> None:
    task_id, _, _ = await add(
        acme, b"first", delay={"seconds": 600}, labels={"old": "1"}, priority=1
    )
    replaced = await add(
        acme, b"second", conflict_policy=REPLACE, delay={"seconds": 300}, labels={"new": "1"}
    )
    assert replaced == (task_id, SCHEDULED, False)
    assert await operating.ids(acme, labels={"old": "1"}) == []
    assert await operating.ids(acme, labels={"new": "1"}) == [task_id]
    assert await add(acme, b"third", conflict_policy=REPLACE, priority=9) == (
        task_id,
        PENDING,
        False,
    )
    task = await acme.task(task_id, full=True)
    assert (task.spec.payload.data, task.spec.priority) == (b"third", 9)
    assert not task.spec.HasField("delay")
    stats = await acme.stats()
    assert (stats.pending, stats.scheduled, stats.enqueued_total) == (1, 0, 1)
    assert (await acme.claim_one()).lease.task_id == task_id
    assert await acme.claim() == []


async def test_replace_is_refused_while_a_worker_holds_the_task(acme: Caller) -> None:
    task_id, _, _ = await add(acme)
    held = await acme.claim_one()
    refusal = await refused(add(acme, b"new", conflict_policy=REPLACE))
    assert refusal.kind == ("ALREADY_EXISTS", "TASK_EXISTS")
    assert refusal.metadata == {"task_id": task_id, "state": "IN_PROGRESS"}
    await acme.abandon(held)
    assert (await add(acme, b"new", conflict_policy=REPLACE))[0] == task_id
    assert (await acme.claim_one()).spec.payload.data == b"new"


@pytest.mark.parametrize("end", ["complete", "fail", "cancel"])
async def test_replace_makes_a_new_task_once_the_old_one_has_ended(acme: Caller, end: str) -> None:
    old, _, _ = await add(acme)
    if end == "cancel":
        await operating.cancel(acme, old)
    else:
        task = await acme.claim_one()
        await (acme.complete(task) if end == "complete" else acme.fail(task, non_retryable=True))
    before = await acme.task(old, full=True)
    new, state, created = await add(acme, b"new", conflict_policy=REPLACE)
    assert (state, created) == (PENDING, True)
    assert new != old
    assert await acme.task(old, full=True) == before
    # The key points to the new one from now on.
    assert await add(acme, b"new") == (new, PENDING, False)


async def test_a_key_belongs_to_its_queue_and_tenant(acme: Caller, rival: Caller) -> None:
    made = [
        await operating.enqueue(caller, command, idempotency_key="key")
        for caller in (acme, rival)
        for command in ("A", "B")
    ]
    assert all(one.created for one in made)
    assert len({one.task_id for one in made}) == 4


async def test_an_atomic_batch_with_one_conflict_adds_nothing(acme: Caller) -> None:
    task_id, _, _ = await add(acme)
    good = [keyed(idempotency_key=f"key {i}") for i in range(3)]
    refusal = await refused(
        operating.enqueue_batch(acme, *good, keyed(conflict_policy=FAIL), atomic=True)
    )
    assert refusal.kind == ("ALREADY_EXISTS", "TASK_EXISTS")
    assert refusal.metadata["task_id"] == task_id
    assert (await acme.stats()).pending == 1
    response = await operating.enqueue_batch(acme, *good, keyed(), atomic=True)
    assert [result.created for result in response.results] == [True, True, True, False]


async def test_a_batch_answers_each_match_by_itself(acme: Caller) -> None:
    task_id, _, _ = await add(acme)
    response = await operating.enqueue_batch(
        acme,
        keyed(idempotency_key="new"),
        keyed(),
        keyed(data=b"y"),
        keyed(conflict_policy=FAIL),
        keyed(idempotency_key="new"),
        keyed(command="OTHER"),
    )
    assert [item_kind(item) for item in response.failures] == [
        (2, "FAILED_PRECONDITION", "IDEMPOTENCY_MISMATCH"),
        (3, "ALREADY_EXISTS", "TASK_EXISTS"),
    ]
    assert [item.metadata["task_id"] for item in response.failures] == [task_id, task_id]
    results = response.results
    assert [one.created for one in results] == [True, False, False, False, False, True]
    assert [one.task_id for one in results[1:4]] == [task_id, "", ""]
    assert results[4].task_id == results[0].task_id
    assert len(await acme.claim("RENDER", "OTHER", most=9)) == 3


async def test_of_one_key_twice_in_a_batch_the_last_replaces(acme: Caller) -> None:
    specs = [keyed(data=b"%d" % i, conflict_policy=REPLACE) for i in range(3)]
    for atomic in (True, False):
        response = await operating.enqueue_batch(acme, *specs, atomic=atomic)
        assert len({one.task_id for one in response.results}) == 1
    assert [task.spec.payload.data for task in await acme.claim(most=9)] == [b"2"]
    assert (await acme.stats()).enqueued_total == 1


async def test_a_key_ends_with_its_window_and_outlives_its_task_till_then(acme: Caller) -> None:
    short, _, _ = await add(acme, idempotency_ttl={"seconds": 1})
    assert await add(acme) == (short, PENDING, False)

    async def made() -> bool:
        return (await add(acme))[2]

    await eventually(made, within=5)
    assert len(await acme.claim(most=9)) == 2
    long, _, _ = await add(acme, idempotency_key="long", idempotency_ttl={"seconds": 600})
    await acme.complete(await acme.claim_one())
    await operating.clean(acme)
    assert await add(acme, idempotency_key="long") == (long, COMPLETED, False)


async def test_a_key_without_window_ends_with_its_task(acme: Caller) -> None:
    old, _, _ = await add(acme)
    await acme.complete(await acme.claim_one())
    await operating.clean(acme)
    new, _, created = await add(acme)
    assert created
    assert new != old
