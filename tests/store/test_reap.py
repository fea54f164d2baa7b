"""reap: what becomes of leases that ran out."""

from __future__ import annotations

import pytest

from codeq_grpc.core.task import Ending, TaskState
from codeq_grpc.store.tasks import LOST
from codeq_grpc.store.upkeep import Expired
from tests.support.clock import START_MS
from tests.support.consistency import inconsistencies
from tests.support.driver import LEASE_MS, QueueDriver, task


async def test_expired_lease_puts_the_task_back_at_the_head_and_counts(
    driver: QueueDriver,
) -> None:
    first, second = await driver.enqueue(task(), task())
    lease = await driver.take_one(owner="srv.1")
    driver.clock.advance(LEASE_MS)
    reaped = await driver.reap_step()
    assert reaped == (START_MS + LEASE_MS, 0, 0, False, [Expired(first, lease.fence, "srv.1")])
    state = driver.snapshot()
    assert state.pending == [first, second]
    assert state.outcomes[first + b"e"] == b"lease expired"
    meta = state.metas[first]
    assert (meta.state, meta.attempt, meta.ending) == (TaskState.PENDING, 1, Ending.EXPIRE)
    assert (meta.time_ms, meta.changed_ms) == (START_MS, START_MS + LEASE_MS)
    assert inconsistencies(state) == []


async def test_lease_is_not_reaped_before_its_expiry(driver: QueueDriver) -> None:
    await driver.enqueue(task(), task())
    await driver.take_one(lease_ms=2_000)
    await driver.take_one(lease_ms=1_000)
    driver.clock.advance(999)
    before = driver.snapshot()
    assert await driver.reap_step() == (START_MS + 999, START_MS + 1_000, 0, False, [])
    assert driver.snapshot() == before


async def test_heartbeat_keeps_a_lease_from_the_reaper(driver: QueueDriver) -> None:
    await driver.enqueue_one()
    lease = await driver.take_one()
    driver.clock.advance(LEASE_MS - 1)
    await driver.heartbeat(lease)
    driver.clock.advance(LEASE_MS - 1)
    assert await driver.reap() == []
    driver.clock.advance(1)
    assert await driver.reap() == [lease.name]


async def test_last_attempt_that_expires_makes_a_dead_letter(driver: QueueDriver) -> None:
    name = await driver.enqueue_one(max_attempts=2)
    for _ in range(2):
        await driver.take_one()
        driver.clock.advance(LEASE_MS)
        assert await driver.reap() == [name]
    state = driver.snapshot()
    assert state.failed == {name: START_MS + 2 * LEASE_MS}
    assert state.outcomes[name + b"e"] == b"lease expired"
    assert (state.metas[name].attempt, state.metas[name].ending) == (2, Ending.EXPIRE)
    assert inconsistencies(state) == []
    assert (await driver.claim()).tasks == []


async def test_tasks_that_expire_together_keep_their_order_at_the_head(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task(priority=5 + i % 2) for i in range(10)])
    await driver.take(8)
    driver.clock.advance(LEASE_MS)
    await driver.reap()
    state = driver.snapshot()
    assert state.pending == names[1::2] + names[::2]
    assert inconsistencies(state) == []


async def test_earliest_expiry_comes_first(driver: QueueDriver) -> None:
    names = await driver.enqueue(task(), task(), task())
    for lease_ms in (3_000, 1_000, 2_000):
        await driver.take_one(lease_ms=lease_ms)
    driver.clock.advance(3_000)
    assert await driver.reap() == [names[i] for i in (1, 2, 0)]
    assert driver.snapshot().pending == [names[i] for i in (1, 2, 0)]


async def test_limit_leaves_the_rest_and_tells_when_it_was_due(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task()] * 5)
    await driver.take(5)
    driver.clock.advance(LEASE_MS + 7)
    reaped = await driver.reap_step(2)
    assert [lease.name for lease in reaped.expired] == names[:2]
    assert (reaped.next_ms, reaped.more) == (START_MS + LEASE_MS, True)
    assert await driver.reap() == names[2:]
    assert inconsistencies(driver.snapshot()) == []


async def test_batch_of_500(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task(max_attempts=1 + i % 2) for i in range(500)])
    await driver.take(500)
    driver.clock.advance(LEASE_MS)
    assert await driver.reap() == names
    state = driver.snapshot()
    assert (sorted(state.failed), state.pending) == (names[::2], names[1::2])
    assert inconsistencies(state) == []


async def test_report_of_a_reaped_lease_is_lost(driver: QueueDriver) -> None:
    await driver.enqueue(task(), task(max_attempts=1))
    leases = await driver.take(2)
    driver.clock.advance(LEASE_MS)
    await driver.reap()
    before = driver.snapshot()
    for lease in leases:
        verdicts = [
            await driver.complete(lease),
            await driver.fail(lease),
            await driver.abandon(lease),
        ]
        assert [verdict.word for verdict in verdicts] == [LOST] * 3
    assert driver.snapshot() == before


async def test_reaped_leases_are_counted(driver: QueueDriver) -> None:
    await driver.enqueue(task(), task(max_attempts=1), task())
    await driver.take(2)
    driver.clock.advance(LEASE_MS)
    await driver.reap()
    counts = await driver.stats()
    assert (counts.lease_expired_total, counts.attempt_failed_total) == (2, 0)


@pytest.mark.parametrize("score", [0, START_MS])
async def test_entry_of_a_task_not_in_progress_is_dropped(driver: QueueDriver, score: int) -> None:
    pending = await driver.enqueue_one()
    driver.admin.call("ZADD", driver.key("l"), score, pending, score, b"unknown")
    before = driver.snapshot()
    assert await driver.reap() == []
    after = driver.snapshot()
    assert (after.leases, after.metas, after.pending) == ({}, before.metas, [pending])


@pytest.mark.parametrize("score", [0, START_MS])
async def test_entry_that_came_too_early_is_put_right(driver: QueueDriver, score: int) -> None:
    await driver.enqueue_one()
    lease = await driver.take_one()
    driver.admin.call("ZADD", driver.key("l"), score, lease.name)
    reaped = await driver.reap_step()
    assert (reaped.expired, reaped.next_ms) == ([], START_MS + LEASE_MS)
    assert inconsistencies(driver.snapshot()) == []
