"""promote: scheduled tasks become pending when due."""

from __future__ import annotations

import pytest

from codeq_grpc.core.task import TaskState
from tests.support.clock import START_MS
from tests.support.consistency import inconsistencies
from tests.support.driver import QueueDriver, task


async def test_task_is_promoted_when_due_and_not_before(driver: QueueDriver) -> None:
    name = await driver.enqueue_one(when=-1_000)
    driver.clock.advance(999)
    await driver.promote()  # takes a sample of the totals
    before = driver.snapshot()
    assert await driver.promote() == (START_MS + 999, START_MS + 1_000, 0, 0, False)
    assert driver.snapshot() == before
    driver.clock.advance(1)
    assert await driver.promote() == (START_MS + 1_000, 0, 1, 0, False)
    state = driver.snapshot()
    assert (state.pending, state.scheduled) == ([name], {})
    meta = state.metas[name]
    assert (meta.state, meta.attempt) == (TaskState.PENDING, 0)
    assert (meta.time_ms, meta.changed_ms) == (START_MS + 1_000, START_MS + 1_000)


async def test_due_tasks_come_in_the_order_of_their_times_at_the_tail(driver: QueueDriver) -> None:
    late, early, low, future = await driver.enqueue(
        task(when=-20), task(when=-10), task(when=-5, priority=1), task(when=-99)
    )
    waiting = await driver.enqueue_one()
    driver.clock.advance(20)
    assert (await driver.promote())[1:3] == (START_MS + 99, 3)
    state = driver.snapshot()
    assert state.pending == [waiting, early, late, low]
    assert state.scheduled == {future: START_MS + 99}
    assert inconsistencies(state) == []


async def test_tasks_due_at_once_come_in_the_order_enqueued(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task(when=-10)] * 300)
    driver.clock.advance(10)
    await driver.promote()
    assert driver.snapshot().pending == names


async def test_limit_leaves_the_rest_and_tells_when_it_was_due(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task(when=-10)] * 5)
    driver.clock.advance(15)
    assert (await driver.promote(2))[:3] == (START_MS + 15, START_MS + 10, 2)
    assert driver.snapshot().pending == names[:2]
    assert (await driver.promote())[:3] == (START_MS + 15, 0, 3)
    assert inconsistencies(driver.snapshot()) == []


async def test_batch_of_500(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task(when=-10, priority=i % 10) for i in range(500)])
    driver.clock.advance(10)
    assert (await driver.promote())[2] == 500
    state = driver.snapshot()
    assert [state.lists[p] for p in range(10)] == [names[p::10] for p in range(10)]
    assert inconsistencies(state) == []


@pytest.mark.parametrize("score", [0, START_MS])
async def test_entry_of_a_task_not_scheduled_is_dropped(driver: QueueDriver, score: int) -> None:
    name = await driver.enqueue_one()
    driver.admin.call("ZADD", driver.key("z"), score, name, score, b"unknown")
    assert (await driver.promote())[2] == 0
    state = driver.snapshot()
    assert (state.scheduled, state.pending) == ({}, [name])


async def test_entry_that_came_too_early_is_put_right(driver: QueueDriver) -> None:
    name = await driver.enqueue_one(when=-1_000)
    driver.admin.call("ZADD", driver.key("z"), 1, name)
    assert (await driver.promote())[:3] == (START_MS, START_MS + 1_000, 0)
    state = driver.snapshot()
    assert state.pending == []
    assert inconsistencies(state) == []
