"""purge cancels all that is neither leased nor ended by a mark; sweep makes it so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codeq_grpc.core.task import TaskState
from codeq_grpc.store.tasks import Cancelled
from codeq_grpc.store.wakeups import ended_key
from tests.store.making import tasks_of_every_state
from tests.support.clock import START_MS
from tests.support.consistency import stale_entries
from tests.support.driver import ERRORS, LEASE_MS, QueueDriver, task

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.admin import Ear

pytestmark = pytest.mark.usefixtures("consistent")


async def test_what_is_neither_leased_nor_ended_is_cancelled(driver: QueueDriver) -> None:
    names = await tasks_of_every_state(driver)
    before = driver.snapshot()
    spared = {
        name
        for name in names
        if before.state(name) == TaskState.IN_PROGRESS or before.state(name) >= 5
    }
    others = before.metas.keys() - spared
    assert await driver.purge() == len(others)
    after = driver.snapshot()
    assert {name for name in after.metas if after.is_purged(name)} == others
    states = await driver.reads.states(driver.queue, list(others))
    assert set(states) == {TaskState.CANCELLED}
    assert {name: after.state(name) for name in spared} == {
        name: before.state(name) for name in spared
    }
    await driver.sweep()
    swept = driver.snapshot()
    assert {name: swept.state(name) for name in swept.metas} == {
        name: after.state(name) for name in after.metas
    }
    assert others <= swept.cancelled.keys()


async def test_leased_tasks_survive_and_are_tried_again(driver: QueueDriver) -> None:
    await driver.enqueue(*[task() for _ in range(4)])
    failed, abandoned, expired, completed = await driver.take(4)
    await driver.purge()
    await driver.fail(failed, delay_ms=0)
    await driver.abandon(abandoned)
    await driver.complete(completed)
    driver.clock.advance(LEASE_MS)
    await driver.reap()
    await driver.sweep()
    assert set(await driver.claim_names()) == {failed.name, abandoned.name, expired.name}


async def test_tasks_of_the_same_millisecond_that_came_after_the_purge_survive(
    driver: QueueDriver,
) -> None:
    before = await driver.enqueue(task(), task(when=-1_000))
    await driver.purge()
    after = await driver.enqueue(task(), task(when=-1_000))
    state = driver.snapshot()
    assert [state.state(name) for name in before] == [TaskState.CANCELLED] * 2
    assert [state.state(name) for name in after] == [TaskState.PENDING, TaskState.SCHEDULED]
    await driver.sweep()
    driver.clock.advance(1_002)
    assert await driver.claim_names() == after


async def test_purge_holds_though_the_clock_goes_back(driver: QueueDriver) -> None:
    await driver.enqueue(task())
    await driver.purge()
    driver.clock.advance(-3_600_000)
    (after,) = await driver.enqueue(task())
    assert await driver.claim_names() == [after]


async def test_purged_tasks_are_not_claimed_though_not_yet_swept(driver: QueueDriver) -> None:
    await driver.enqueue(task(), task(when=-1_000), task(priority=9))
    await driver.purge()
    driver.clock.advance(1_000)
    assert await driver.claim_names() == []
    assert (await driver.promote()).promoted == 0


async def test_counts_are_the_same_before_and_after_the_sweep_but_for_cancelled(
    driver: QueueDriver,
) -> None:
    await tasks_of_every_state(driver)
    await driver.enqueue(*[task(when=-(i % 2) * 99_000) for i in range(10)])
    held = driver.snapshot()
    purged = await driver.purge()
    unended = (await driver.stats())[1:5]
    assert unended == (0, 0, 0, len(held.leases))
    fresh = await driver.enqueue(task(), task(when=-1_000), task())
    for limit in (1, 3, 500):
        await driver.sweep_step(limit)
        counts = await driver.stats()
        assert counts[1:5] == (2, 1, 0, len(held.leases))
    await driver.sweep()
    counts = await driver.stats()
    assert counts[1:5] == (2, 1, 0, len(held.leases))
    assert counts.cancelled == purged
    assert set(driver.snapshot().pending) >= {fresh[0], fresh[2]}


async def test_counts_hold_while_purged_tasks_end_otherwise(driver: QueueDriver) -> None:
    """Promoted, expired, redriven and cancelled before the sweep sees them."""
    names = await driver.enqueue(
        task(when=-1_000),
        task(expire_ms=START_MS + 1_000),
        task(),
        task(),
        task(depends_on=(driver.id(b"unknown"),)),
    )
    await driver.purge()
    driver.clock.advance(1_000)
    await driver.promote()
    await driver.reap()
    assert (await driver.cancel(names[3]))[0].word == b"CANCELLED"
    assert await driver.redrive(names[2], names[4]) == [(b"REDRIVEN", TaskState.PENDING)] * 2
    counts = await driver.stats()
    assert counts[1:5] == (2, 0, 0, 0)
    await driver.sweep()
    counts = await driver.stats()
    assert (counts[1:5], counts.cancelled) == ((2, 0, 0, 0), 3)


async def test_swept_tasks_keep_the_error_and_the_time_of_the_purge(driver: QueueDriver) -> None:
    name = await driver.enqueue_one()
    driver.clock.advance(5)
    await driver.purge()
    driver.clock.advance(5)
    stored = await driver.read_one(name)
    assert (stored.row.state, stored.row.time_ms) == (TaskState.CANCELLED, START_MS + 5)
    await driver.sweep()
    stored = await driver.read_one(name)
    assert (stored.row.state, stored.row.time_ms) == (TaskState.CANCELLED, START_MS + 5)
    assert stored.error == ERRORS.purged


async def test_sweep_goes_on_in_bounded_steps(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task(priority=i % 10) for i in range(1_000)])
    await driver.purge()
    assert (await driver.promote()).sweep
    steps = await driver.sweep(100)
    assert 5 <= steps <= 20
    state = driver.snapshot()
    assert state.cancelled.keys() == set(names)
    assert not (await driver.promote()).sweep
    assert (await driver.sweep_step()) == (0, False)


async def test_sweep_clears_the_heads_of_the_lists(driver: QueueDriver) -> None:
    await driver.enqueue(*[task(priority=i % 3) for i in range(30)])
    await driver.purge()
    fresh = await driver.enqueue(task())
    await driver.sweep()
    state = driver.snapshot()
    assert state.pending == fresh
    assert stale_entries(state) == []


async def test_second_purge_before_the_sweep_takes_the_rest_as_well(driver: QueueDriver) -> None:
    await driver.enqueue(*[task() for _ in range(3)])
    assert await driver.purge() == 3
    assert await driver.purge() == 0
    await driver.enqueue(*[task(when=-1_000) for _ in range(2)])
    await driver.sweep_step(1)
    assert await driver.purge() == 2
    await driver.sweep()
    counts = await driver.stats()
    assert (counts[1:5], counts.cancelled) == ((0, 0, 0, 0), 5)


async def test_purge_during_a_sweep_starts_it_anew(driver: QueueDriver) -> None:
    await driver.enqueue(*[task() for _ in range(500)])
    await driver.purge()
    await driver.sweep_step(50)
    late = await driver.enqueue(*[task() for _ in range(300)])
    await driver.sweep_step(50)
    await driver.purge()
    await driver.sweep(50)
    state = driver.snapshot()
    assert len(state.cancelled) == 800
    assert set(late) <= state.cancelled.keys()


@pytest.mark.parametrize("how", ["promote", "claim", "reap"])
async def test_tasks_whose_time_comes_before_the_sweep_are_left_to_it(
    driver: QueueDriver, how: str
) -> None:
    """Which keeps the error of each, and counts it."""
    new = task(expire_ms=START_MS + 1_000) if how == "reap" else task(when=-1_000)
    names = await driver.enqueue(new, new)
    purged_ms = driver.clock.ms
    await driver.purge()
    (later,) = await driver.enqueue(task(when=-1_000))
    driver.clock.advance(1_001)
    match how:
        case "promote":
            assert (await driver.promote(2)).promoted == 0
            assert (await driver.promote(2)).promoted == 1
        case "claim":
            assert await driver.claim_names() == [later]
        case _:
            await driver.reap()
    await driver.sweep()
    for name in names:
        stored = await driver.read_one(name)
        assert (stored.row.state, stored.error) == (TaskState.CANCELLED, ERRORS.purged)
        assert stored.row.time_ms == purged_ms
    assert (await driver.stats()).cancelled == 2
    assert driver.snapshot().settings[b"cancelled"] == b"2"


async def test_purged_task_counts_as_cancelled_for_every_call(driver: QueueDriver) -> None:
    name = await driver.enqueue_one()
    await driver.purge()
    assert await driver.cancel(name) == [Cancelled(b"CANCELLED", TaskState.CANCELLED, 0, "")]
    assert await driver.store.await_end(driver.queue, name, "srv")
    assert await driver.follow("AAAAAAcAANBdrMAAAA", name) == [TaskState.CANCELLED]
    assert (await driver.prune())[1] == 0


async def test_who_waits_or_follows_is_told_by_the_sweep(
    driver: QueueDriver, listen: Callable[[str], Ear]
) -> None:
    follower = "AAAAAAcAANBdrMAAAA"
    name = await driver.enqueue_one()
    ear = listen("srv")
    await driver.store.await_end(driver.queue, name, "srv")
    await driver.follow(follower, name)
    await driver.purge()
    assert ear.heard() == []
    assert (await driver.sweep_step())[0] == 1
    assert ear.heard() == [ended_key(driver.queue) + b"\0" + name]
    assert [entry.others for entry in await driver.owed()] == [[follower]]


async def test_empty_queue(driver: QueueDriver) -> None:
    assert await driver.purge() == 0
    assert await driver.sweep() == 1
    assert (await driver.stats())[1:9] == (0,) * 8
