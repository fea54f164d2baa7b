"""read, states, held and stats: what they tell, and that they change nothing."""

from __future__ import annotations

import pytest

from codeq_grpc.core.task import Ending, TaskState
from codeq_grpc.store.reads import Counts
from codeq_grpc.store.rows import Row
from codeq_grpc.store.tasks import Report
from tests.support.clock import START_MS
from tests.support.driver import LEASE_MS, QueueDriver, task

pytestmark = pytest.mark.usefixtures("consistent")

NOTHING = Counts._make([START_MS, *[0] * 17])


async def full_task(driver: QueueDriver) -> bytes:
    """Name of a completed task that has all that a task can have."""
    await driver.configure(retain_payload=True)
    (name,) = await driver.enqueue(task(b"\0spec", b"payload"))
    await driver.fail(await driver.take_one(), b"\0error", delay_ms=0)
    driver.clock.advance(5)
    lease = await driver.take_one(owner="srv.1")
    await driver.tell(lease, b"\0progress", b"\0checkpoint")
    await driver.complete(lease, b"\0result")
    return name


async def test_read_gives_all_that_is_kept(driver: QueueDriver) -> None:
    name = await full_task(driver)
    stored = await driver.read_one(name)
    assert stored.row == Row(
        state=TaskState.COMPLETED,
        attempt=2,
        max_attempts=3,
        ending=Ending.COMPLETE,
        fence=driver.meta(name).fence,
        time_ms=START_MS + 5,
        changed_ms=START_MS + 5,
        cancel_requested=False,
        start_ms=START_MS + 5,
        owner="srv.1",
        worker_id="w",
    )
    texts = (b"\0spec" + b"payload", b"\0error", b"\0progress", b"\0result", b"\0checkpoint")
    assert stored[1:6] == texts
    assert stored.history.endswith(b"w\0error")


async def test_read_leaves_out_what_is_large_unless_asked(driver: QueueDriver) -> None:
    name = await full_task(driver)
    stored = await driver.read_one(name, full=False)
    assert stored[1:] == (b"\0spec", b"\0error", b"\0progress", b"", b"", b"")


async def test_read_of_a_task_that_has_not_ended(driver: QueueDriver) -> None:
    (name,) = await driver.enqueue(task(b"", when=-5))
    stored = await driver.read_one(name)
    assert (stored.row.state, stored.row.time_ms) == (TaskState.SCHEDULED, START_MS + 5)
    assert stored[1:] == (b"", b"", b"", b"", b"", b"")


async def test_read_of_tasks_some_of_which_are_unknown(driver: QueueDriver) -> None:
    names = await driver.enqueue(task(b"0"), task(b"1"))
    found = await driver.read(b"unknown", names[1], b"unknowN", names[0], names[1])
    assert [stored and stored.spec for stored in found] == [None, b"1", None, b"0", b"1"]


async def test_read_stops_where_bytes_end_but_gives_one_task_at_least(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task(b"x" * 500, b"y" * 500) for _ in range(4)])

    async def count(max_bytes: int, *, full: bool) -> int:
        return len(await driver.read(*names, full=full, max_bytes=max_bytes))

    assert [await count(most, full=True) for most in (1, 2_000, 2_200, 9_000)] == [1, 1, 2, 4]
    assert [await count(most, full=False) for most in (1, 1_000, 1_200)] == [1, 1, 2]


async def test_states_of_tasks(driver: QueueDriver) -> None:
    pending, scheduled, leased = await driver.enqueue(task(), task(when=-5), task(priority=9))
    await driver.take_one()
    states = await driver.reads.states(driver.queue, [scheduled, b"unknown", leased, pending])
    assert states == [TaskState.SCHEDULED, 0, TaskState.IN_PROGRESS, TaskState.PENDING]


async def test_held_tells_current_leases_from_all_others(driver: QueueDriver) -> None:
    await driver.enqueue(task(), task(), task(), task())
    ended, stale, held, short = await driver.take(4)
    await driver.complete(ended)
    await driver.abandon(stale)
    current = await driver.take_one()
    await driver.heartbeat(held, current, extend_ms=LEASE_MS * 2)
    before = driver.snapshot()
    asked = [ended, stale, current, held, short, (held.name, held.fence + 1), (b"unknown", 3)]
    expected = [False, False, True, True, True, False, False]
    assert await driver.store.held(driver.queue, asked) == expected
    driver.clock.advance(LEASE_MS)
    expected[4] = False
    assert await driver.store.held(driver.queue, asked) == expected
    assert driver.snapshot() == before


async def test_held_answers_a_batch_of_500(driver: QueueDriver) -> None:
    await driver.enqueue(*[task()] * 500)
    leases = await driver.take(500)
    await driver.report(*[Report(*lease, Ending.COMPLETE) for lease in leases[::2]])
    assert await driver.store.held(driver.queue, leases) == [False, True] * 250


async def test_stats_of_a_queue_that_never_was(driver: QueueDriver) -> None:
    assert await driver.stats() == NOTHING
    assert driver.admin.call("DBSIZE") == 0


async def test_stats_count_every_state_and_every_event(driver: QueueDriver) -> None:
    await driver.enqueue(*[task(priority=i % 10, max_attempts=1 + i % 2) for i in range(20)])
    await driver.enqueue(task(when=-LEASE_MS * 5), task(when=-LEASE_MS * 5))
    for lease in (await driver.take(12))[:9]:
        if lease.fence % 3 == 0:
            await driver.complete(lease)
        else:
            await driver.fail(lease, delay_ms=0)
    driver.clock.advance(LEASE_MS)
    expired = await driver.reap()
    await driver.take(2)
    (blocked,) = await driver.enqueue(task(depends_on=(driver.id(b"unknown"),)))
    late, pending = await driver.enqueue(
        task(expire_ms=driver.clock.ms + 1, priority=0), task(priority=0)
    )
    driver.clock.advance(1)
    await driver.reap()
    await driver.cancel(pending)
    state = driver.snapshot()
    assert (list(state.blocked), list(state.expired)) == ([blocked], [late])
    counts = await driver.stats()
    assert counts[1:9] == tuple(
        len(index)
        for index in (
            [name for name in state.pending if state.state(name) == TaskState.PENDING],
            *(state.scheduled, state.blocked, state.leases),
            *(state.completed, state.failed, state.cancelled, state.expired),
        )
    )
    assert sum(counts[1:9]) == counts.enqueued_total == 25
    assert counts.completed_total == counts.completed == 3
    assert (counts.attempt_failed_total, counts.lease_expired_total) == (6, len(expired))
    assert len(expired) == 3


async def test_totals_stay_when_tasks_are_pruned(driver: QueueDriver) -> None:
    await driver.enqueue(task(), task(max_attempts=1))
    first, second = await driver.take(2)
    await driver.complete(first)
    await driver.fail(second)
    driver.clock.advance(1)
    await driver.prune()
    counts = await driver.stats()
    assert counts == NOTHING._replace(
        now_ms=START_MS + 1,
        enqueued_total=2,
        completed_total=1,
        attempt_failed_total=1,
        enqueue_rate=2 / 60,
        complete_rate=1 / 60,
        attempt_fail_rate=1 / 60,
    )


async def test_oldest_pending_task_is_told_whatever_its_priority(driver: QueueDriver) -> None:
    await driver.enqueue(task(priority=0), task(when=-10, priority=9))
    driver.clock.advance(20)
    await driver.enqueue_one(priority=5)
    assert (await driver.stats()).oldest_ms == START_MS
    await driver.promote()
    leases = await driver.take(3)
    assert (await driver.stats()).oldest_ms == 0
    await driver.abandon(leases[0])
    assert (await driver.stats()).oldest_ms == START_MS + 10


async def test_oldest_pending_task_may_stand_behind_cancelled_ones_or_be_parked(
    driver: QueueDriver,
) -> None:
    names = await driver.enqueue(*[task() for _ in range(19)])
    driver.clock.advance(10)
    await driver.enqueue(task())
    await driver.cancel(*names)
    assert (await driver.stats()).oldest_ms == START_MS + 10
    await driver.configure(max_in_progress_per_key=1)
    await driver.enqueue(*[task(concurrency_key="k", priority=9)] * 2)
    await driver.take(2)
    counts = await driver.stats()
    assert (counts.pending, counts.oldest_ms) == (1, START_MS + 10)


async def test_reads_make_no_keys(driver: QueueDriver) -> None:
    await driver.stats()
    await driver.read(b"unknown")
    await driver.reads.states(driver.queue, [b"unknown"])
    await driver.store.held(driver.queue, [(b"unknown", 1)])
    await driver.settings.settings(driver.queue)
    for state in range(9):
        await driver.scan(state, labels=(("a", "b"),))
    assert driver.admin.call("DBSIZE") == 0
