"""Rates over the last minute, from samples that the promoter takes."""

from __future__ import annotations

import pytest

from codeq_grpc.core.task import Ending
from codeq_grpc.store.tasks import Report
from tests.support.driver import QueueDriver, task

pytestmark = pytest.mark.usefixtures("consistent")


async def rates(driver: QueueDriver) -> tuple[float, float, float]:
    counts = await driver.stats()
    return counts.enqueue_rate, counts.complete_rate, counts.attempt_fail_rate


async def work(driver: QueueDriver, enqueued: int, completed: int, failed: int) -> None:
    await driver.enqueue(*[task(max_attempts=1)] * enqueued)
    leases = await driver.take(completed + failed)
    endings = [Ending.COMPLETE] * completed + [Ending.FAIL] * failed
    await driver.report(
        *[Report(*lease, ending) for lease, ending in zip(leases, endings, strict=True)]
    )


def samples(driver: QueueDriver) -> int:
    return len(driver.snapshot().settings.get(b"samples", b"")) // 32


async def test_steady_work_has_its_rates(driver: QueueDriver) -> None:
    for _ in range(120):
        await work(driver, 6, 4, 2)
        driver.clock.advance(1_000)
        await driver.promote()
    assert await rates(driver) == pytest.approx((6, 4, 2), rel=0.05)


async def test_rates_fall_to_nothing_within_two_minutes_after_work_ended(
    driver: QueueDriver,
) -> None:
    for _ in range(30):
        await work(driver, 2, 2, 0)
        driver.clock.advance(1_000)
        await driver.promote()
    before = await rates(driver)
    assert before[0] > 0
    for _ in range(12):
        driver.clock.advance(10_000)
        await driver.promote()
    assert await rates(driver) == (0, 0, 0)


async def test_first_minute_counts_from_the_first_sample(driver: QueueDriver) -> None:
    await driver.promote()
    driver.clock.advance(10_000)
    await work(driver, 20, 10, 0)
    assert await rates(driver) == (2.0, 1.0, 0.0)


async def test_queue_that_was_never_sampled_counts_all_as_of_the_last_minute(
    driver: QueueDriver,
) -> None:
    await work(driver, 6, 3, 3)
    assert await rates(driver) == (0.1, 0.05, 0.05)


async def test_work_after_a_long_silence_is_of_the_last_minute(driver: QueueDriver) -> None:
    """No sample was taken while nothing happened."""
    await work(driver, 60, 0, 0)
    for _ in range(100):
        driver.clock.advance(10_000)
        await driver.promote()
    await work(driver, 30, 0, 0)
    assert (await rates(driver))[0] == pytest.approx(0.5)


async def test_one_sample_every_ten_seconds_and_seven_of_them(driver: QueueDriver) -> None:
    for i in range(200):
        await driver.enqueue_one()
        await driver.promote()
        assert samples(driver) == min(7, 1 + i // 10)
        driver.clock.advance(1_000)


async def test_idle_queue_takes_no_samples_and_writes_nothing(driver: QueueDriver) -> None:
    await driver.enqueue_one()
    for _ in range(20):
        driver.clock.advance(10_000)
        await driver.promote()
    before = driver.snapshot()
    for _ in range(5):
        driver.clock.advance(10_000)
        await driver.promote()
    assert driver.snapshot() == before
