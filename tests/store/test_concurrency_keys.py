"""Concurrency keys: at most so many tasks of one key run at once; the others are parked."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from codeq_grpc.core.limits import IN_PROGRESS_PER_KEY_MAX
from codeq_grpc.core.task import Ending, TaskState
from codeq_grpc.store.tasks import Report
from codeq_grpc.store.wakeups import work_key
from tests.support.clock import START_MS
from tests.support.consistency import stale_entries
from tests.support.driver import LEASE_MS, Lease, Packed, QueueDriver, leases_of, task

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.admin import Ear

pytestmark = pytest.mark.usefixtures("consistent")

ENDS = ["complete", "fail", "fail-later", "abandon", "abandon-later", "cancel", "expire"]


def of_key(key: str = "k", *, priority: int = 5, max_attempts: int = 3) -> Packed:
    return task(priority=priority, max_attempts=max_attempts, concurrency_key=key)


async def limited(driver: QueueDriver, limit: int, *new: Packed) -> list[bytes]:
    """Names of tasks in a queue with a limit per key."""
    await driver.configure(max_in_progress_per_key=limit)
    return await driver.enqueue(*new)


def parked(driver: QueueDriver) -> set[bytes]:
    return {entry.name for entry in driver.snapshot().parked}


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_no_more_of_one_key_run_at_once_than_the_limit(
    driver: QueueDriver, limit: int
) -> None:
    new = [of_key("a"), of_key("b"), task()]
    names = await limited(driver, limit, *new * 5)
    assert await driver.claim_names() == sorted(
        [*names[0::3][:limit], *names[1::3][:limit], *names[2::3]]
    )
    assert await driver.claim_names() == []
    state = driver.snapshot()
    assert state.holders == {b"a": names[0::3][:limit], b"b": names[1::3][:limit]}
    assert {entry.name for entry in state.parked} == {*names[0::3][limit:], *names[1::3][limit:]}
    assert state.pending == []
    assert (await driver.stats()).pending == 10 - 2 * limit


async def test_without_a_limit_all_run(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[of_key() for _ in range(20)])
    assert await driver.claim_names() == names
    assert driver.snapshot().parked == []


async def test_keys_are_told_apart(driver: QueueDriver) -> None:
    keys = ["a", "aa", "a\1", "ä", "\1", "A"]
    names = await limited(driver, 1, *[of_key(key) for key in keys * 2])
    leases = await driver.take(6)
    assert await driver.claim_names() == []
    await driver.complete(leases[0])
    assert await driver.claim_names() == [names[6]]


async def end(driver: QueueDriver, lease: Lease, how: str) -> None:
    """The lease, in one of the ways."""
    match how:
        case "complete":
            await driver.complete(lease)
        case "fail" | "fail-later":
            await driver.fail(lease, delay_ms=0 if how == "fail" else 600_000)
        case "abandon" | "abandon-later":
            await driver.abandon(lease, delay_ms=0 if how == "abandon" else 600_000)
        case "cancel":
            await driver.cancel(lease.name)
            await driver.fail(lease)
        case _:
            driver.clock.advance(LEASE_MS)
            await driver.reap()


@pytest.mark.parametrize("how", ENDS)
async def test_every_end_of_a_lease_lets_the_next_one_in_and_wakes_who_waits(
    driver: QueueDriver, listen: Callable[[str], Ear], how: str
) -> None:
    names = await limited(driver, 1, *[of_key() for _ in range(3)])
    lease = await driver.take_one()
    assert await driver.claim_names() == []
    ear = listen("srv")
    await driver.claim(wake="srv")
    await end(driver, lease, how)
    assert ear.heard() == [work_key(driver.queue)]
    state = driver.snapshot()
    assert state.holders == {}
    assert names[1] in state.pending
    assert parked(driver) == {names[2]}
    assert len(await driver.claim_names()) == 1


async def test_parked_tasks_come_by_priority_and_then_by_age(driver: QueueDriver) -> None:
    priorities = [3, 7, 3, 0, 9, 7, 5]
    names = await limited(driver, 1, of_key(priority=9), *[of_key(priority=p) for p in priorities])
    expected = sorted(names[1:], key=lambda name: (-driver.meta(name).priority, names.index(name)))
    lease = await driver.take_one()
    assert await driver.claim_names() == []
    ran = []
    for _ in priorities:
        await driver.complete(lease)
        lease = await driver.take_one()
        ran.append(lease.name)
    assert ran == expected


async def test_task_that_was_parked_goes_before_others_of_its_priority(
    driver: QueueDriver,
) -> None:
    names = await limited(driver, 1, of_key(), of_key(), of_key())
    lease = await driver.take_one()
    assert await driver.claim_names() == []
    others = await driver.enqueue(task(), of_key("other"))
    await driver.complete(lease)
    assert await driver.claim_names() == [names[1], *others]


async def test_newcomer_of_higher_priority_takes_the_place_and_the_other_is_parked_again(
    driver: QueueDriver,
) -> None:
    names = await limited(driver, 1, of_key(), of_key())
    lease = await driver.take_one()
    assert await driver.claim_names() == []
    await driver.complete(lease)
    (urgent,) = await driver.enqueue(of_key(priority=9))
    first = await driver.take_one()
    assert first.name == urgent
    assert await driver.claim_names() == []
    await driver.complete(first)
    assert await driver.claim_names() == [names[1]]


@pytest.mark.parametrize("how", ["cancel", "expire", "purge", "replace-by-cancel-and-redrive"])
async def test_one_that_was_let_in_and_never_runs_lets_the_next_in(
    driver: QueueDriver, how: str
) -> None:
    soon = START_MS + 1_000
    names = await limited(
        driver,
        1,
        of_key(),
        task(concurrency_key="k", expire_ms=soon),
        of_key(),
        of_key(),
    )
    lease = await driver.take_one()
    assert await driver.claim_names() == []
    await driver.complete(lease)
    assert parked(driver) == set(names[2:])
    if how == "cancel":
        await driver.cancel(names[1])
    elif how == "expire":
        driver.clock.ms = soon
        assert await driver.claim_names() == []
        await driver.reap()
    elif how == "purge":
        await driver.purge()
        assert await driver.claim_names() == []
        names[2:] = await driver.enqueue(of_key(), of_key())
        await driver.sweep()
    else:
        await driver.cancel(names[1])
        await driver.redrive(names[1], delay_ms=60_000)
    assert await driver.claim_names() == [names[2]]


@pytest.mark.parametrize("how", ["cancel", "expire", "purge"])
async def test_parked_task_that_ends_is_no_longer_parked(driver: QueueDriver, how: str) -> None:
    soon = START_MS + 1_000
    new = [task(concurrency_key="k", expire_ms=soon)] * 2
    names = await limited(driver, 1, of_key(), *new, of_key())
    lease = await driver.take_one()
    assert await driver.claim_names() == []
    if how == "cancel":
        await driver.cancel(*names[1:3])
    elif how == "expire":
        driver.clock.ms = soon
        await driver.reap()
    else:
        await driver.purge()
        names[3:] = await driver.enqueue(of_key())
        assert await driver.claim_names() == []
        await driver.sweep()
    assert parked(driver) == {names[3]}
    await driver.complete(lease)
    assert await driver.claim_names() == [names[3]]


async def test_raised_limit_lets_parked_tasks_in(driver: QueueDriver) -> None:
    names = await limited(driver, 1, *[of_key(f"k{i % 2}") for i in range(10)])
    await driver.claim_names()
    assert len(parked(driver)) == 8
    await driver.configure(max_in_progress_per_key=3)
    assert (await driver.promote()).sweep
    await driver.sweep(3)
    assert not (await driver.promote()).sweep
    assert sorted(await driver.claim_names()) == names[2:6]


async def test_limit_taken_away_lets_all_parked_tasks_in(driver: QueueDriver) -> None:
    names = await limited(driver, 1, *[of_key() for _ in range(1_300)])
    await driver.claim_names()
    await driver.claim_names()
    while await driver.claim_names():
        pass
    await driver.configure()
    await driver.sweep(250)
    claimed = [name for _ in range(4) for name in await driver.claim_names()]
    assert (sorted(claimed), parked(driver)) == (names[1:], set())


async def test_limit_taken_away_lets_all_in_though_many_hold_the_key(driver: QueueDriver) -> None:
    names = await limited(driver, 600, *[of_key() for _ in range(700)])
    assert len(await driver.claim_names()) == 500
    assert len(await driver.claim_names()) == 100
    assert len(parked(driver)) == 100
    await driver.configure()
    await driver.sweep()
    assert await driver.claim_names() == names[600:]


async def test_lowered_limit_holds_for_new_claims_only(driver: QueueDriver) -> None:
    await limited(driver, 3, *[of_key() for _ in range(5)])
    leases = await driver.take(3)
    await driver.configure(max_in_progress_per_key=1)
    assert await driver.claim_names() == []
    for lease in leases[:2]:
        await driver.complete(lease)
        await driver.sweep()
        assert await driver.claim_names() == []
    await driver.complete(leases[2])
    assert len(await driver.claim_names()) == 1


async def test_limit_lowered_while_as_many_as_may_be_hold_a_key(driver: QueueDriver) -> None:
    await limited(driver, IN_PROGRESS_PER_KEY_MAX, *[of_key() for _ in range(1_000)])
    leases = [*await driver.take(500), *await driver.take(500)]
    await driver.configure(max_in_progress_per_key=1)
    (other, last) = await driver.enqueue(of_key("other"), of_key())
    assert await driver.claim_names() == [other]
    for at in (0, 500):
        assert await driver.claim_names() == []
        ended = [Report(*lease, Ending.COMPLETE) for lease in leases[at : at + 500]]
        await driver.report(*ended)
    assert await driver.claim_names() == [last]


async def test_limit_set_while_tasks_run_counts_from_then_on(driver: QueueDriver) -> None:
    """Without a limit nobody counts."""
    names = await driver.enqueue(*[of_key() for _ in range(5)])
    first, second = await driver.take(2)
    await driver.configure(max_in_progress_per_key=1)
    assert await driver.claim_names() == names[2:3]
    await driver.complete(first)
    await driver.complete(second)
    assert driver.snapshot().holders == {b"k": names[2:3]}
    assert await driver.claim_names() == []


async def test_holder_whose_task_does_not_run_is_found_out(driver: QueueDriver) -> None:
    """As an aborted script may leave it: it ended, or it is gone, or it is pending again."""
    names = await limited(driver, 3, of_key("other"), *[of_key() for _ in range(4)])
    stale = names[0] + b"unknown" + names[1]
    driver.admin.call("HSET", driver.key("k"), "k", stale)
    await driver.take_one()
    assert await driver.claim_names() == names[1:4]
    assert driver.snapshot().holders[b"k"] == names[1:4]
    assert parked(driver) == {names[4]}


async def test_holder_whose_task_does_not_run_keeps_no_parked_task_out(
    driver: QueueDriver,
) -> None:
    names = await limited(driver, 1, of_key(), of_key(), of_key("other"))
    lease, _ = await driver.take(2)
    assert await driver.claim_names() == []
    driver.admin.call("HSET", driver.key("k"), "k", lease.name + b"unknown")
    await driver.complete(lease)
    assert await driver.claim_names() == [names[1]]


async def test_tasks_of_a_full_key_do_not_hide_others_behind_them(driver: QueueDriver) -> None:
    names = await limited(driver, 1, *[of_key() for _ in range(400)], task(), of_key("other"))
    assert await driver.claim_names(1) == names[:1]
    claimed = await driver.claim_names(2)
    assert claimed == names[400:]
    assert len(parked(driver)) == 399


async def test_entries_looked_at_in_one_claim_are_bounded(
    driver: QueueDriver, listen: Callable[[str], Ear]
) -> None:
    """It says: come again, instead of that the queue is empty."""
    names = await limited(driver, 1, *[of_key() for _ in range(5_000)], task())
    await driver.take_one()
    claims = []
    while not (claimed := await driver.claim(500, wake="srv")).tasks:
        claims.append((claimed.empty, claimed.armed))
    assert claims == [(False, False)] * 9
    assert [lease.name for lease in leases_of(claimed)] == names[-1:]


async def test_batch_of_reports_lets_in_as_many_as_there_is_room(driver: QueueDriver) -> None:
    names = await limited(driver, 2, *[of_key(f"k{i % 50}") for i in range(500)])
    leases = await driver.take(100)
    assert await driver.claim_names() == []
    await driver.report(*[Report(*lease, Ending.COMPLETE) for lease in leases])
    assert sorted(await driver.claim_names()) == names[100:200]
    assert stale_entries(driver.snapshot()) == []


async def test_key_is_told_with_the_lease_and_survives_a_heartbeat(driver: QueueDriver) -> None:
    names = await limited(driver, 1, of_key(), of_key())
    lease = await driver.take_one()
    driver.clock.advance(LEASE_MS - 1)
    await driver.heartbeat(lease)
    driver.clock.advance(LEASE_MS - 1)
    await driver.reap()
    assert await driver.claim_names() == []
    assert driver.snapshot().state(names[1]) == TaskState.PENDING


@pytest.mark.timeout(120)
async def test_10_000_tasks_under_1_000_keys_all_run_and_never_two_of_one_key(
    driver: QueueDriver,
) -> None:
    chance = random.Random(1)
    keys = [f"k{i % 1_000}" for i in range(10_000)]
    chance.shuffle(keys)
    await driver.configure(max_in_progress_per_key=1)
    key_of: dict[bytes, str] = {}
    for at in range(0, 10_000, 1_000):
        part = keys[at : at + 1_000]
        new = [of_key(key, priority=chance.randrange(10)) for key in part]
        key_of |= dict(zip(await driver.enqueue(*new), part, strict=True))
    held: list[Lease] = []
    ran: list[bytes] = []
    while len(ran) < 10_000:
        claimed = await driver.claim(500)
        held += leases_of(claimed)
        assert held
        assert len({key_of[lease.name] for lease in held}) == len(held)
        chance.shuffle(held)
        done, held = held[:400], held[400:]
        await driver.report(*[Report(*lease, Ending.COMPLETE) for lease in done])
        ran += [lease.name for lease in done]
    assert len(set(ran)) == 10_000
