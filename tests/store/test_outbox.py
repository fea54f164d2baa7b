"""Dependencies: who is blocked, who follows whom, and that telling it twice changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codeq_grpc.core.task import TaskState
from codeq_grpc.store.outbox import Resolution
from codeq_grpc.store.wakeups import work_key
from tests.support.clock import START_MS
from tests.support.courier import DEPENDENCY_ERROR, deliver
from tests.support.driver import LEASE_MS, Lease, QueueDriver, task
from tests.support.snapshot import FOLLOWED

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.admin import Ear

pytestmark = pytest.mark.usefixtures("consistent")


async def child_of(driver: QueueDriver, *parents: bytes, when: int = 0) -> bytes:
    """Name of a blocked task; nothing is delivered yet."""
    ids = tuple(driver.id(name) for name in parents)
    (name,) = await driver.enqueue(task(depends_on=ids, when=when))
    return name


def state_of(driver: QueueDriver, name: bytes) -> int:
    return driver.snapshot().state(name)


async def run(driver: QueueDriver) -> Lease:
    """Completes the next pending task."""
    lease = await driver.take_one()
    await driver.complete(lease)
    return lease


async def test_task_with_dependencies_is_blocked_and_owed_to_be_heard_of(
    driver: QueueDriver,
) -> None:
    (parent,) = await driver.enqueue(task())
    ids = (driver.id(parent), driver.id(b"unknown"))
    added = await driver.add(task(depends_on=ids), task())
    assert added.owed == 1
    (entry, *rest) = await driver.owed(for_ms=1_000)
    assert rest == []
    assert entry[:5] == ("B", added.names[0], TaskState.BLOCKED, list(ids), False)
    assert driver.snapshot().parents == {added.names[0]: "".join(ids).encode()}
    assert (await driver.stats()).blocked == 1


async def test_entry_that_was_taken_is_kept_from_others_for_a_while(driver: QueueDriver) -> None:
    name = await child_of(driver, b"unknown")
    assert len(await driver.owed(for_ms=1_000)) == 1
    assert await driver.owed() == []
    assert (await driver.promote()).next_owed_ms == START_MS + 1_000
    driver.clock.advance(999)
    assert await driver.owed() == []
    driver.clock.advance(1)
    assert [entry.name for entry in await driver.owed()] == [name]


async def test_no_more_entries_are_taken_than_wanted(driver: QueueDriver) -> None:
    names = [await child_of(driver, b"unknown") for _ in range(5)]
    taken = [[entry.name for entry in await driver.owed(2)] for _ in range(4)]
    assert taken == [names[:2], names[2:4], names[4:], []]


async def test_entry_that_was_settled_is_gone(driver: QueueDriver) -> None:
    await child_of(driver, b"unknown")
    entries = await driver.owed()
    for _ in range(2):
        await driver.settle(*entries)
        assert driver.snapshot().outbox == {}


async def test_entry_that_came_anew_meanwhile_is_not_settled(driver: QueueDriver) -> None:
    parent = await driver.enqueue_one()
    await driver.follow(driver.id(b"unknown"), parent)
    await driver.cancel(parent)
    first = await driver.owed()
    await driver.redrive(parent)
    await run(driver)
    await driver.settle(*first)
    (entry,) = await driver.owed()
    assert (entry.name, entry.state) == (parent, TaskState.COMPLETED)


async def test_following_tells_the_state_of_each_and_is_noted_while_it_goes_on(
    driver: QueueDriver,
) -> None:
    pending, scheduled, done = await driver.enqueue(task(), task(when=-5), task(priority=9))
    await driver.complete(await driver.take_one())
    follower = driver.id(b"unknown")
    for _ in range(2):
        states = await driver.follow(follower, pending, b"unknowN", scheduled, done)
        assert states == [TaskState.PENDING, 0, TaskState.SCHEDULED, TaskState.COMPLETED]
    state = driver.snapshot()
    assert state.followers == {(name, follower.encode()) for name in (pending, scheduled)}
    followed = {name for name, meta in state.metas.items() if meta.has(FOLLOWED)}
    assert followed == {pending, scheduled}


@pytest.mark.parametrize("when", [0, -5_000])
async def test_last_dependency_that_completes_makes_the_task_claimable_or_scheduled(
    driver: QueueDriver, listen: Callable[[str], Ear], when: int
) -> None:
    parents = await driver.enqueue(task(), task())
    child = await child_of(driver, *parents, when=when)
    await deliver(driver)
    await run(driver)
    assert await deliver(driver) == 1
    assert state_of(driver, child) == TaskState.BLOCKED
    await run(driver)
    ear = listen("srv")
    await driver.claim(wake="srv")
    await deliver(driver)
    assert ear.heard() == [work_key(driver.queue)]
    assert state_of(driver, child) == (TaskState.SCHEDULED if when else TaskState.PENDING)
    driver.clock.advance(-when)
    assert await driver.claim_names() == [child]
    state = driver.snapshot()
    assert (state.followers, state.outbox, state.parents) == (set(), {}, {})


async def test_run_time_that_passed_while_blocked_is_no_more_in_the_way(
    driver: QueueDriver,
) -> None:
    parent = await driver.enqueue_one()
    child = await child_of(driver, parent, when=-5_000)
    driver.clock.advance(6_000)
    await run(driver)
    await deliver(driver)
    assert driver.meta(child).time_ms == START_MS + 6_000
    assert await driver.claim_names() == [child]


@pytest.mark.parametrize("how", ["fail", "cancel", "expire", "gone"])
async def test_dependency_that_does_not_complete_fails_the_task(
    driver: QueueDriver, how: str
) -> None:
    (parent,) = await driver.enqueue(task(max_attempts=1, expire_ms=START_MS + 10_000))
    if how == "gone":
        await driver.cancel(parent)
        driver.clock.advance(1)
        await driver.prune()
    child = await child_of(driver, parent)
    await deliver(driver)
    if how == "fail":
        await driver.fail(await driver.take_one(), b"boom")
    elif how == "cancel":
        await driver.cancel(parent)
    elif how == "expire":
        driver.clock.advance(10_000)
        await driver.reap()
    await deliver(driver)
    state = driver.snapshot()
    assert state.state(child) == TaskState.FAILED
    assert state.texts("e")[child] == DEPENDENCY_ERROR
    assert (state.blocked, state.parents, state.followers) == ({}, {}, set())


async def test_dependency_that_ended_before_the_task_came_counts_as_well(
    driver: QueueDriver,
) -> None:
    done, failed = await driver.enqueue(task(), task(max_attempts=1))
    await driver.complete(await driver.take_one())
    await driver.fail(await driver.take_one())
    first, second = await child_of(driver, done), await child_of(driver, done, failed)
    await deliver(driver)
    assert state_of(driver, first) == TaskState.PENDING
    assert state_of(driver, second) == TaskState.FAILED


async def test_failure_cascades_through_all_who_depend_on_it(driver: QueueDriver) -> None:
    names = [await driver.enqueue_one(max_attempts=1)]
    for _ in range(10):
        names.append(await child_of(driver, names[-1]))
    await deliver(driver)
    await driver.fail(await driver.take_one(), b"boom")
    await deliver(driver)
    state = driver.snapshot()
    assert {state.state(name) for name in names} == {TaskState.FAILED}
    assert state.outbox == {}


async def test_success_goes_through_a_diamond_in_order(driver: QueueDriver) -> None:
    top = await driver.enqueue_one()
    sides = [await child_of(driver, top), await child_of(driver, top)]
    bottom = await child_of(driver, *sides)
    ran = []
    for _ in range(4):
        await deliver(driver)
        ran.append((await run(driver)).name)
    assert ran == [top, *sides, bottom]


async def test_all_of_more_followers_than_are_told_at_once_are_told(driver: QueueDriver) -> None:
    parent = await driver.enqueue_one()
    children = [await child_of(driver, parent) for _ in range(25)]
    await deliver(driver)
    await run(driver)
    (entry,) = await driver.owed(for_ms=0, most=10)
    assert (len(entry.others), entry.more) == (10, True)
    await deliver(driver, most=10)
    state = driver.snapshot()
    assert {state.state(name) for name in children} == {TaskState.PENDING}
    assert (state.followers, state.outbox) == (set(), {})
    assert not state.metas[parent].has(FOLLOWED)


async def test_resolving_twice_changes_nothing(driver: QueueDriver) -> None:
    parents = await driver.enqueue(task(), task())
    child = await child_of(driver, *parents)
    first, second = (driver.id(parent) for parent in parents)
    for _ in range(2):
        assert await driver.resolve(Resolution(child, [first], b"")) == 0
        assert driver.snapshot().parents == {child: second.encode()}
    await driver.resolve(Resolution(child, [second], b""), Resolution(child, [second], b""))
    before = driver.snapshot()
    assert before.state(child) == TaskState.PENDING
    driver.clock.advance(1)
    await driver.resolve(
        Resolution(child, [first, second], b""), Resolution(child, [first], b"error")
    )
    assert driver.snapshot() == before


async def test_failing_twice_changes_nothing(driver: QueueDriver) -> None:
    child = await child_of(driver, b"unknown")
    error = Resolution(child, [driver.id(b"unknown")], b"error")
    await driver.resolve(error)
    before = driver.snapshot()
    driver.clock.advance(1)
    await driver.resolve(error, error._replace(error=b"another"))
    assert driver.snapshot() == before


async def test_end_of_what_the_task_does_not_depend_on_changes_nothing(
    driver: QueueDriver,
) -> None:
    """It may have been replaced since it was noted as a follower."""
    child = await child_of(driver, b"unknown")
    other = driver.id(b"unknowN")
    before = driver.snapshot()
    await driver.resolve(Resolution(child, [other], b"error"), Resolution(child, [other], b""))
    assert driver.snapshot() == before
    await driver.resolve(Resolution(child, [], b"error"))
    assert state_of(driver, child) == TaskState.FAILED


async def test_blocked_task_that_was_cancelled_or_redriven_is_not_resolved(
    driver: QueueDriver,
) -> None:
    parents = await driver.enqueue(task(), task())
    cancelled, redriven = [await child_of(driver, parent) for parent in parents]
    await deliver(driver)
    await driver.cancel(cancelled, redriven)
    await driver.redrive(redriven, delay_ms=60_000)
    for _ in parents:
        await run(driver)
    await deliver(driver)
    state = driver.snapshot()
    assert state.state(cancelled) == TaskState.CANCELLED
    assert state.state(redriven) == TaskState.SCHEDULED


async def test_followed_task_is_pruned_after_its_followers_were_told(driver: QueueDriver) -> None:
    parent = await driver.enqueue_one()
    child = await child_of(driver, parent)
    await deliver(driver)
    await run(driver)
    driver.clock.advance(1)
    assert (await driver.prune())[1] == 0
    await deliver(driver)
    assert state_of(driver, child) == TaskState.PENDING
    driver.clock.advance(1)
    assert (await driver.prune())[1] == 1
    assert driver.snapshot().metas.keys() == {child}


async def test_pruning_goes_on_behind_tasks_that_are_still_to_be_told_of(
    driver: QueueDriver,
) -> None:
    names = await driver.enqueue(*[task() for _ in range(256)])
    await driver.follow(driver.id(b"unknown"), *names[:250])
    await driver.cancel(*names)
    driver.clock.advance(1)
    steps = [(await driver.prune(limit=4))[1:] for _ in range(3)]
    assert steps == [(4, True), (2, False), (0, False)]
    state = driver.snapshot()
    assert state.metas.keys() == set(names[:250])
    assert set(state.cancelled.values()) == {START_MS}


async def test_redriven_task_goes_on_being_followed(driver: QueueDriver) -> None:
    parent = await driver.enqueue_one()
    child = await child_of(driver, parent)
    await deliver(driver)
    await driver.cancel(parent)
    await driver.redrive(parent)
    await deliver(driver)
    assert state_of(driver, child) == TaskState.BLOCKED
    await run(driver)
    await deliver(driver)
    assert state_of(driver, child) == TaskState.PENDING


async def test_ends_are_told_to_the_outbox_by_every_way_that_ends_a_task(
    driver: QueueDriver,
) -> None:
    names = await driver.enqueue(
        *[task(max_attempts=1, priority=9) for _ in range(3)],
        *[task(expire_ms=START_MS + 1_000), task(), task()],
    )
    await driver.follow(driver.id(b"unknown"), *names)
    completed, failed, _ = await driver.take(3)
    await driver.complete(completed)
    await driver.fail(failed)
    await driver.cancel(names[4])
    driver.clock.advance(LEASE_MS)
    assert (await driver.reap_step()).owed == 2
    await driver.purge()
    assert await driver.sweep_step() == (1, False)
    assert {entry.name: entry.state for entry in await driver.owed()} == {
        names[0]: TaskState.COMPLETED,
        names[1]: TaskState.FAILED,
        names[2]: TaskState.FAILED,
        names[3]: TaskState.EXPIRED,
        names[4]: TaskState.CANCELLED,
        names[5]: TaskState.CANCELLED,
    }
