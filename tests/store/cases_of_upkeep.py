"""Cases of scripts that run when time passes, and of those for operators; see `cases.py`."""

from __future__ import annotations

from tests.store.making import (
    FAR_MS,
    LABELS,
    SOON_MS,
    UNKNOWN,
    Act,
    awaited,
    followed,
    forge,
    keyed,
    tasks_of_every_state,
    waiting,
    watching,
)
from tests.support.clock import START_MS
from tests.support.driver import LEASE_MS, QueueDriver, task


async def promoting(driver: QueueDriver) -> Act:
    await driver.enqueue(task(when=-1_000), task(when=-1_000, priority=9), task(when=-90_000))
    later = await driver.enqueue_one(when=-80_000)
    await waiting(driver)
    driver.clock.advance(1_000)
    forge(driver, "z", UNKNOWN, later)
    return driver.promote


async def promoting_after_a_purge(driver: QueueDriver) -> Act:
    names = await driver.enqueue(
        task(when=-1_000, expire_ms=FAR_MS), task(when=-2_000), task(when=-1_000)
    )
    await awaited(driver, *names)
    await followed(driver, *names)
    await driver.purge()
    await driver.enqueue(task(when=-500))
    await watching(driver)
    driver.clock.advance(1_000)
    return driver.promote


async def reaping(driver: QueueDriver) -> Act:
    """They have a key, of which nobody keeps count."""
    new = [task(priority=i % 3, max_attempts=1 + i % 2, concurrency_key="k") for i in range(6)]
    names = await driver.enqueue(*new)
    await driver.take(6)
    await awaited(driver, *names)
    await waiting(driver)
    driver.clock.advance(LEASE_MS)
    await driver.enqueue(task(priority=9), task(priority=9))
    held, ended = await driver.take(2)
    await driver.complete(ended)
    forge(driver, "l", UNKNOWN, held.name, ended.name)
    return driver.reap


async def reaping_the_expired(driver: QueueDriver) -> Act:
    """Tasks of every state expire; a key is taken, and one task is to be cancelled."""
    await driver.configure(max_in_progress_per_key=1)
    parent = await driver.enqueue_one(priority=0)
    new = [task(expire_ms=SOON_MS, concurrency_key="k", labels=LABELS) for _ in range(4)]
    timed = [task(timeout_ms=2_000), task(), task(concurrency_key="k")]
    names = await driver.enqueue(*new, *timed)
    await driver.enqueue(
        task(expire_ms=SOON_MS, when=-2_000),
        task(expire_ms=SOON_MS, depends_on=(driver.id(parent),)),
        task(expire_ms=SOON_MS + 1),
    )
    for lease in await driver.take(3):
        await driver.fail(lease, b"first", delay_ms=0)
    leases = await driver.take(3)
    await driver.cancel(leases[-1].name)
    await followed(driver, *names)
    await watching(driver)
    forge(driver, "e", UNKNOWN, names[-1])
    driver.clock.advance(SOON_MS - START_MS)
    return driver.reap


async def reaping_after_a_purge(driver: QueueDriver) -> Act:
    await driver.configure(max_in_progress_per_key=1)
    names = await driver.enqueue(
        *[task(expire_ms=SOON_MS, concurrency_key="k", when=-i * 1_000) for i in range(3)],
        task(concurrency_key="k"),
    )
    await awaited(driver, *names)
    await driver.purge()
    driver.clock.advance(SOON_MS - START_MS)
    return driver.reap


async def pruning(driver: QueueDriver) -> Act:
    await driver.enqueue(task(), task(max_attempts=1), task())
    completed, failed, _ = await driver.take(3)
    await driver.complete(completed, b"result")
    await driver.fail(failed, b"error")
    forge(driver, "t", UNKNOWN, failed.name)
    for lease in (completed, failed):
        driver.admin.call("HSET", driver.key("g"), lease.name, "srv")
    driver.clock.advance(1)
    return driver.prune


async def pruning_keys_and_labels(driver: QueueDriver) -> Act:
    names = await driver.enqueue(*[keyed(f"i{i}", ttl_ms=i * 1_000) for i in range(4)])
    child = await followed(driver, names[3])
    await driver.cancel(*names)
    await driver.enqueue(keyed("later", ttl_ms=1_000))
    assert driver.snapshot().state(child)
    driver.clock.advance(1_000)
    return driver.prune


async def cancelling(driver: QueueDriver) -> Act:
    names = await tasks_of_every_state(driver)
    return lambda: driver.cancel(*names, UNKNOWN)


async def cancelling_one_let_in(driver: QueueDriver) -> Act:
    """It was to go before one that is parked, which comes in its place."""
    await driver.configure(max_in_progress_per_key=1)
    first, *_ = await driver.enqueue(*[task(concurrency_key="k") for _ in range(3)])
    lease = await driver.take_one()
    await driver.claim(2)
    await driver.complete(lease)
    (let_in,) = set(driver.snapshot().pending)
    await waiting(driver)
    return lambda: driver.cancel(first, let_in)


async def redriving(driver: QueueDriver) -> Act:
    names = await tasks_of_every_state(driver)
    await driver.cancel(*names[4:6])
    return lambda: driver.redrive(*names, UNKNOWN, delay_ms=0)


async def redriving_with_delay(driver: QueueDriver) -> Act:
    names = await tasks_of_every_state(driver)
    await driver.purge()
    return lambda: driver.redrive(*names, delay_ms=500)


async def purging(driver: QueueDriver) -> Act:
    await tasks_of_every_state(driver)
    return driver.purge


async def sweeping_after_a_purge(driver: QueueDriver) -> Act:
    await tasks_of_every_state(driver)
    await driver.enqueue(*[task(concurrency_key="k", when=-i) for i in range(3)])
    await driver.purge()
    await driver.enqueue(*[task(concurrency_key="k")] * 2)
    return driver.sweep


async def sweeping_after_a_change(driver: QueueDriver) -> Act:
    await driver.configure(max_in_progress_per_key=1)
    await driver.enqueue(*[task(concurrency_key=f"k{i % 2}", priority=i) for i in range(8)])
    await driver.claim(8)
    await waiting(driver)
    await driver.configure(max_in_progress_per_key=3)
    await waiting(driver)
    return lambda: driver.sweep(2)
