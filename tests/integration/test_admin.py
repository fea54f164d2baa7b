"""AdminQueues: counts, ages, totals and rates of queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.duration_pb2 import Duration

from codeq.v1 import codeq_service_pb2 as pb
from tests.integration import operating
from tests.integration.operating import seconds
from tests.integration.test_expiry import soon
from tests.support.server import eventually, running_server

if TYPE_CHECKING:
    from codeq.v1.queue_pb2 import QueueStats
    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess


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


STATES = (
    *("pending", "scheduled", "blocked", "in_progress"),
    *("completed", "failed", "cancelled", "expired"),
)


def counts(stats: QueueStats) -> dict[str, int]:
    """Of every state, those that are not 0."""
    return {state: getattr(stats, state) for state in STATES if getattr(stats, state)}


async def test_every_state_is_counted_and_each_task_once(acme: Caller, peer: Server) -> None:
    assert counts(await made(acme)) == {}
    await operating.update(acme, max_in_progress_per_key=1)
    held, _ = await acme.enqueue_many(2, concurrency_key="k")
    await acme.claim(most=9)
    assert counts(await acme.stats()) == {"pending": 1, "in_progress": 1}  # one is parked
    await acme.enqueue(delay=seconds(600))
    await acme.enqueue(depends_on=[held])
    expires = await acme.enqueue(expire_time=await soon(acme, 0.2))
    await acme.task(expires, wait=8)
    cancelled = await acme.enqueue()
    await operating.cancel(acme, cancelled)
    await acme.enqueue_many(2)
    completed, failed = await acme.claim(most=2)
    await acme.complete(completed)
    await acme.fail(failed, non_retryable=True)
    for caller in (acme, peer.caller()):
        stats = await caller.stats()
        assert counts(stats) == dict.fromkeys(STATES, 1)
        assert (stats.enqueued_total, stats.completed_total) == (8, 1)
        assert stats.attempt_failed_total == 1
    assert len(await operating.listed(acme)) == 8


async def made(acme: Caller) -> QueueStats:
    """Numbers of a queue without tasks."""
    await operating.update(acme)
    return await acme.stats()


async def test_the_oldest_task_is_found_behind_those_that_are_gone(acme: Caller) -> None:
    ids = await acme.enqueue_many(15)
    await acme.enqueue_many(3, priority=9)
    await operating.cancel(acme, *ids[:10])
    stats = await acme.stats()
    since = (await acme.task(ids[10])).create_time.ToMilliseconds()
    age = stats.read_time.ToMilliseconds() - since
    assert stats.oldest_pending_age.ToMilliseconds() == age


async def test_rates_are_those_of_the_last_minute(acme: Caller) -> None:
    stats = await made(acme)
    assert (stats.enqueue_rate, stats.complete_rate, stats.attempt_fail_rate) == (0, 0, 0)
    await acme.enqueue_many(120)
    for number, task in enumerate(await acme.claim(most=90)):
        await (acme.complete(task) if number < 60 else acme.fail(task, non_retryable=True))
    stats = await acme.stats()
    # A minute has not passed: at least what there was, spread over one.
    assert stats.enqueue_rate >= 2
    assert stats.complete_rate >= 1
    assert stats.attempt_fail_rate >= 0.5
    assert stats.enqueue_rate > stats.complete_rate > stats.attempt_fail_rate


async def test_totals_survive_servers_and_their_tasks(store: StoreProcess) -> None:
    async with running_server(store) as server:
        acme = server.caller()
        await acme.enqueue_many(4)
        first, second, third = await acme.claim(most=3)
        await acme.complete(first)
        await acme.fail(second, non_retryable=True)
        await acme.abandon(third)
        await operating.clean(acme)
    async with running_server(store) as server:
        stats = await server.caller().stats()
        assert (stats.enqueued_total, stats.completed_total) == (4, 1)
        assert (stats.attempt_failed_total, stats.lease_expired_total) == (1, 0)
        assert counts(stats) == {"pending": 2}


async def test_a_paused_queue_says_so(acme: Caller) -> None:
    assert not (await made(acme)).paused
    await operating.pause(acme)
    assert (await acme.stats()).paused
