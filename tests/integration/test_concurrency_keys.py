"""max_in_progress_per_key: tasks of one key wait their turn, however they are claimed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from tests.integration import operating
from tests.integration.looking import armed
from tests.integration.operating import seconds
from tests.integration.streaming import StreamReader, stream_request
from tests.integration.test_expiry import soon
from tests.support.server import eventually

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.server import Caller, Server

PROMPT = 1.5


@pytest.fixture(autouse=True)
async def one_of_each_key_at_once(acme: Caller) -> None:
    await operating.update(acme, max_in_progress_per_key=1)


async def test_a_key_that_is_taken_lets_others_go_first(acme: Caller) -> None:
    a = await acme.enqueue_many(3, concurrency_key="a")
    b = await acme.enqueue_many(2, concurrency_key="b")
    free = await acme.enqueue()
    claimed = await acme.claim(most=9)
    assert [task.lease.task_id for task in claimed] == [a[0], b[0], free]
    assert await acme.claim(most=9) == []
    stats = await acme.stats()
    assert (stats.pending, stats.in_progress) == (3, 3)
    assert await acme.state(a[1]) == "PENDING"
    assert set(await operating.ids(acme, 1, states=["PENDING"])) == {a[1], a[2], b[1]}
    await acme.complete(claimed[0])
    assert (await acme.claim_one()).lease.task_id == a[1]


@pytest.mark.parametrize(
    "end", ["complete", "fail", "abandon", "cancel", "lease", "timeout", "expire"]
)
async def test_every_end_of_a_lease_frees_its_key(acme: Caller, end: str) -> None:
    expiry = await soon(acme, 0.5 if end == "expire" else 600)
    held_id = await acme.enqueue(
        concurrency_key="a",
        retry_policy={"initial_backoff": seconds(600), "max_attempts": 1 + (end == "fail")},
        expire_time=expiry,
        attempt_timeout=seconds(1) if end == "timeout" else None,
    )
    waits = await acme.enqueue(concurrency_key="a")
    held = await acme.claim_one(lease=1 if end == "lease" else 100)
    assert held.lease.task_id == held_id
    if end == "complete":
        await acme.complete(held)
    elif end == "fail":
        await acme.fail(held)
    elif end == "abandon":
        await acme.abandon(held, delay=600)
    elif end == "cancel":
        await operating.cancel(acme, held_id)
        assert await acme.claim() == []  # till the worker reports
        await acme.fail(held)
    (task,) = await acme.claim(wait=8)
    assert task.lease.task_id == waits


async def test_parked_tasks_come_by_priority_and_then_by_age(acme: Caller) -> None:
    made = [
        (await acme.enqueue(concurrency_key="a", priority=priority), priority)
        for priority in (5, 1, 9, 1, 9, 5)
    ]
    await acme.enqueue(priority=0)
    order = []
    for _ in range(6):
        (task,) = [one for one in await acme.claim(most=9) if one.spec.concurrency_key]
        order.append(task.lease.task_id)
        await acme.complete(task)
    assert order == [task_id for task_id, _ in sorted(made, key=lambda one: -one[1])]


async def test_streams_and_calls_of_two_servers_hold_to_one_key(
    acme: Caller, peer: Server, admin: Admin
) -> None:
    ids = await acme.enqueue_many(12, concurrency_key="a")
    other = peer.caller()
    async with (
        StreamReader(acme, stream_request(credit=5)) as here,
        StreamReader(other, stream_request(credit=5)) as there,
    ):
        done: list[str] = []
        while len(done) < 12:
            await eventually(lambda: len(here.tasks) + len(there.tasks) > len(done))
            assert (await acme.stats()).in_progress == 1
            assert await acme.claim() == []
            (task,) = [
                one
                for stream in (here, there)
                for one in stream.tasks
                if one.lease.task_id not in done
            ]
            done.append(task.lease.task_id)
            await (acme if len(done) % 2 else other).complete(task)
    assert done == ids
    await armed(admin, servers=0)


@pytest.mark.parametrize("policy", [pb.DISCONNECT_POLICY_RELEASE, pb.DISCONNECT_POLICY_KEEP])
async def test_a_stream_that_breaks_frees_its_keys(
    acme: Caller, policy: pb.DisconnectPolicy
) -> None:
    first, second = await acme.enqueue_many(2, concurrency_key="a")
    request = stream_request(lease=1, disconnect_policy=policy)
    async with StreamReader(acme, request) as stream:
        (task,) = await stream.take(1)
        assert task.lease.task_id == first
    (again,) = await acme.claim(wait=8)
    # The one that came back goes first, since it was there first.
    assert again.lease.task_id == first
    await acme.complete(again)
    assert (await acme.claim_one(wait=5)).lease.task_id == second


async def test_a_waiting_worker_gets_a_parked_task_when_its_key_is_free(
    acme: Caller, peer: Server, admin: Admin
) -> None:
    ids = await acme.enqueue_many(2, concurrency_key="a")
    held = await acme.claim_one()
    async with operating.meanwhile(peer.caller().claim(wait=20, timeout=30)) as waiting:
        await armed(admin)
        await acme.complete(held)
        async with asyncio.timeout(PROMPT):
            (task,) = await waiting
        assert task.lease.task_id == ids[1]


async def test_a_higher_limit_lets_parked_tasks_go_at_once(
    acme: Caller, peer: Server, admin: Admin
) -> None:
    ids = await acme.enqueue_many(6, concurrency_key="a")
    async with StreamReader(peer.caller(), stream_request()) as stream:
        await stream.take(1)
        await armed(admin)
        await operating.update(acme, max_in_progress_per_key=4)
        await stream.take(4)
        await operating.update(acme, mask=["max_in_progress_per_key"])
        await stream.take(6)
        assert [task.lease.task_id for task in stream.tasks] == ids


async def test_a_lower_limit_holds_for_what_comes_next(acme: Caller) -> None:
    await operating.update(acme, max_in_progress_per_key=3)
    await acme.enqueue_many(5, concurrency_key="a")
    held = await acme.claim(most=9)
    assert len(held) == 3
    await operating.update(acme, max_in_progress_per_key=1)
    for task in held[:2]:
        await acme.complete(task)
        assert await acme.claim() == []
    await acme.complete(held[2])
    assert len(await acme.claim(most=9)) == 1


async def test_parked_tasks_can_be_cancelled_purged_and_replaced(acme: Caller) -> None:
    await acme.enqueue(concurrency_key="a")
    parked = await acme.enqueue_many(3, concurrency_key="a")
    keyed = await operating.enqueue(acme, concurrency_key="a", idempotency_key="k")
    held, *none = await acme.claim(most=9)
    assert none == []
    await operating.cancel(acme, parked[0])
    replaced = await operating.enqueue(
        acme, idempotency_key="k", conflict_policy=task_pb2.CONFLICT_POLICY_REPLACE
    )
    assert replaced.task_id == keyed.task_id
    # It has no key any more.
    assert (await acme.claim_one()).lease.task_id == keyed.task_id
    assert await operating.purge(acme) == 2
    await acme.complete(held)
    assert await acme.claim() == []
    stats = await acme.stats()
    assert (stats.pending, stats.cancelled) == (0, 3)


async def test_a_key_is_one_of_its_queue_and_tenant(acme: Caller, rival: Caller) -> None:
    for caller in (acme, rival):
        for command in ("A", "B"):
            await operating.update(caller, command, max_in_progress_per_key=1)
            await caller.enqueue_many(2, command, concurrency_key="a")
            assert len(await caller.claim(command, most=9)) == 1


async def test_a_parked_task_that_expires_leaves_no_hole(acme: Caller) -> None:
    first = await acme.enqueue(concurrency_key="a")
    expires = await acme.enqueue(concurrency_key="a", expire_time=await soon(acme, 0.4))
    last = await acme.enqueue(concurrency_key="a")
    held = await acme.claim_one()
    assert held.lease.task_id == first
    assert await acme.claim() == []
    await acme.task(expires, wait=8)
    await acme.complete(held)
    assert (await acme.claim_one()).lease.task_id == last
