"""prune: ended tasks go, at their time, bounded in number, and nothing else does."""

from __future__ import annotations

import pytest

from codeq_grpc.core.task import Ending, TaskState
from codeq_grpc.store.tasks import UNKNOWN, Report
from tests.support.clock import START_MS
from tests.support.consistency import inconsistencies
from tests.support.driver import QueueDriver, task

pytestmark = pytest.mark.usefixtures("consistent")


async def end(driver: QueueDriver, count: int, *, ending: Ending = Ending.COMPLETE) -> list[bytes]:
    """Names of so many tasks that ended now."""
    names = await driver.enqueue(*[task(max_attempts=1, priority=9)] * count)
    leases = await driver.take(count)
    await driver.report(*[Report(*lease, ending, b"text") for lease in leases])
    return names


async def test_pruned_task_leaves_nothing_behind(driver: QueueDriver) -> None:
    await end(driver, 1)
    await end(driver, 1, ending=Ending.FAIL)
    driver.clock.advance(1)
    assert await driver.prune() == (START_MS + 1, 2, False)
    kept = {key for (key,) in zip(driver.admin.call("KEYS", "*"), strict=True)}
    assert kept == {driver.key("s")}


async def test_pruned_task_is_unknown(driver: QueueDriver) -> None:
    await driver.enqueue_one()
    lease = await driver.take_one()
    await driver.complete(lease)
    driver.clock.advance(1)
    await driver.prune()
    assert (await driver.complete(lease)).word == UNKNOWN
    assert await driver.read(lease.name) == [None]


async def test_only_what_ended_before_the_time_goes(driver: QueueDriver) -> None:
    old = await end(driver, 1)
    driver.clock.advance(10)
    at_the_time = await end(driver, 1)
    driver.clock.advance(10)
    used, count, more = await driver.prune(before_ms=START_MS + 10)
    assert (used, count, more) == (START_MS + 10, 1, False)
    state = driver.snapshot()
    assert state.completed.keys() == set(at_the_time)
    assert old[0] not in state.metas


async def test_only_what_is_old_enough_goes(driver: QueueDriver) -> None:
    await end(driver, 2)
    driver.clock.advance(1_000)
    assert await driver.prune(age_ms=1_000) == (START_MS, 0, False)
    driver.clock.advance(1)
    assert await driver.prune(age_ms=1_000) == (START_MS + 1, 2, False)


@pytest.mark.parametrize("before", [START_MS + 500, START_MS + 5_000])
async def test_time_and_age_both_hold(driver: QueueDriver, before: int) -> None:
    driver.clock.advance(2_000)
    used, _, _ = await driver.prune(before_ms=before, age_ms=1_000)
    assert used == min(before, START_MS + 1_000)


@pytest.mark.parametrize(("indexes", "gone"), [("t", {5}), ("d", {6}), ("td", {5, 6}), ("", set())])
async def test_only_the_indexes_asked_for_are_pruned(
    driver: QueueDriver, indexes: str, gone: set[int]
) -> None:
    await end(driver, 3)
    await end(driver, 3, ending=Ending.FAIL)
    driver.clock.advance(1)
    assert (await driver.prune(indexes=indexes))[1] == 3 * len(gone)
    left = {meta.state for meta in driver.snapshot().metas.values()}
    assert left == {TaskState.COMPLETED, TaskState.FAILED} - gone


async def test_unended_tasks_stay(driver: QueueDriver) -> None:
    await driver.enqueue(task(), task(), task(when=-9_000))
    await driver.take_one()
    before = driver.snapshot()
    driver.clock.advance(1_000)
    assert (await driver.prune())[1] == 0
    assert driver.snapshot() == before


async def test_limit_cuts_and_the_next_call_goes_on_where_it_ended(driver: QueueDriver) -> None:
    completed = await end(driver, 5)
    failed = await end(driver, 4, ending=Ending.FAIL)
    driver.clock.advance(1)
    assert (await driver.prune(limit=3))[1:] == (3, True)
    assert sorted(driver.snapshot().completed) == completed[3:]
    assert (await driver.prune(limit=3))[1:] == (3, True)
    state = driver.snapshot()
    assert (state.completed, sorted(state.failed)) == ({}, failed[1:])
    assert inconsistencies(state) == []
    assert (await driver.prune(limit=3))[1:] == (3, True)
    assert (await driver.prune(limit=3))[1:] == (0, False)


async def test_oldest_go_first(driver: QueueDriver) -> None:
    names = []
    for _ in range(3):
        names += await end(driver, 1)
        driver.clock.advance(1)
    await driver.prune(limit=1)
    assert driver.snapshot().completed.keys() == set(names[1:])


async def test_batch_of_500(driver: QueueDriver) -> None:
    await end(driver, 500)
    driver.clock.advance(1)
    assert (await driver.prune(limit=500))[1:] == (500, True)
    assert driver.snapshot().metas == {}


async def test_stale_entries_go_and_their_tasks_stay(driver: QueueDriver) -> None:
    pending = await driver.enqueue_one()
    (completed,) = await end(driver, 1)
    stale = [part for name in (pending, b"unknown", completed) for part in (1, name)]
    driver.admin.call("ZADD", driver.key("d"), *stale)
    driver.admin.call("ZADD", driver.key("t"), 1, pending)
    before = driver.snapshot()
    assert (await driver.prune(before_ms=START_MS))[1:] == (0, False)
    after = driver.snapshot()
    assert (after.metas, after.bodies) == (before.metas, before.bodies)
    assert (after.failed, after.completed) == ({}, {completed: START_MS})


async def test_who_waits_for_a_pruned_task_is_forgotten(driver: QueueDriver) -> None:
    (name,) = await end(driver, 1)
    driver.admin.call("HSET", driver.key("g"), name, b"srv")
    driver.clock.advance(1)
    await driver.prune()
    assert driver.snapshot().waited == {}
