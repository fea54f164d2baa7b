"""max_in_progress, max_claims_per_second, max_backlog: over all workers and servers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from tests.integration import operating
from tests.integration.looking import armed, queue_key
from tests.integration.operating import seconds
from tests.integration.refusals import item_kind, refused
from tests.integration.streaming import StreamReader, stream_request
from tests.integration.test_expiry import soon
from tests.support.server import eventually

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.server import Caller, Server

PROMPT = 1.5
FULL = ("RESOURCE_EXHAUSTED", "QUEUE_FULL")


async def test_leases_at_once_are_limited_over_all_workers(acme: Caller, peer: Server) -> None:
    await operating.update(acme, max_in_progress=3)
    await acme.enqueue_many(8)
    held = await acme.claim(most=2)
    held += await peer.caller().claim(most=9)
    assert len(held) == 3
    assert await acme.claim(most=9) == []
    await acme.complete(held[0])
    assert len(await peer.caller().claim(most=9)) == 1
    stats = await acme.stats()
    assert (stats.in_progress, stats.pending) == (3, 4)


@pytest.mark.parametrize("end", ["complete", "abandon", "expire"])
async def test_a_waiting_worker_gets_the_place_that_becomes_free(
    acme: Caller, peer: Server, admin: Admin, end: str
) -> None:
    await operating.update(acme, max_in_progress=1)
    await acme.enqueue_many(2)
    held = await acme.claim_one(lease=1 if end == "expire" else None)
    async with operating.meanwhile(peer.caller().claim(wait=20, timeout=30)) as waiting:
        await armed(admin)
        if end == "complete":
            await acme.complete(held)
        elif end == "abandon":
            await acme.abandon(held, delay=600)
        async with asyncio.timeout(PROMPT + 2 * (end == "expire")):
            assert len(await waiting) == 1


async def test_streams_share_the_places_of_a_queue(acme: Caller, peer: Server) -> None:
    await operating.update(acme, max_in_progress=2)
    await acme.enqueue_many(10)
    async with (
        StreamReader(acme, stream_request(credit=9)) as here,
        StreamReader(peer.caller(), stream_request(credit=9)) as there,
    ):
        done = 0
        while done < 10:
            await eventually(lambda at=done: len(here.tasks) + len(there.tasks) > at)  # type: ignore[misc]
            tasks = [*here.tasks, *there.tasks]
            assert len(tasks) - done <= 2
            for task in tasks:
                if await acme.state(task.lease.task_id) == "IN_PROGRESS":
                    await acme.complete(task)
                    done += 1


async def test_a_worker_that_may_not_claim_does_not_ask_all_the_time(
    acme: Caller, admin: Admin
) -> None:
    """Though something is due: it is told when that changes."""
    await acme.enqueue_many(2)
    for limit in ({"max_in_progress": 1}, {"paused": True}):
        await operating.update(acme, mask=["max_in_progress", "paused"], **limit)
        if "max_in_progress" in limit:
            await acme.claim()
        await acme.enqueue_many(3, delay=seconds(0.05))
        async with StreamReader(acme, stream_request(idle=1)) as stream:
            before = claims(admin)
            await stream.until(lambda one: "idle" in one.kinds)
            assert stream.tasks == []
        assert claims(admin) - before < 60


def claims(admin: Admin) -> int:
    """How often scripts have read a queue's settings, as every claim does."""
    told = admin.call("INFO", "commandstats").decode()
    (line,) = [one for one in told.splitlines() if one.startswith("cmdstat_evalsha:")]
    return int(line.partition("calls=")[2].partition(",")[0])


async def test_no_more_claims_than_allowed_by_the_clock_of_the_store(
    acme: Caller, peer: Server
) -> None:
    """In any time no more than the rate allows, and one second's worth at once."""
    rate = 20
    await operating.update(acme, max_claims_per_second=rate)
    await acme.enqueue_many(60)
    starts: list[int] = []
    async with (
        StreamReader(acme, stream_request(credit=100)) as here,
        StreamReader(peer.caller(), stream_request(credit=100)) as there,
    ):
        await eventually(lambda: len(here.tasks) + len(there.tasks) == 60)
        for task in [*here.tasks, *there.tasks]:
            stored = await acme.task(task.lease.task_id, full=True)
            starts.append(stored.attempts[-1].start_time.ToMilliseconds())
    starts.sort()
    for number, start in enumerate(starts):
        # One second's worth may be saved up before the first.
        allowed = rate + rate * (start - starts[0]) / 1_000
        assert number + 1 <= allowed + 1e-6


async def test_a_rate_below_one_lets_one_go_at_a_time(acme: Caller) -> None:
    await operating.update(acme, max_claims_per_second=0.5)
    await acme.enqueue_many(3)
    (first,) = await acme.claim(most=9)
    assert await acme.claim(most=9) == []
    (second,) = await acme.claim(most=9, wait=8)
    starts = [
        (await acme.task(one.lease.task_id, full=True)).attempts[-1].start_time.ToMilliseconds()
        for one in (first, second)
    ]
    assert starts[1] - starts[0] >= 2_000


async def test_a_rate_taken_away_wakes_who_waits(acme: Caller, admin: Admin) -> None:
    await operating.update(acme, max_claims_per_second=0.01)
    await acme.enqueue_many(3)
    assert len(await acme.claim(most=9)) == 1
    async with StreamReader(acme, stream_request()) as stream:
        await operating.update(acme, mask=["max_claims_per_second"])
        await stream.take(2)


async def test_a_full_queue_refuses_what_is_too_much_item_by_item(acme: Caller) -> None:
    await operating.update(acme, max_backlog=3)
    specs = [task_pb2.TaskSpec(command="RENDER") for _ in range(5)]
    specs.insert(1, task_pb2.TaskSpec(command="OTHER"))
    response = await operating.enqueue_batch(acme, *specs)
    assert [item_kind(item) for item in response.failures] == [(4, *FULL), (5, *FULL)]
    assert [bool(one.task_id) for one in response.results] == [True] * 4 + [False] * 2
    refusal = await refused(acme.enqueue())
    assert refusal.kind == FULL
    assert refusal.metadata == {"command": "RENDER"}
    assert refusal.retry_after
    assert (await acme.stats()).pending == 3


async def test_an_atomic_batch_beyond_the_backlog_adds_nothing(acme: Caller) -> None:
    await operating.update(acme, max_backlog=3)
    specs = [task_pb2.TaskSpec(command="RENDER") for _ in range(4)]
    assert (await refused(operating.enqueue_batch(acme, *specs, atomic=True))).kind == FULL
    assert (await acme.stats()).pending == 0
    await operating.enqueue_batch(acme, *specs[:3], atomic=True)
    assert (await acme.stats()).pending == 3


async def test_what_has_not_ended_counts_whatever_its_state(acme: Caller) -> None:
    parent = await acme.enqueue("PARENT")
    await operating.update(acme, max_backlog=5)
    await acme.enqueue(concurrency_key="a")
    await operating.update(acme, max_in_progress_per_key=1)
    held = await acme.claim_one()
    await acme.enqueue(concurrency_key="a")
    assert await acme.claim() == []  # parked
    await acme.enqueue(delay=seconds(600))
    await acme.enqueue(depends_on=[parent])
    expires = await acme.enqueue(expire_time=await soon(acme, 0.3))
    assert (await refused(acme.enqueue())).kind == FULL
    await acme.task(expires, wait=8)
    await acme.enqueue()
    assert (await refused(acme.enqueue())).kind == FULL
    await acme.complete(held)
    await acme.enqueue()
    await operating.cancel(acme, states=["SCHEDULED"])
    await acme.enqueue()
    assert (await refused(acme.enqueue())).kind == FULL


async def test_a_purge_makes_room_at_once(acme: Caller) -> None:
    await operating.update(acme, max_backlog=2)
    await acme.enqueue_many(2)
    await operating.purge(acme)
    await acme.enqueue_many(2)
    assert (await refused(acme.enqueue())).kind == FULL


async def test_a_task_that_is_there_needs_no_room(acme: Caller) -> None:
    await operating.update(acme, max_backlog=1)
    first = await operating.enqueue(acme, idempotency_key="k")
    again = await operating.enqueue(acme, idempotency_key="k")
    assert (again.task_id, again.created) == (first.task_id, False)
    replaced = await operating.enqueue(
        acme, idempotency_key="k", conflict_policy=task_pb2.CONFLICT_POLICY_REPLACE, priority=9
    )
    assert replaced.task_id == first.task_id
    assert (await refused(operating.enqueue(acme, idempotency_key="other"))).kind == FULL


async def test_retries_and_redrives_are_not_held_up_by_a_full_queue(acme: Caller) -> None:
    await operating.update(acme, max_backlog=1)
    task_id = await acme.enqueue(retry_policy={"initial_backoff": seconds(0)})
    await acme.fail(await acme.claim_one())
    await acme.fail(await acme.claim_one(), non_retryable=True)
    await acme.enqueue()
    assert (await operating.redrive(acme, task_id)).redriven_count == 1
    assert (await acme.stats()).pending == 2


async def test_a_backlog_is_not_passed_by_many_at_once(acme: Caller, peer: Server) -> None:
    await operating.update(acme, max_backlog=50)
    request = pb.EnqueueRequest(task={"command": "RENDER"})
    calls = [one.start("Enqueue", request) for one in (acme, peer.caller()) for _ in range(40)]
    codes = [(await call.code()).name for call in calls]
    assert sorted(codes) == ["OK"] * 50 + ["RESOURCE_EXHAUSTED"] * 30


async def test_no_limit_leaves_anything_of_an_idle_queue_in_the_store(
    acme: Caller, admin: Admin
) -> None:
    await operating.update(acme, max_in_progress_per_key=1, max_in_progress=5)
    for _ in range(3):
        await acme.enqueue_many(3, concurrency_key="a")
        while claimed := await acme.claim(most=9):
            for task in claimed:
                await acme.complete(task)
    for suffix in ("k", "kw", "l", "z"):
        assert not admin.call("EXISTS", queue_key(suffix)), suffix
