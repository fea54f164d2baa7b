"""The store's clock is set wrong, and right again: what was set before may come early or late once;
all else goes on in time, nothing is lost, and numbers never go back.
"""

from __future__ import annotations

import pytest

from codeq_grpc.core.task import TaskState
from tests.support.driver import LEASE_MS, QueueDriver, leases_of, task

pytestmark = pytest.mark.usefixtures("consistent")

HOUR = 3_600_000


async def touched_ahead(driver: QueueDriver) -> None:
    """The clock was an hour ahead for a while, in which the queue was used."""
    driver.clock.advance(HOUR)
    await driver.enqueue(task(), task())
    for lease in await driver.take(2):
        await driver.complete(lease)
    driver.clock.advance(-HOUR)


async def test_leases_end_in_time_after_a_step_forward_and_back(driver: QueueDriver) -> None:
    await touched_ahead(driver)
    await driver.enqueue_one()
    lease = await driver.take_one()
    driver.clock.advance(LEASE_MS - 1)
    assert await driver.reap() == []
    driver.clock.advance(1)
    assert await driver.reap() == [lease.name]


async def test_delays_end_in_time_after_a_step_forward_and_back(driver: QueueDriver) -> None:
    await touched_ahead(driver)
    due = driver.clock.ms + 5_000
    delayed, timed = await driver.enqueue(task(when=-5_000), task(when=due))
    driver.clock.advance(4_999)
    assert await driver.claim_names() == []
    driver.clock.advance(1)
    assert set(await driver.claim_names()) == {delayed, timed}


@pytest.mark.parametrize("step", [-HOUR, -3_000, -500])
async def test_no_lease_ends_early_when_the_clock_goes_back(driver: QueueDriver, step: int) -> None:
    await driver.enqueue_one()
    lease = await driver.take_one()
    driver.clock.advance(step)
    driver.clock.advance(LEASE_MS - 1)
    assert await driver.reap() == []
    assert (await driver.complete(lease)).word == b"DONE"


async def test_what_was_leased_before_a_step_back_waits_for_it_once(driver: QueueDriver) -> None:
    await driver.enqueue_one()
    lease = await driver.take_one()
    driver.clock.advance(-HOUR)
    driver.clock.advance(HOUR + LEASE_MS - 1)
    assert await driver.reap() == []
    driver.clock.advance(1)
    assert await driver.reap() == [lease.name]


async def test_numbers_and_fences_never_go_back(driver: QueueDriver) -> None:
    names, fences = [], []
    for step in (0, HOUR, -2 * HOUR, 1, -1_000, HOUR, -500):
        driver.clock.advance(step)
        names += await driver.enqueue(task(), task())
        fences += [lease.fence for lease in leases_of(await driver.claim(2))]
    assert names == sorted(set(names))
    assert fences == sorted(set(fences))
    assert len(fences) == len(names) == 14


async def test_what_comes_after_a_purge_is_not_taken_by_it(driver: QueueDriver) -> None:
    driver.clock.advance(HOUR)
    (purged,) = await driver.enqueue(task())
    assert await driver.purge() == 1
    driver.clock.advance(-HOUR)
    (kept,) = await driver.enqueue(task())
    assert await driver.claim_names() == [kept]
    await driver.sweep()
    (late,) = await driver.enqueue(task())
    states = await driver.reads.states(driver.queue, [purged, kept, late])
    assert states == [TaskState.CANCELLED, TaskState.IN_PROGRESS, TaskState.PENDING]
    lease = await driver.take_one()
    driver.clock.advance(LEASE_MS)
    assert lease.name in await driver.reap()


async def test_a_purge_after_a_step_back_takes_what_was_enqueued_ahead(
    driver: QueueDriver,
) -> None:
    driver.clock.advance(HOUR)
    (ahead,) = await driver.enqueue(task())
    driver.clock.advance(-HOUR)
    assert await driver.purge() == 1
    assert await driver.claim_names() == []
    await driver.sweep()
    assert await driver.reads.states(driver.queue, [ahead]) == [TaskState.CANCELLED]


async def test_a_claim_rate_holds_on_after_a_step_back(driver: QueueDriver) -> None:
    await driver.configure(max_claims_per_second=2.0)
    await driver.enqueue(*[task() for _ in range(20)])
    driver.clock.advance(HOUR)
    assert len(await driver.claim_names()) == 2
    driver.clock.advance(-HOUR)
    claimed = 0
    for _ in range(40):
        claimed += len(await driver.claim_names())
        driver.clock.advance(100)
    assert 7 <= claimed <= 8  # four seconds at two


async def test_rates_are_taken_on_after_a_step_back(driver: QueueDriver) -> None:
    for step in (0, HOUR, -HOUR):
        driver.clock.advance(step)
        await driver.promote()
    for _ in range(70):
        await driver.enqueue(task(), task(), task())
        driver.clock.advance(1_000)
        await driver.promote()
    assert (await driver.stats()).enqueue_rate == pytest.approx(3, rel=0.2)
