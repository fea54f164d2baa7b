"""report: how an attempt ends, and that it ends once."""

from __future__ import annotations

import pytest

from codeq_grpc.core.retry import RetryWishes
from codeq_grpc.core.task import Ending, TaskState
from codeq_grpc.store.rows import read_row
from codeq_grpc.store.tasks import DONE, LOST, REPEATED, UNKNOWN, Report, Verdict
from tests.support.clock import START_MS
from tests.support.driver import LEASE_MS, Lease, QueueDriver, task

pytestmark = pytest.mark.usefixtures("consistent")

ENDINGS = [Ending.COMPLETE, Ending.FAIL, Ending.ABANDON]


async def test_completed_task_keeps_its_result_and_frees_its_lease(driver: QueueDriver) -> None:
    name = await driver.enqueue_one()
    lease = await driver.take_one(owner="srv.1")
    driver.clock.advance(5)
    verdict = await driver.complete(lease, b"\0result")
    assert verdict == Verdict(DONE, TaskState.COMPLETED, START_MS + 5, "srv.1")
    state = driver.snapshot()
    assert (state.completed, state.leases) == ({name: START_MS + 5}, {})
    assert state.outcomes == {name + b"r": b"\0result"}
    assert (state.metas[name].attempt, state.metas[name].ending) == (1, Ending.COMPLETE)


async def test_result_may_be_empty(driver: QueueDriver) -> None:
    await driver.enqueue_one()
    await driver.complete(await driver.take_one())
    assert driver.snapshot().outcomes == {}


async def test_failed_attempt_is_tried_again_after_the_delay_of_the_policy(
    driver: QueueDriver,
) -> None:
    name = await driver.enqueue_one()
    for attempt, delay in [(1, 1_000), (2, 2_000)]:
        lease = await driver.take_one()
        verdict = await driver.fail(lease, b"boom %d" % attempt)
        due = driver.clock.ms + delay
        assert verdict == Verdict(DONE, TaskState.SCHEDULED, due, "")
        state = driver.snapshot()
        assert (state.scheduled, state.leases) == ({name: due}, {})
        assert state.texts("e") == {name: b"boom %d" % attempt}
        driver.clock.advance(delay - 1)
        assert (await driver.claim()).tasks == []
        driver.clock.advance(1)


async def test_own_policy_goes_before_the_default(driver: QueueDriver) -> None:
    own = RetryWishes(initial_backoff_ms=10, max_backoff_ms=25, multiplier=2.0, jitter=0.0)
    await driver.enqueue(task(max_attempts=4, retry=own))
    delays = []
    for _ in range(3):
        await driver.fail(await driver.take_one())
        (due,) = driver.snapshot().scheduled.values()
        delays.append(due - driver.clock.ms)
        driver.clock.advance(delays[-1])
    assert delays == [10, 20, 25]


@pytest.mark.parametrize("delay_ms", [1, 86_400_000 * 366])
async def test_delay_asked_for_goes_before_any_policy(driver: QueueDriver, delay_ms: int) -> None:
    name = await driver.enqueue_one()
    await driver.fail(await driver.take_one(), delay_ms=delay_ms)
    assert driver.snapshot().scheduled == {name: START_MS + delay_ms}


async def test_retry_at_once_goes_to_the_tail(driver: QueueDriver) -> None:
    names = await driver.enqueue(task(), task())
    lease = await driver.take_one()
    driver.clock.advance(5)
    verdict = await driver.fail(lease, delay_ms=0)
    assert verdict == Verdict(DONE, TaskState.PENDING, START_MS + 5, "")
    assert driver.snapshot().pending == [names[1], names[0]]


async def test_last_attempt_that_fails_makes_a_dead_letter(driver: QueueDriver) -> None:
    name = await driver.enqueue_one(max_attempts=2)
    await driver.fail(await driver.take_one(), delay_ms=0)
    driver.clock.advance(5)
    verdict = await driver.fail(await driver.take_one(), b"boom", delay_ms=0)
    assert verdict == Verdict(DONE, TaskState.FAILED, START_MS + 5, "")
    state = driver.snapshot()
    assert state.failed == {name: START_MS + 5}
    assert state.texts("e") == {name: b"boom"}
    assert (state.metas[name].attempt, state.metas[name].ending) == (2, Ending.FAIL)
    assert (await driver.claim()).tasks == []


async def test_error_not_to_be_retried_makes_a_dead_letter_at_once(driver: QueueDriver) -> None:
    name = await driver.enqueue_one(max_attempts=9)
    lease = await driver.take_one()
    (verdict,) = await driver.report(Report(*lease, Ending.FAIL, b"bad input", 500, no_retry=True))
    assert (verdict.word, verdict.state) == (DONE, TaskState.FAILED)
    assert driver.snapshot().failed == {name: START_MS}


async def test_abandoned_task_is_back_at_the_head_and_the_attempt_not_counted(
    driver: QueueDriver,
) -> None:
    first, second = await driver.enqueue(task(max_attempts=1), task())
    driver.clock.advance(5)
    lease = await driver.take_one(owner="srv.1")
    driver.clock.advance(5)
    verdict = await driver.abandon(lease)
    assert verdict == Verdict(DONE, TaskState.PENDING, START_MS, "srv.1")
    state = driver.snapshot()
    assert state.pending == [first, second]
    assert state.leases == {}
    assert (state.metas[first].attempt, state.metas[first].time_ms) == (0, START_MS)


async def test_abandoning_never_uses_up_attempts(driver: QueueDriver) -> None:
    await driver.enqueue_one(max_attempts=1)
    for _ in range(5):
        lease = await driver.take_one()
        assert driver.meta(lease.name).attempt == 1
        await driver.abandon(lease)
    assert (await driver.complete(await driver.take_one())).word == DONE


async def test_tasks_abandoned_together_keep_their_order_at_the_head(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task(priority=5 + i % 2) for i in range(8)])
    leases = await driver.take(6)
    await driver.report(*[Report(*lease, Ending.ABANDON) for lease in leases])
    assert driver.snapshot().pending == names[1::2] + names[::2]


async def test_abandoned_task_may_be_kept_back(driver: QueueDriver) -> None:
    name = await driver.enqueue_one()
    verdict = await driver.abandon(await driver.take_one(), delay_ms=700)
    assert verdict == Verdict(DONE, TaskState.SCHEDULED, START_MS + 700, "")
    state = driver.snapshot()
    assert (state.scheduled, state.metas[name].attempt) == ({name: START_MS + 700}, 0)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("delay_ms", [None, 0, 50])
async def test_repeated_report_is_fine_and_changes_nothing(
    driver: QueueDriver, ending: Ending, delay_ms: int | None
) -> None:
    await driver.enqueue_one()
    lease = await driver.take_one(owner="srv.1")
    (done,) = await driver.report(Report(*lease, ending, b"first", delay_ms))
    before = driver.snapshot()
    driver.clock.advance(5)
    (again,) = await driver.report(Report(*lease, ending, b"second", delay_ms))
    assert (done.word, again.word) == (DONE, REPEATED)
    assert again[1:] == done[1:]
    assert driver.snapshot() == before


@pytest.mark.parametrize("first", ENDINGS)
@pytest.mark.parametrize("second", ENDINGS)
async def test_other_ending_under_the_same_fence_is_lost(
    driver: QueueDriver, first: Ending, second: Ending
) -> None:
    if first == second:
        return
    await driver.enqueue_one()
    lease = await driver.take_one()
    (done,) = await driver.report(Report(*lease, first))
    before = driver.snapshot()
    (lost,) = await driver.report(Report(*lease, second, b"other"))
    assert (lost.word, lost.state) == (LOST, done.state)
    assert driver.snapshot() == before


@pytest.mark.parametrize("ending", ENDINGS)
async def test_stale_fence_changes_nothing(driver: QueueDriver, ending: Ending) -> None:
    await driver.enqueue_one()
    stale = await driver.take_one()
    await driver.abandon(stale)
    current = await driver.take_one()
    before = driver.snapshot()
    fences = [stale.fence, current.fence + 1, 0]
    words = [
        verdict.word
        for fence in fences
        for verdict in await driver.report(Report(stale.name, fence, ending, b"x"))
    ]
    assert words == [LOST] * 3
    assert driver.snapshot() == before


@pytest.mark.parametrize("ending", ENDINGS)
async def test_lease_is_lost_at_its_expiry_though_not_yet_reaped(
    driver: QueueDriver, ending: Ending
) -> None:
    await driver.enqueue_one()
    lease = await driver.take_one()
    before = driver.snapshot()
    driver.clock.advance(LEASE_MS)
    (verdict,) = await driver.report(Report(*lease, ending))
    assert (verdict.word, verdict.state) == (LOST, TaskState.IN_PROGRESS)
    assert driver.snapshot() == before


@pytest.mark.parametrize("ending", ENDINGS)
async def test_report_in_the_last_millisecond_of_the_lease_counts(
    driver: QueueDriver, ending: Ending
) -> None:
    await driver.enqueue_one()
    lease = await driver.take_one()
    driver.clock.advance(LEASE_MS - 1)
    (verdict,) = await driver.report(Report(*lease, ending))
    assert verdict.word == DONE


@pytest.mark.parametrize("ending", ENDINGS)
async def test_task_never_claimed_is_lost_under_fence_0(
    driver: QueueDriver, ending: Ending
) -> None:
    name = await driver.enqueue_one()
    before = driver.snapshot()
    (verdict,) = await driver.report(Report(name, 0, ending))
    assert verdict == Verdict(LOST, TaskState.PENDING, START_MS, "")
    assert driver.snapshot() == before


async def test_unknown_task(driver: QueueDriver) -> None:
    before = driver.snapshot()
    verdict = await driver.complete(Lease(b"unknown", 5))
    assert verdict == Verdict(UNKNOWN, 0, 0, "")
    assert driver.snapshot() == before


async def test_never_more_claims_than_attempts(driver: QueueDriver) -> None:
    name = await driver.enqueue_one(max_attempts=3)
    claims = 0
    while (claimed := await driver.claim()).tasks:
        claims += 1
        row = read_row(claimed.tasks[0][1])
        assert row.attempt == claims
        await driver.fail(Lease(name, row.fence), delay_ms=0)
    assert claims == 3
    assert driver.snapshot().state(name) == TaskState.FAILED
