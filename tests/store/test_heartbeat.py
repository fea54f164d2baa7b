"""heartbeat: extends what is held, and nothing else."""

from __future__ import annotations

import pytest

from tests.support.clock import START_MS
from tests.support.driver import LEASE_MS, Lease, QueueDriver, task

pytestmark = pytest.mark.usefixtures("consistent")


async def test_extends_by_the_lease_of_the_claim(driver: QueueDriver) -> None:
    await driver.enqueue_one()
    lease = await driver.take_one(lease_ms=7_000)
    driver.clock.advance(5_000)
    assert await driver.heartbeat(lease) == [b"EXTENDED"]
    state = driver.snapshot()
    assert state.leases == {lease.name: START_MS + 12_000}
    assert state.metas[lease.name].changed_ms == START_MS + 5_000


async def test_extends_by_what_is_asked_for(driver: QueueDriver) -> None:
    await driver.enqueue_one()
    lease = await driver.take_one()
    assert await driver.heartbeat(lease, extend_ms=LEASE_MS * 3) == [b"EXTENDED"]
    assert driver.meta(lease.name).time_ms == START_MS + LEASE_MS * 3


async def test_never_shortens_a_lease(driver: QueueDriver) -> None:
    await driver.enqueue_one()
    lease = await driver.take_one()
    assert await driver.heartbeat(lease, extend_ms=1) == [b"EXTENDED"]
    assert driver.meta(lease.name).time_ms == START_MS + LEASE_MS


@pytest.mark.parametrize("order", [1, -1])
async def test_longest_of_two_extensions_of_one_lease_in_a_batch_holds(
    driver: QueueDriver, order: int
) -> None:
    await driver.enqueue_one()
    lease = await driver.take_one()
    beats = [(*lease, LEASE_MS * i, b"", b"") for i in (2, 3)][::order]
    assert await driver.store.heartbeat(driver.queue, beats) == [(b"EXTENDED", b"")] * 2
    assert driver.meta(lease.name).time_ms == START_MS + LEASE_MS * 3


async def test_keeps_fence_attempt_and_claimant(driver: QueueDriver) -> None:
    await driver.enqueue_one()
    lease = await driver.take_one(owner="srv.1")
    before = driver.meta(lease.name)
    driver.clock.advance(1)
    await driver.heartbeat(lease)
    assert driver.meta(lease.name) == before._replace(
        time_ms=before.time_ms + 1, changed_ms=before.changed_ms + 1
    )


async def test_stale_fence_is_lost_and_changes_nothing(driver: QueueDriver) -> None:
    await driver.enqueue_one()
    stale = await driver.take_one()
    await driver.abandon(stale)
    current = await driver.take_one()
    before = driver.snapshot()
    driver.clock.advance(1)
    forged = Lease(current.name, current.fence + 1)
    assert await driver.heartbeat(stale, forged, Lease(current.name, 0)) == [b"LOST"] * 3
    assert driver.snapshot() == before


async def test_lease_is_lost_at_its_expiry_though_not_yet_reaped(driver: QueueDriver) -> None:
    await driver.enqueue(task(), task())
    leases = await driver.take(2)
    driver.clock.advance(LEASE_MS - 1)
    assert await driver.heartbeat(leases[0]) == [b"EXTENDED"]
    driver.clock.advance(1)
    assert await driver.heartbeat(*leases) == [b"EXTENDED", b"LOST"]


async def test_ended_task_is_lost(driver: QueueDriver) -> None:
    await driver.enqueue(task(), task(max_attempts=1), task())
    leases = await driver.take(3)
    await driver.complete(leases[0])
    await driver.fail(leases[1])
    await driver.fail(leases[2])
    before = driver.snapshot()
    assert await driver.heartbeat(*leases) == [b"LOST"] * 3
    assert driver.snapshot() == before


async def test_unknown_task(driver: QueueDriver) -> None:
    assert await driver.heartbeat(Lease(b"unknown", 5)) == [b"UNKNOWN"]


async def test_answers_stand_in_the_order_of_a_batch_of_500(driver: QueueDriver) -> None:
    await driver.enqueue(*[task()] * 500)
    leases = await driver.take(500)
    for lease in leases[::50]:
        await driver.complete(lease)
    driver.clock.advance(10)
    words = await driver.heartbeat(*leases)
    assert words == [b"LOST" if i % 50 == 0 else b"EXTENDED" for i in range(500)]
    assert set(driver.snapshot().leases.values()) == {START_MS + 10 + LEASE_MS}
