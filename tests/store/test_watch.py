"""watch: servers hear of every change in a queue while they watch it, and of none after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codeq_grpc.store.wakeups import changed_key
from tests.support.courier import deliver
from tests.support.driver import LEASE_MS, QueueDriver, task

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.admin import Ear

pytestmark = pytest.mark.usefixtures("consistent")


def message(driver: QueueDriver, *names: bytes) -> bytes:
    return b"~" + changed_key(driver.queue) + b"\0" + b"".join(names)


async def watch(driver: QueueDriver, server: str = "srv", for_ms: int = 3_600_000) -> None:
    await driver.reads.watch(driver.queue, server, for_ms)


async def test_every_change_is_told(driver: QueueDriver, listen: Callable[[str], Ear]) -> None:
    ear = listen("srv")
    await watch(driver)
    heard = []
    names = await driver.enqueue(task(max_attempts=2), task(when=-5_000))
    heard.append((ear.heard(), [message(driver, *names)]))
    lease = await driver.take_one()
    heard.append((ear.heard(), [message(driver, names[0])]))
    await driver.tell(lease, b"progress")
    heard.append((ear.heard(), [message(driver, names[0])]))
    await driver.fail(lease, delay_ms=0)
    heard.append((ear.heard(), [message(driver, names[0])]))
    driver.clock.advance(5_000)
    await driver.promote()
    heard.append((ear.heard(), [message(driver, names[1])]))
    await driver.take(2)
    ear.heard()
    await driver.cancel(names[0])
    heard.append((ear.heard(), [message(driver, names[0])]))
    driver.clock.advance(LEASE_MS)
    await driver.reap()
    heard.append((ear.heard(), [message(driver, *names)]))
    await driver.redrive(names[0])
    heard.append((ear.heard(), [message(driver, names[0])]))
    await driver.purge()
    await driver.sweep()
    for told, expected in heard:
        assert told == expected
    assert set(ear.heard()) <= {message(driver, *names), message(driver, *names[::-1])}


async def test_ends_of_dependencies_are_told(
    driver: QueueDriver, listen: Callable[[str], Ear]
) -> None:
    (parent,) = await driver.enqueue(task())
    (child,) = await driver.enqueue(task(depends_on=(driver.id(parent),)))
    await deliver(driver)
    await driver.complete(await driver.take_one())
    ear = listen("srv")
    await watch(driver)
    await deliver(driver)
    assert ear.heard() == [message(driver, child)]


async def test_heartbeat_that_tells_nothing_is_not_told(
    driver: QueueDriver, listen: Callable[[str], Ear]
) -> None:
    ear = listen("srv")
    await driver.enqueue_one()
    lease = await driver.take_one()
    await watch(driver)
    await driver.heartbeat(lease)
    assert ear.heard() == []


async def test_calls_that_change_nothing_are_not_told(
    driver: QueueDriver, listen: Callable[[str], Ear]
) -> None:
    ear = listen("srv")
    name = await driver.enqueue_one()
    await driver.cancel(name)
    await watch(driver)
    await driver.claim()
    await driver.cancel(name)
    await driver.read(name)
    await driver.promote()
    await driver.reap()
    assert ear.heard() == []


async def test_every_server_that_watches_is_told(
    driver: QueueDriver, listen: Callable[[str], Ear]
) -> None:
    ears = [listen(server) for server in ("srv-1", "srv-10", "srv")]
    await watch(driver, "srv-1")
    await watch(driver, "srv-10")
    (name,) = await driver.enqueue(task())
    assert [ear.heard() for ear in ears] == [[message(driver, name)]] * 2 + [[]]


async def test_watch_ends_with_its_time_unless_it_is_renewed(
    driver: QueueDriver, listen: Callable[[str], Ear]
) -> None:
    ear, other = listen("srv"), listen("other")
    await watch(driver, for_ms=1_000)
    await watch(driver, "other", for_ms=1_000)
    driver.clock.advance(999)
    await driver.enqueue_one()
    await watch(driver, for_ms=1_000)
    driver.clock.advance(1)
    await driver.enqueue_one()
    assert (len(ear.heard()), len(other.heard())) == (2, 1)
    driver.clock.advance(999)
    await driver.enqueue_one()
    assert ear.heard() == []


async def test_watch_that_is_taken_back_is_over_for_this_server_only(
    driver: QueueDriver, listen: Callable[[str], Ear]
) -> None:
    ear, other = listen("srv"), listen("other")
    await watch(driver)
    await watch(driver, "other")
    await watch(driver, for_ms=0)
    await driver.enqueue_one()
    assert (len(ear.heard()), len(other.heard())) == (0, 1)
    await watch(driver, "other", for_ms=0)
    assert b"watch" not in driver.snapshot().settings


async def test_watches_that_ended_are_forgotten_by_the_next(driver: QueueDriver) -> None:
    for i in range(20):
        await watch(driver, f"srv-{i}", for_ms=1_000)
        driver.clock.advance(1_000)
    assert driver.snapshot().settings[b"watch"].count(b":") == 1
