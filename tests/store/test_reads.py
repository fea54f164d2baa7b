"""get, held and stats: what they tell, and that they change nothing."""

from __future__ import annotations

import pytest

from codeq_grpc.core.task import Ending, TaskState
from codeq_grpc.store.rows import Row
from codeq_grpc.store.tasks import Counts, Report
from tests.support.clock import START_MS
from tests.support.driver import LEASE_MS, QueueDriver, task

pytestmark = pytest.mark.usefixtures("consistent")


async def test_get_gives_row_spec_error_and_result(driver: QueueDriver) -> None:
    (name,) = await driver.enqueue(task(b"\0spec"))
    await driver.fail(await driver.take_one(), b"\0error", delay_ms=0)
    driver.clock.advance(5)
    lease = await driver.take_one(owner="srv.1")
    await driver.complete(lease, b"\0result")
    stored = await driver.store.get(driver.queue, name, result=True)
    assert stored is not None
    assert stored.row == Row(
        state=TaskState.COMPLETED,
        attempt=2,
        max_attempts=3,
        fence=lease.fence,
        time_ms=START_MS + 5,
        changed_ms=START_MS + 5,
        owner="srv.1",
        worker_id="w",
    )
    assert stored[0] == START_MS + 5
    assert stored[2:] == (b"\0spec", b"\0error", b"\0result")


async def test_get_leaves_the_result_out_unless_asked(driver: QueueDriver) -> None:
    name = await driver.enqueue_one()
    await driver.complete(await driver.take_one(), b"result")
    stored = await driver.store.get(driver.queue, name, result=False)
    assert stored is not None
    assert (stored.result, stored.error) == (b"", b"")


async def test_get_of_a_task_that_has_not_ended(driver: QueueDriver) -> None:
    (name,) = await driver.enqueue(task(b"", when=-5))
    stored = await driver.store.get(driver.queue, name, result=True)
    assert stored is not None
    assert (stored.row.state, stored.row.time_ms) == (TaskState.SCHEDULED, START_MS + 5)
    assert stored[2:] == (b"", b"", b"")


async def test_get_of_an_unknown_task(driver: QueueDriver) -> None:
    assert await driver.store.get(driver.queue, b"unknown", result=True) is None


async def test_held_tells_current_leases_from_all_others(driver: QueueDriver) -> None:
    await driver.enqueue(task(), task(), task(), task())
    ended, stale, held, short = await driver.take(4)
    await driver.complete(ended)
    await driver.abandon(stale)
    current = await driver.take_one()
    await driver.heartbeat(held, current, extend_ms=LEASE_MS * 2)
    before = driver.snapshot()
    asked = [ended, stale, current, held, short, (held.name, held.fence + 1), (b"unknown", 3)]
    expected = [False, False, True, True, True, False, False]
    assert await driver.store.held(driver.queue, asked) == expected
    driver.clock.advance(LEASE_MS)
    expected[4] = False
    assert await driver.store.held(driver.queue, asked) == expected
    assert driver.snapshot() == before


async def test_held_answers_a_batch_of_500(driver: QueueDriver) -> None:
    await driver.enqueue(*[task()] * 500)
    leases = await driver.take(500)
    await driver.report(*[Report(*lease, Ending.COMPLETE) for lease in leases[::2]])
    assert await driver.store.held(driver.queue, leases) == [False, True] * 250


async def test_stats_of_a_queue_that_never_was(driver: QueueDriver) -> None:
    assert await driver.stats() == Counts(START_MS, *[0] * 10)
    assert driver.admin.call("DBSIZE") == 0


async def test_stats_count_every_state_and_every_event(driver: QueueDriver) -> None:
    await driver.enqueue(*[task(priority=i % 10, max_attempts=1 + i % 2) for i in range(20)])
    await driver.enqueue(task(when=-LEASE_MS * 5), task(when=-LEASE_MS * 5))
    for lease in (await driver.take(12))[:9]:
        if lease.fence % 3 == 0:
            await driver.complete(lease)
        else:
            await driver.fail(lease, delay_ms=0)
    driver.clock.advance(LEASE_MS)
    expired = await driver.reap()
    await driver.take(2)
    state = driver.snapshot()
    counts = await driver.stats()
    assert counts[1:6] == tuple(
        len(index)
        for index in (state.pending, state.scheduled, state.leases, state.ended, state.dead)
    )
    assert sum(counts[1:6]) == counts.enqueued_total == 22
    assert counts.completed_total == counts.completed == 3
    assert (counts.attempt_failed_total, counts.lease_expired_total) == (6, len(expired))
    assert len(expired) == 3


async def test_totals_stay_when_tasks_are_pruned(driver: QueueDriver) -> None:
    await driver.enqueue(task(), task(max_attempts=1))
    first, second = await driver.take(2)
    await driver.complete(first)
    await driver.fail(second)
    driver.clock.advance(1)
    await driver.prune()
    assert (await driver.stats())[1:] == (0, 0, 0, 0, 0, 0, 2, 1, 1, 0)


async def test_oldest_pending_task_is_told_whatever_its_priority(driver: QueueDriver) -> None:
    await driver.enqueue(task(priority=0), task(when=-10, priority=9))
    driver.clock.advance(20)
    await driver.enqueue_one(priority=5)
    assert (await driver.stats()).oldest_ms == START_MS
    await driver.store.promote(driver.queue, 500)
    leases = await driver.take(3)
    assert (await driver.stats()).oldest_ms == 0
    await driver.abandon(leases[0])
    assert (await driver.stats()).oldest_ms == START_MS + 10


async def test_reads_make_no_keys(driver: QueueDriver) -> None:
    await driver.stats()
    await driver.store.get(driver.queue, b"unknown", result=True)
    await driver.store.held(driver.queue, [(b"unknown", 1)])
    assert driver.admin.call("DBSIZE") == 0
