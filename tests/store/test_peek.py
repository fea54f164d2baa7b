"""A peek tells when somebody must look at a queue, and changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codeq_grpc.store.keys import Queue
from tests.support.clock import START_MS
from tests.support.driver import LEASE_MS, QueueDriver, task

if TYPE_CHECKING:
    from tests.support.admin import Admin

pytestmark = pytest.mark.usefixtures("consistent")


async def peek(driver: QueueDriver) -> int:
    """When to look, in ms after the start; -1 for never."""
    before = driver.admin.call("HGETALL", driver.key("s"))
    ((now, time_ms),) = await driver.upkeep.peek([driver.queue])
    assert now == driver.clock.ms
    assert driver.admin.call("HGETALL", driver.key("s")) == before
    return time_ms - START_MS if time_ms else -1


async def sampled(driver: QueueDriver) -> None:
    """Takes the sample that a change of the totals asks for."""
    await driver.promote()


async def test_nothing_is_to_be_done_in_a_queue_that_does_not_exist(driver: QueueDriver) -> None:
    assert await driver.upkeep.peek([Queue("acme", "NONE")]) == [(START_MS, START_MS)]
    await sampled(driver)
    assert await peek(driver) == -1


async def test_pending_tasks_need_no_look(driver: QueueDriver) -> None:
    await driver.enqueue(task())
    await sampled(driver)
    assert await peek(driver) == -1


async def test_the_soonest_of_what_is_due_is_told(driver: QueueDriver) -> None:
    await driver.enqueue(task(when=-50_000))
    await sampled(driver)
    assert await peek(driver) == 50_000
    await driver.enqueue(task())
    await driver.take_one()
    assert await peek(driver) == LEASE_MS
    await driver.enqueue(task(expire_ms=START_MS + 7_000))
    assert await peek(driver) == 7_000


async def test_a_purge_asks_for_a_look_at_once(driver: QueueDriver) -> None:
    await driver.enqueue(task())
    await sampled(driver)
    await driver.purge()
    driver.clock.advance(1)  # the store's clock moves past the mark of a purge
    assert await peek(driver) == 1


async def test_totals_that_changed_ask_for_a_sample_every_ten_seconds(driver: QueueDriver) -> None:
    await driver.enqueue(task())
    assert await peek(driver) == 0
    await sampled(driver)
    await driver.enqueue(task())
    assert await peek(driver) == -1
    driver.clock.advance(10_000)
    assert await peek(driver) == 10_000


async def test_one_broken_queue_spoils_no_other(driver: QueueDriver, admin: Admin) -> None:
    await sampled(driver)
    broken = Queue("acme", "BROKEN", 9)
    admin.call("SET", broken.keys["z"], "no sorted set")
    told = await driver.upkeep.peek([driver.queue, broken, driver.queue])
    assert told == [(START_MS, 0), (1, 1), (START_MS, 0)]
    admin.call("DEL", broken.keys["z"])


async def test_a_store_that_forgot_its_scripts_is_told_again(driver: QueueDriver) -> None:
    await sampled(driver)
    driver.admin.call("SCRIPT", "FLUSH")
    assert await driver.upkeep.peek([driver.queue] * 3) == [(START_MS, 0)] * 3
