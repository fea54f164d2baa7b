"""claim skips, and removes, entries of lists whose meta disagrees: what aborted scripts leave."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codeq_grpc.core.task import TaskState
from tests.support.consistency import inconsistencies, stale_entries
from tests.support.driver import QueueDriver, task

if TYPE_CHECKING:
    from collections.abc import Iterable

UNKNOWN = b"unknown"


def assert_clean(driver: QueueDriver) -> None:
    state = driver.snapshot()
    assert inconsistencies(state) == []
    assert stale_entries(state) == []


def put(driver: QueueDriver, priority: int, names: Iterable[bytes]) -> None:
    driver.admin.call("LPUSH", driver.key(f"r{priority}"), *names)


async def test_entry_without_a_task_is_dropped(driver: QueueDriver) -> None:
    name = await driver.enqueue_one()
    put(driver, 5, [UNKNOWN, UNKNOWN])
    assert (await driver.take_one()).name == name
    assert_clean(driver)


async def test_entry_in_the_list_of_another_priority_is_dropped(driver: QueueDriver) -> None:
    name = await driver.enqueue_one(priority=2)
    put(driver, 9, [name])
    first = await driver.take_one()
    assert first.name == name
    assert_clean(driver)


async def test_entries_of_tasks_in_other_states_are_dropped(driver: QueueDriver) -> None:
    completed, failed, leased = await driver.enqueue(task(), task(max_attempts=1), task())
    leases = await driver.take(3)
    await driver.complete(leases[0])
    await driver.fail(leases[1])
    scheduled = await driver.enqueue_one(when=-1_000)
    put(driver, 5, [completed, failed, leased, scheduled])
    before = driver.snapshot()
    assert (await driver.claim(9)).tasks == []
    after = driver.snapshot()
    assert_clean(driver)
    assert after.metas == before.metas


async def test_second_entry_of_a_task_gives_no_second_lease(driver: QueueDriver) -> None:
    name = await driver.enqueue_one()
    put(driver, 5, [name, name])
    (lease,) = await driver.take(1)
    assert (await driver.claim(9)).tasks == []
    assert driver.meta(name).fence == lease.fence
    assert_clean(driver)


async def test_second_entry_in_one_claim_gives_one_lease(driver: QueueDriver) -> None:
    name = await driver.enqueue_one()
    put(driver, 5, [name, name])
    assert [got for got, _, _, _ in (await driver.claim(9)).tasks] == [name]
    assert_clean(driver)


async def test_many_stale_entries_are_worked_off_over_several_claims(driver: QueueDriver) -> None:
    """One call looks at about 500 entries; finding only stale ones it says: come again."""
    name = await driver.enqueue_one()
    put(driver, 5, [UNKNOWN] * 5_000)
    calls = 0
    while not (claimed := await driver.claim(500, wake="srv")).tasks:
        calls += 1
        assert not claimed.armed
        assert calls < 12
    assert [got for got, _, _, _ in claimed.tasks] == [name]
    assert calls == 10
    assert claimed.armed
    assert_clean(driver)


async def test_stale_entries_at_a_high_priority_do_not_hide_lower_ones(driver: QueueDriver) -> None:
    name = await driver.enqueue_one(priority=0)
    for priority in range(1, 10):
        put(driver, priority, [UNKNOWN] * 3)
    assert (await driver.take_one()).name == name
    assert_clean(driver)


@pytest.mark.parametrize("due", [0, 10])
async def test_entry_of_the_schedule_without_a_task_is_dropped(
    driver: QueueDriver, due: int
) -> None:
    driver.admin.call("ZADD", driver.key("z"), due, UNKNOWN)
    assert (await driver.claim()).tasks == []
    assert driver.snapshot().scheduled == {}


async def test_a_task_whose_body_is_gone_spoils_no_claim(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task(concurrency_key="k" if i < 2 else "") for i in range(5)])
    await driver.configure(max_in_progress_per_key=1)
    driver.admin.call("HDEL", driver.key("b"), names[0], names[3])
    first = await driver.claim(2)
    assert [name for name, *_ in first.tasks] == [names[2]]
    assert not first.over
    assert await driver.claim_names() == [names[4]]
    await driver.sweep()
    assert await driver.claim_names() == [names[1]]
    assert (await driver.claim()).empty
    assert driver.snapshot().state(names[0]) == TaskState.PENDING
