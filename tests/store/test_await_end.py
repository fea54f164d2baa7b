"""await_end and the messages that follow it: who waits for a task is told, once, of its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codeq_grpc.core.task import Ending
from codeq_grpc.store.tasks import Report
from codeq_grpc.store.wakeups import ended_key
from tests.support.driver import LEASE_MS, QueueDriver, task

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.admin import Ear

pytestmark = pytest.mark.usefixtures("consistent")


def message(driver: QueueDriver, name: bytes) -> bytes:
    return ended_key(driver.queue) + b"\0" + name


@pytest.mark.parametrize("when", [0, -1_000], ids=["pending", "scheduled"])
async def test_wish_is_noted_while_the_task_has_not_ended(driver: QueueDriver, when: int) -> None:
    name = await driver.enqueue_one(when=when)
    assert not await driver.store.await_end(driver.queue, name, "srv")
    assert driver.snapshot().waited == {name: b"srv"}


async def test_each_server_is_noted_once(driver: QueueDriver) -> None:
    name = await driver.enqueue_one()
    for server in ("srv-1", "srv-10", "srv-1", "srv", "srv-10"):
        assert not await driver.store.await_end(driver.queue, name, server)
    assert driver.snapshot().waited == {name: b"srv-1 srv-10 srv"}


async def test_nothing_to_wait_for_when_ended_or_unknown(driver: QueueDriver) -> None:
    await driver.enqueue(task(), task(max_attempts=1))
    completed, failed = await driver.take(2)
    await driver.complete(completed)
    await driver.fail(failed)
    for name in (completed.name, failed.name, b"unknown"):
        assert await driver.store.await_end(driver.queue, name, "srv")
    assert driver.snapshot().waited == {}


@pytest.mark.parametrize("ending", [Ending.COMPLETE, Ending.FAIL])
async def test_every_server_that_waits_is_told_of_the_end_once(
    driver: QueueDriver, listen: Callable[[str], Ear], ending: Ending
) -> None:
    name, other = await driver.enqueue(task(max_attempts=1), task())
    ears = [listen("srv-1"), listen("srv-2"), listen("srv-3")]
    for server in ("srv-1", "srv-2"):
        await driver.store.await_end(driver.queue, name, server)
    await driver.store.await_end(driver.queue, other, "srv-3")
    lease = await driver.take_one()
    await driver.report(Report(*lease, ending))
    await driver.report(Report(*lease, ending))
    assert [ear.heard() for ear in ears] == [[message(driver, name)]] * 2 + [[]]
    assert driver.snapshot().waited == {other: b"srv-3"}


async def test_end_by_expiry_is_told(driver: QueueDriver, listen: Callable[[str], Ear]) -> None:
    last, retried = await driver.enqueue(task(max_attempts=1), task(max_attempts=2))
    ear = listen("srv")
    await driver.take(2)
    for name in (last, retried):
        await driver.store.await_end(driver.queue, name, "srv")
    driver.clock.advance(LEASE_MS)
    await driver.reap()
    assert ear.heard() == [message(driver, last)]
    assert driver.snapshot().waited == {retried: b"srv"}


async def test_end_of_an_attempt_is_not_the_end_of_the_task(
    driver: QueueDriver, listen: Callable[[str], Ear]
) -> None:
    name = await driver.enqueue_one(max_attempts=9)
    ear = listen("srv")
    await driver.store.await_end(driver.queue, name, "srv")
    await driver.fail(await driver.take_one(), delay_ms=0)
    await driver.abandon(await driver.take_one())
    await driver.fail(await driver.take_one(), delay_ms=10)
    assert ear.heard() == []
    assert driver.snapshot().waited == {name: b"srv"}


async def test_ends_of_a_batch_are_told_each(
    driver: QueueDriver, listen: Callable[[str], Ear]
) -> None:
    names = await driver.enqueue(*[task()] * 5)
    ear = listen("srv")
    for name in names[1:4]:
        await driver.store.await_end(driver.queue, name, "srv")
    leases = await driver.take(5)
    await driver.report(*[Report(*lease, Ending.COMPLETE) for lease in leases])
    assert ear.heard() == [message(driver, name) for name in names[1:4]]
    assert driver.snapshot().waited == {}
