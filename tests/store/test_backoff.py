"""The delay that the report script computes is that of core/retry.py."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from codeq_grpc.core.retry import RetryPolicy, RetryWishes
from codeq_grpc.core.task import Ending
from codeq_grpc.store import scripts
from codeq_grpc.store.rows import pack_policy
from tests.support.driver import QueueDriver, task

if TYPE_CHECKING:
    from tests.support.clock import ClockedConnection

pytestmark = pytest.mark.usefixtures("consistent")

RANDOM = [0, 1, 1 << 16, 1 << 31, (1 << 32) - 1]
POLICIES = [
    RetryPolicy(),
    RetryPolicy(initial_backoff_ms=1, max_backoff_ms=1),
    RetryPolicy(initial_backoff_ms=0),
    RetryPolicy(multiplier=1.0, jitter=1.0),
    RetryPolicy(multiplier=1.7, jitter=0.1, initial_backoff_ms=333),
    RetryPolicy(multiplier=100.0, max_backoff_ms=86_400_000, initial_backoff_ms=86_400_000),
]


async def delay_of(
    driver: QueueDriver, connection: ClockedConnection, policy: RetryPolicy, random: int
) -> int:
    """Delay after one more failed attempt, with the random number of our choice."""
    lease = await driver.take_one()
    head = struct.pack(">BBQQIH", Ending.FAIL, 0, lease.fence, 0, random, 0)
    names = [driver.key(suffix) for suffix in scripts.REPORT.suffixes]
    await connection.run(scripts.REPORT, names, [pack_policy(policy), lease.name, head, b""])
    return driver.meta(lease.name).time_ms - driver.clock.ms


@pytest.mark.parametrize("policy", POLICIES, ids=range(len(POLICIES)))
@pytest.mark.parametrize("random", RANDOM)
async def test_delay_is_that_of_the_formula(
    driver: QueueDriver, clocked: ClockedConnection, policy: RetryPolicy, random: int
) -> None:
    await driver.enqueue(task(max_attempts=255))
    for attempt in range(1, 13):
        delay = await delay_of(driver, clocked, policy, random)
        assert delay == pytest.approx(policy.delay_ms(attempt, random / (1 << 32)), abs=1)
        driver.clock.advance(max(delay, 1))


async def test_last_attempts_of_many_do_not_overflow(
    driver: QueueDriver, clocked: ClockedConnection
) -> None:
    policy = RetryPolicy(multiplier=100.0, jitter=0, max_backoff_ms=86_400_000)
    await driver.enqueue(task(max_attempts=101))
    delays = set()
    for _ in range(100):
        delays.add(await delay_of(driver, clocked, policy, 0))
        driver.clock.advance(86_400_000)
    assert delays == {1_000, 100_000, 10_000_000, 86_400_000}


async def test_delays_are_spread_over_the_range_of_the_jitter(driver: QueueDriver) -> None:
    policy = RetryPolicy(initial_backoff_ms=10_000, jitter=0.5)
    wishes = RetryWishes(initial_backoff_ms=10_000, jitter=0.5)
    await driver.enqueue(*[task(retry=wishes)] * 300)
    for lease in await driver.take(300):
        await driver.fail(lease)
    delays = [due - driver.clock.ms for due in driver.snapshot().scheduled.values()]
    least, most = policy.delay_ms(1, 1.0), policy.delay_ms(1, 0.0)
    assert least <= min(delays) < least + 1_000
    assert most - 1_000 < max(delays) <= most
    assert len(set(delays)) > 200
