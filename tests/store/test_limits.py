"""max_in_progress, max_claims_per_second and max_backlog of a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codeq_grpc.core.task import Ending, TaskState
from codeq_grpc.store.tasks import Report, Special
from codeq_grpc.store.wakeups import work_key
from tests.support.clock import START_MS
from tests.support.driver import LEASE_MS, QueueDriver, task

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.admin import Ear

pytestmark = pytest.mark.usefixtures("consistent")


async def test_no_more_leases_at_once_than_the_limit(driver: QueueDriver) -> None:
    await driver.configure(max_in_progress=3)
    names = await driver.enqueue(*[task() for _ in range(5)])
    assert await driver.claim_names(2) == names[:2]
    assert await driver.claim_names() == names[2:3]
    claimed = await driver.claim(wake="srv")
    assert (claimed.tasks, claimed.armed) == ([], True)


@pytest.mark.parametrize("how", ["complete", "fail", "abandon", "cancel", "expire"])
async def test_every_end_of_a_lease_makes_room_and_wakes_one_who_waits(
    driver: QueueDriver, listen: Callable[[str], Ear], how: str
) -> None:
    await driver.configure(max_in_progress=1)
    await driver.enqueue(task(max_attempts=1), task(), task())
    lease = await driver.take_one()
    ear, other = listen("srv"), listen("other")
    await driver.claim(wake="srv")
    driver.clock.advance(1)
    await driver.claim(wake="other")
    if how == "complete":
        await driver.complete(lease)
    elif how == "fail":
        await driver.fail(lease)
    elif how == "abandon":
        await driver.abandon(lease, delay_ms=60_000)
    elif how == "cancel":
        await driver.cancel(lease.name)
        await driver.fail(lease)
    else:
        driver.clock.advance(LEASE_MS)
        await driver.reap()
    assert (ear.heard(), other.heard()) == ([work_key(driver.queue)], [])
    assert len(await driver.claim_names()) == 1


async def test_limit_raised_lets_more_run_and_lowered_takes_nothing_back(
    driver: QueueDriver,
) -> None:
    await driver.enqueue(*[task() for _ in range(9)])
    await driver.configure(max_in_progress=2)
    assert len(await driver.claim_names()) == 2
    await driver.configure(max_in_progress=4)
    assert len(await driver.claim_names()) == 2
    await driver.configure(max_in_progress=1)
    assert await driver.claim_names() == []
    assert len(driver.snapshot().leases) == 4
    await driver.configure()
    assert len(await driver.claim_names()) == 5


async def test_claims_are_as_many_a_second_as_the_rate_allows(driver: QueueDriver) -> None:
    """The bucket is full at first: one second's worth, of which nothing more is saved up."""
    await driver.configure(max_claims_per_second=10.0)
    await driver.enqueue(*[task() for _ in range(100)])
    assert len(await driver.claim_names()) == 10
    claimed = await driver.claim(wake="srv")
    assert (claimed.tasks, claimed.look_at_ms, claimed.armed) == ([], START_MS + 100, False)
    driver.clock.advance(99)
    assert await driver.claim_names() == []
    driver.clock.advance(1)
    assert len(await driver.claim_names()) == 1
    driver.clock.advance(350)
    assert len(await driver.claim_names()) == 3
    assert (await driver.claim()).look_at_ms == driver.clock.ms + 50
    driver.clock.advance(86_400_000)
    assert len(await driver.claim_names()) == 10


async def test_rate_below_one_a_second_lets_one_through_at_a_time(driver: QueueDriver) -> None:
    await driver.configure(max_claims_per_second=0.25)
    await driver.enqueue(*[task() for _ in range(3)])
    assert len(await driver.claim_names()) == 1
    assert (await driver.claim()).look_at_ms == START_MS + 4_000
    driver.clock.advance(60_000)
    assert len(await driver.claim_names()) == 1


async def test_claims_over_a_long_time_come_to_the_rate(driver: QueueDriver) -> None:
    await driver.configure(max_claims_per_second=7.0)
    await driver.enqueue(*[task() for _ in range(500)])
    claimed = len(await driver.claim_names())
    for _ in range(600):
        driver.clock.advance(17)
        claimed += len(await driver.claim_names())
    assert claimed == 7 + int(600 * 17 * 7 / 1_000)


async def test_only_what_is_claimed_uses_the_rate_up(driver: QueueDriver) -> None:
    await driver.configure(max_claims_per_second=5.0)
    for _ in range(20):
        assert await driver.claim_names() == []
    await driver.enqueue(*[task() for _ in range(2)])
    assert len(await driver.claim_names()) == 2
    await driver.enqueue(*[task() for _ in range(9)])
    assert len(await driver.claim_names()) == 3


async def test_queue_that_is_empty_within_its_rate_arms_the_wake_up(driver: QueueDriver) -> None:
    await driver.configure(max_claims_per_second=5.0)
    assert (await driver.claim(wake="srv")).armed


async def test_rate_is_not_upset_by_a_clock_that_goes_back(driver: QueueDriver) -> None:
    await driver.configure(max_claims_per_second=5.0)
    await driver.enqueue(*[task() for _ in range(20)])
    assert len(await driver.claim_names()) == 5
    driver.clock.advance(-3_600_000)
    assert await driver.claim_names() == []
    driver.clock.advance(200)
    assert len(await driver.claim_names()) == 1
    driver.clock.advance(3_600_000)
    assert len(await driver.claim_names()) == 5


async def test_tasks_beyond_the_backlog_are_refused_one_by_one(driver: QueueDriver) -> None:
    await driver.configure(max_backlog=3)
    await driver.enqueue(task())
    added = await driver.add(*[task(when=-(i % 2) * 9_000) for i in range(4)])
    assert added.specials == {
        2: Special(b"FULL", added.names[2], 0),
        3: Special(b"FULL", added.names[3], 0),
    }
    assert not added.refused
    assert len(driver.snapshot().metas) == 3


async def test_atomic_batch_beyond_the_backlog_is_refused_whole(driver: QueueDriver) -> None:
    await driver.configure(max_backlog=3)
    before = driver.snapshot()
    added = await driver.add(*[task()] * 4, atomic=True)
    assert (added.refused, list(added.specials)) == (True, [3])
    assert driver.snapshot() == before
    assert not (await driver.add(*[task()] * 3, atomic=True)).refused


async def test_backlog_counts_what_has_not_ended_wherever_it_is(driver: QueueDriver) -> None:
    await driver.configure(max_backlog=4)
    unknown = (driver.id(b"unknown"),)
    names = await driver.enqueue(task(), task(when=-9_000), task(depends_on=unknown), task())
    lease = await driver.take_one()
    assert (await driver.add(task())).specials[0].word == b"FULL"
    await driver.fail(lease, delay_ms=5_000)
    assert (await driver.add(task())).specials[0].word == b"FULL"
    await driver.cancel(*names[:2])
    assert (await driver.add(task(), task())).specials == {}
    assert (await driver.add(task())).specials[0].word == b"FULL"


async def test_purged_tasks_make_room_in_the_backlog_before_they_are_swept(
    driver: QueueDriver,
) -> None:
    await driver.configure(max_backlog=3)
    await driver.enqueue(task(), task(when=-5_000), task())
    await driver.take_one()
    await driver.purge()
    for _ in range(2):
        assert (await driver.add(task())).specials == {}
    assert (await driver.add(task())).specials[0].word == b"FULL"
    await driver.sweep()
    assert (await driver.add(task())).specials[0].word == b"FULL"


async def test_retries_and_redrives_are_never_refused(driver: QueueDriver) -> None:
    await driver.configure(max_backlog=1)
    name = await driver.enqueue_one()
    await driver.cancel(name)
    other = await driver.enqueue_one()
    assert await driver.redrive(name) == [(b"REDRIVEN", TaskState.PENDING)]
    leases = await driver.take(2)
    await driver.report(*[Report(*lease, Ending.FAIL, b"", 0) for lease in leases])
    assert set(await driver.claim_names()) == {name, other}
