"""enqueue: what a new task looks like, and the numbers it gets."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from codeq_grpc.core.errors import CodeQError
from codeq_grpc.core.retry import RetryWishes
from codeq_grpc.core.task import Ending, TaskState
from codeq_grpc.store.keys import created_ms
from tests.support.clock import START_MS
from tests.support.driver import QueueDriver, task
from tests.support.snapshot import Meta

if TYPE_CHECKING:
    from tests.support.clock import ClockedConnection

pytestmark = pytest.mark.usefixtures("consistent")

DAY_MS = 86_400_000


async def test_new_task_is_pending_in_the_list_of_its_priority(driver: QueueDriver) -> None:
    (name,) = await driver.enqueue(task(b"\0spec\xff", priority=7, max_attempts=4))
    state = driver.snapshot()
    assert state.lists[7] == [name]
    assert state.bodies == {name: b"\0spec\xff"}
    assert state.metas[name] == Meta(
        state=TaskState.PENDING,
        flags=0,
        priority=7,
        attempt=0,
        max_attempts=4,
        ending=Ending.NONE,
        body=6,
        rest=6,
        lease_ms=0,
        fence=0,
        time_ms=START_MS,
        changed_ms=START_MS,
    )


async def test_own_lease_and_policy_are_kept(driver: QueueDriver) -> None:
    wishes = RetryWishes(
        initial_backoff_ms=1,
        max_backoff_ms=2,
        multiplier=3.5,
        jitter=0.25,
        non_retryable=("A", "B"),
    )
    (name,) = await driver.enqueue(task(lease_ms=12_345, retry=wishes))
    meta = driver.meta(name)
    assert (meta.lease_ms, meta.types) == (12_345, b"\0A\0B\0")
    assert struct.unpack(">IIdd", meta.policy) == (1, 2, 3.5, 0.25)


async def test_tasks_of_one_priority_stand_in_the_order_enqueued(driver: QueueDriver) -> None:
    batches = [await driver.enqueue(*[task(priority=i % 3) for i in range(9)]) for _ in range(2)]
    names = batches[0] + batches[1]
    state = driver.snapshot()
    assert [state.lists[p] for p in range(3)] == [names[p::3] for p in range(3)]


async def test_names_follow_each_other_and_tell_when_the_task_came(driver: QueueDriver) -> None:
    first = await driver.enqueue(task(), task())
    driver.clock.advance(5)
    (later,) = await driver.enqueue(task())
    numbers = [int.from_bytes(name, "big") for name in first]
    assert numbers[1] == numbers[0] + 1
    assert [created_ms(name) for name in (*first, later)] == [START_MS, START_MS, START_MS + 5]


async def test_batch_of_500_is_one_call(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task(b"%d" % i, priority=i % 10) for i in range(500)])
    state = driver.snapshot()
    assert sorted(state.pending) == sorted(names) == sorted(state.metas)
    assert [state.bodies[name] for name in names] == [b"%d" % i for i in range(500)]
    assert (await driver.stats()).enqueued_total == 500


async def test_atomic_batch_of_1000_fits(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task(when=(i % 2) * (START_MS + 1)) for i in range(1_000)])
    state = driver.snapshot()
    assert state.pending == names[::2]
    assert sorted(state.scheduled) == names[1::2]


@pytest.mark.parametrize(
    ("when", "due"),
    [(START_MS + 1, START_MS + 1), (-1, START_MS + 1), (-DAY_MS, START_MS + DAY_MS)],
    ids=["time", "delay", "long-delay"],
)
async def test_task_for_later_is_scheduled(driver: QueueDriver, when: int, due: int) -> None:
    name = await driver.enqueue_one(when=when)
    state = driver.snapshot()
    assert state.scheduled == {name: due}
    assert (state.state(name), state.metas[name].time_ms) == (TaskState.SCHEDULED, due)


@pytest.mark.parametrize("when", [1, START_MS - 1, START_MS])
async def test_task_whose_time_has_come_is_pending_since_now(
    driver: QueueDriver, when: int
) -> None:
    name = await driver.enqueue_one(when=when)
    meta = driver.meta(name)
    assert (meta.state, meta.time_ms) == (TaskState.PENDING, START_MS)


async def test_names_do_not_go_back_with_the_clock(driver: QueueDriver) -> None:
    before = await driver.enqueue_one()
    driver.clock.advance(-DAY_MS)
    added = await driver.add(task())
    assert added.names[0] > before
    assert added.now_ms == START_MS - DAY_MS


async def test_numbers_of_a_lost_primary_that_ran_ahead_go_on(driver: QueueDriver) -> None:
    ahead = (START_MS + DAY_MS - 1_704_067_200_000) << 12
    driver.admin.call("HSET", driver.key("s"), "clk", ahead + 7)
    added = await driver.add(task())
    assert int.from_bytes(added.names[0], "big") == ahead + 8
    assert added.now_ms == START_MS


async def test_more_than_4096_tasks_in_a_millisecond_have_names_of_their_own(
    driver: QueueDriver,
) -> None:
    names = [name for _ in range(5) for name in await driver.enqueue(*[task()] * 1_000)]
    assert len(set(names)) == 5_000
    assert names == sorted(names)
    assert driver.snapshot().pending == names


async def test_one_bad_task_keeps_the_whole_batch_out(
    driver: QueueDriver, clocked: ClockedConnection
) -> None:
    good = await driver.enqueue_one()
    before = driver.snapshot()
    with pytest.raises(CodeQError):
        await driver.enqueue(task(), (b"\5\3", b"spec", b""), task())
    assert driver.snapshot() == before
    assert before.pending == [good]
