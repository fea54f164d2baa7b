"""claim: which tasks, in which order, under which lease."""

from __future__ import annotations

import pytest

from codeq_grpc.core.task import Ending, TaskState
from codeq_grpc.store.rows import read_row
from tests.support.clock import START_MS
from tests.support.driver import LEASE_MS, QueueDriver, leases_of, task

pytestmark = pytest.mark.usefixtures("consistent")

DAY_MS = 86_400_000


async def test_priority_goes_from_9_to_0_and_first_in_is_first_out_inside_one(
    driver: QueueDriver,
) -> None:
    new = [task(b"%d-%d" % (p, i), priority=p) for i in range(3) for p in (0, 4, 9, 5, 1, 8, 2)]
    await driver.enqueue(*new)
    specs = [spec for _ in range(7) for _, _, spec, _ in (await driver.claim(3)).tasks]
    assert specs == [b"%d-%d" % (p, i) for p in (9, 8, 5, 4, 2, 1, 0) for i in range(3)]


async def test_no_more_than_wanted(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task(priority=i % 2) for i in range(6)])
    claimed = await driver.claim(4)
    assert [name for name, _, _, _ in claimed.tasks] == [names[i] for i in (1, 3, 5, 0)]
    assert driver.snapshot().pending == [names[2], names[4]]


async def test_batch_of_500(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task(b"%d" % i) for i in range(501)])
    claimed = await driver.claim(500)
    assert [name for name, _, _, _ in claimed.tasks] == names[:500]
    assert [spec for _, _, spec, _ in claimed.tasks] == [b"%d" % i for i in range(500)]
    assert driver.snapshot().pending == names[500:]


async def test_claim_counts_the_attempt_and_gives_a_fence_and_a_lease(driver: QueueDriver) -> None:
    name = await driver.enqueue_one()
    driver.clock.advance(10)
    claimed = await driver.claim(owner="srv.7", worker="wörker")
    ((got, raw, spec, _),) = claimed.tasks
    row = read_row(raw)
    assert (got, spec, claimed.now_ms, claimed.armed) == (name, b"spec", START_MS + 10, False)
    assert (row.state, row.attempt, row.max_attempts) == (TaskState.IN_PROGRESS, 1, 3)
    assert (row.owner, row.worker_id) == ("srv.7", "wörker")
    assert row.time_ms == START_MS + 10 + LEASE_MS
    assert row.fence >> 12 == START_MS + 10 - 1_704_067_200_000
    state = driver.snapshot()
    assert state.leases == {name: row.time_ms}
    assert state.metas[name].since_ms == START_MS
    assert state.metas[name].changed_ms == START_MS + 10


async def test_fences_grow_in_the_order_of_tasks_and_with_every_claim(driver: QueueDriver) -> None:
    await driver.enqueue(task(), task(), task())
    fences = []
    for _ in range(3):
        leases = await driver.take(3)
        fences += [lease.fence for lease in leases]
        for lease in reversed(leases):
            await driver.abandon(lease)
    assert fences == sorted(set(fences))


async def test_fences_do_not_go_back_with_the_clock(driver: QueueDriver) -> None:
    await driver.enqueue_one(max_attempts=9)
    first = await driver.take_one()
    await driver.abandon(first)
    driver.clock.advance(-DAY_MS)
    second = await driver.take_one()
    assert second.fence > first.fence
    assert driver.meta(second.name).time_ms == START_MS - DAY_MS + LEASE_MS


async def test_fences_follow_numbers_that_are_far_ahead(driver: QueueDriver) -> None:
    await driver.enqueue_one()
    ahead = (START_MS + DAY_MS - 1_704_067_200_000) << 12
    driver.admin.call("HSET", driver.key("s"), "clk", ahead)
    lease = await driver.take_one()
    assert lease.fence == ahead + 1
    assert driver.meta(lease.name).time_ms == START_MS + LEASE_MS
    assert (await driver.heartbeat(lease)) == [b"EXTENDED"]


@pytest.mark.parametrize(
    ("asked", "own", "expected"),
    [(0, 0, LEASE_MS), (0, 7_000, 7_000), (4_000, 7_000, 4_000), (4_000, 0, 4_000)],
)
async def test_lease_is_as_asked_else_of_the_task_else_the_default(
    driver: QueueDriver, asked: int, own: int, expected: int
) -> None:
    await driver.enqueue(task(lease_ms=own))
    lease = await driver.take_one(lease_ms=asked)
    meta = driver.meta(lease.name)
    assert (meta.time_ms, meta.claim_lease_ms) == (START_MS + expected, expected)


async def test_first_task_fits_whatever_its_size(driver: QueueDriver) -> None:
    names = await driver.enqueue(task(b"x" * 1_000), task(b"y"))
    claimed = await driver.claim(2, max_bytes=10)
    assert [(name, len(spec)) for name, _, spec, _ in claimed.tasks] == [(names[0], 1_000)]
    assert driver.snapshot().pending == [names[1]]


async def test_bytes_cut_a_claim_and_nothing_small_overtakes(driver: QueueDriver) -> None:
    names = await driver.enqueue(
        task(b"x" * 40), task(b"x" * 40), task(b"x" * 40), task(b"x"), task(b"x", priority=1)
    )
    claimed = await driver.claim(5, max_bytes=100)
    assert [name for name, _, _, _ in claimed.tasks] == names[:2]
    assert driver.snapshot().pending == names[2:]


async def test_bytes_that_fit_exactly_fit(driver: QueueDriver) -> None:
    names = await driver.enqueue(task(b"x" * 40), task(b"x" * 60), task(b""), task(b"x"))
    claimed = await driver.claim(5, max_bytes=100)
    assert [name for name, _, _, _ in claimed.tasks] == names[:3]


async def test_due_tasks_are_claimed_and_none_early(driver: QueueDriver) -> None:
    early, due = await driver.enqueue(task(when=-1_001), task(when=-1_000))
    driver.clock.advance(999)
    assert (await driver.claim(2)).tasks == []
    driver.clock.advance(1)
    assert leases_of(await driver.claim(2))[0].name == due
    assert (await driver.claim(2)).tasks == []
    assert driver.snapshot().scheduled == {early: START_MS + 1_001}


async def test_due_tasks_join_the_tail_of_their_priority(driver: QueueDriver) -> None:
    later, low = await driver.enqueue(task(when=-10), task(when=-5, priority=4))
    waiting = await driver.enqueue_one()
    driver.clock.advance(10)
    claimed = await driver.claim(3)
    assert [name for name, _, _, _ in claimed.tasks] == [waiting, later, low]


async def test_claimable_since_its_due_time(driver: QueueDriver) -> None:
    await driver.enqueue_one(when=-10)
    driver.clock.advance(50)
    lease = await driver.take_one()
    assert driver.meta(lease.name).since_ms == START_MS + 10


async def test_empty_claim_tells_the_next_due_time(driver: QueueDriver) -> None:
    assert (await driver.claim()).look_at_ms == 0
    await driver.enqueue(task(when=-500), task(when=-200))
    claimed = await driver.claim()
    assert claimed.tasks == []
    assert (claimed.now_ms, claimed.look_at_ms) == (START_MS, START_MS + 200)


async def test_claim_arms_the_wake_up_only_when_empty_and_only_when_asked(
    driver: QueueDriver,
) -> None:
    await driver.claim()
    assert driver.snapshot().waiting == {}
    await driver.enqueue_one()
    await driver.claim(wake="srv")
    assert driver.snapshot().waiting == {}
    await driver.claim(wake="srv")
    assert driver.snapshot().waiting == {b"srv": START_MS}


async def test_own_latest_ending_is_forgotten_with_the_claim(driver: QueueDriver) -> None:
    await driver.enqueue_one()
    await driver.fail(await driver.take_one(), delay_ms=0)
    lease = await driver.take_one()
    assert driver.meta(lease.name).ending == Ending.NONE


async def test_abandoned_and_unclaimed_tasks_are_never_claimed_twice_at_once(
    driver: QueueDriver,
) -> None:
    await driver.enqueue(*[task() for _ in range(10)])
    names = [lease.name for _ in range(5) for lease in await driver.take(2)]
    assert len(set(names)) == 10
    assert (await driver.claim(10)).tasks == []
