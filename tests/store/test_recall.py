"""What a claim has leased whose reply was lost can be told, and a late one leases nothing."""

from __future__ import annotations

import pytest

from tests.support.driver import QueueDriver, leases_of, task

pytestmark = pytest.mark.usefixtures("consistent")


async def claim(driver: QueueDriver, number: int, *, server: str = "srv", want: int = 9) -> None:
    """A claim whose reply nobody reads."""
    await driver.claim(want, receipt=(server, number))


async def test_a_claim_is_recalled_to_the_last_task(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task() for _ in range(20)])
    await claim(driver, 1, want=20)
    leases = await driver.recall("srv", 1, 2)
    assert [lease.name for lease in leases] == names
    assert await driver.recall("srv", 1, 3) == leases
    for lease in leases:
        assert (await driver.abandon(lease)).word == b"DONE"
    assert await driver.recall("srv", 1, 4) == []
    again = leases_of(await driver.claim(20))
    assert [driver.meta(lease.name).attempt for lease in again] == [1] * 20


async def test_only_what_is_still_leased_by_it_is_told(driver: QueueDriver) -> None:
    await driver.enqueue(task(), task(), task(), task())
    await claim(driver, 1)
    done, back, deleted, held = await driver.recall("srv", 1, 2)
    await driver.complete(done)
    await driver.abandon(back)
    await driver.take_one()
    await driver.cancel(deleted.name)
    await driver.complete(deleted)
    await driver.prune(before_ms=driver.clock.ms + 1)
    assert await driver.recall("srv", 1, 3) == [held]


async def test_each_claim_and_each_server_is_its_own(driver: QueueDriver) -> None:
    await driver.enqueue(task(), task(), task())
    await claim(driver, 5, want=1)
    await claim(driver, 1, server="other", want=1)
    assert await driver.recall("srv", 4, 6) == []
    assert await driver.recall("strange", 5, 6) == []
    (lease,) = await driver.recall("srv", 5, 7)
    (other,) = await driver.recall("other", 1, 2)
    assert lease.name != other.name
    await claim(driver, 8, want=1)
    assert await driver.recall("srv", 5, 9) == []
    assert len(await driver.recall("srv", 8, 10)) == 1


async def test_a_claim_that_comes_after_it_was_recalled_leases_nothing(
    driver: QueueDriver,
) -> None:
    await driver.enqueue(task())
    assert await driver.recall("srv", 1, 2) == []
    late = await driver.claim(receipt=("srv", 1))
    assert late.empty
    assert driver.snapshot().leases == {}
    assert len((await driver.claim(receipt=("srv", 3))).tasks) == 1


async def test_a_claim_that_found_nothing_leaves_no_receipt(driver: QueueDriver) -> None:
    await driver.enqueue(task())
    await claim(driver, 1)
    assert driver.admin.call("HEXISTS", driver.key("h"), "srv+")
    await claim(driver, 2)
    assert not driver.admin.call("HEXISTS", driver.key("h"), "srv+")
    assert await driver.recall("srv", 1, 3) == []


async def test_receipts_of_very_many_servers_are_forgotten(driver: QueueDriver) -> None:
    await driver.enqueue(*[task() for _ in range(500)])
    for number in range(500):
        await claim(driver, 1, server=f"s{number}", want=1)
    assert driver.admin.call("HLEN", driver.key("h")) <= 402
    assert len(await driver.recall("s499", 1, 2)) == 1
