"""expire_time and attempt_timeout: limits that no heartbeat and no retry moves."""

from __future__ import annotations

import pytest

from codeq_grpc.core.records import Idempotency
from codeq_grpc.core.task import Conflict, Ending, TaskState
from codeq_grpc.store.rows import attempts_of
from codeq_grpc.store.tasks import DONE, LOST, Special
from tests.support.clock import START_MS
from tests.support.driver import ERRORS, LEASE_MS, More, QueueDriver, task

pytestmark = pytest.mark.usefixtures("consistent")

EXPIRE_MS = START_MS + 10_000
UNHELD: dict[str, More] = {
    "pending": {},
    "scheduled": {"when": -5_000},
    "blocked": {"depends_on": ("AAAAAAcAANBdrMAAAA",)},
    "backing-off": {},
    "parked": {"concurrency_key": "k"},
}


def move_to(driver: QueueDriver, time_ms: int) -> None:
    driver.clock.ms = time_ms


@pytest.mark.parametrize("how", UNHELD)
async def test_task_that_nobody_holds_expires_at_its_time(driver: QueueDriver, how: str) -> None:
    await driver.configure(max_in_progress_per_key=1)
    if how == "parked":
        await driver.enqueue(task(concurrency_key="k", priority=9, lease_ms=86_400_000))
    more: More = {**UNHELD[how], "expire_ms": EXPIRE_MS}
    (name,) = await driver.enqueue(task(**more))
    if how == "parked":
        await driver.take_one()
        assert await driver.claim_names() == []
    if how == "backing-off":
        await driver.fail(await driver.take_one(), delay_ms=60_000)
    move_to(driver, EXPIRE_MS - 1)
    reaped = await driver.reap_step()
    assert (reaped.next_ms, driver.snapshot().expired) == (EXPIRE_MS, {})
    move_to(driver, EXPIRE_MS)
    assert (await driver.reap_step()).expired == []
    state = driver.snapshot()
    assert state.expired == {name: EXPIRE_MS}
    assert state.texts("e") == {name: ERRORS.task_expired}
    assert (state.scheduled, state.blocked, state.parked, state.expiries) == ({}, {}, [], {})
    assert await driver.claim_names() == []
    assert (await driver.stats()).expired == 1


async def test_expired_task_is_not_claimed_though_not_yet_reaped(driver: QueueDriver) -> None:
    _, other = await driver.enqueue(task(expire_ms=EXPIRE_MS), task())
    move_to(driver, EXPIRE_MS)
    assert await driver.claim_names() == [other]


async def test_lease_does_not_last_beyond_the_expiry(driver: QueueDriver) -> None:
    await driver.enqueue(task(expire_ms=EXPIRE_MS))
    lease = await driver.take_one()
    assert driver.meta(lease.name).time_ms == EXPIRE_MS
    assert await driver.heartbeat(lease, extend_ms=86_400_000) == [b"EXTENDED"]
    assert driver.snapshot().leases == {lease.name: EXPIRE_MS}


async def test_task_that_a_worker_holds_expires_and_its_report_is_lost(
    driver: QueueDriver,
) -> None:
    await driver.enqueue(task(expire_ms=EXPIRE_MS))
    lease = await driver.take_one(owner="srv.1")
    move_to(driver, EXPIRE_MS)
    (expired,) = (await driver.reap_step()).expired
    assert expired == (lease.name, lease.fence, "srv.1")
    assert driver.snapshot().expired == {lease.name: EXPIRE_MS}
    assert (await driver.complete(lease)).word == LOST
    stored = await driver.read_one(lease.name)
    (attempt,) = attempts_of(stored.row, stored.history)
    assert (stored.error, attempt.error) == (ERRORS.task_expired, ERRORS.lease_expired)


async def test_wish_to_cancel_goes_before_the_expiry(driver: QueueDriver) -> None:
    await driver.enqueue(task(expire_ms=EXPIRE_MS))
    lease = await driver.take_one()
    await driver.cancel(lease.name)
    move_to(driver, EXPIRE_MS)
    await driver.reap()
    assert driver.snapshot().cancelled == {lease.name: EXPIRE_MS}


async def test_ended_task_does_not_expire(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task(expire_ms=EXPIRE_MS, max_attempts=1)] * 3)
    completed, failed = await driver.take(2)
    await driver.complete(completed)
    await driver.fail(failed)
    await driver.cancel(names[2])
    assert driver.snapshot().expiries == {}
    move_to(driver, EXPIRE_MS)
    before = driver.snapshot()
    await driver.reap()
    assert driver.snapshot() == before


@pytest.mark.parametrize("when", [0, -9_999, -10_000, -10_001, START_MS + 10_000])
@pytest.mark.parametrize("offset", [-1, 0, 1])
async def test_task_that_expires_before_it_may_run_is_refused(
    driver: QueueDriver, when: int, offset: int
) -> None:
    due = when if when > 0 else START_MS - when
    added = await driver.add(task(when=when, expire_ms=due + offset))
    if offset > 0:
        assert added.specials == {}
    else:
        assert added.specials == {0: Special(b"OVERDUE", added.names[0], 0)}
        assert driver.snapshot().metas == {}


async def test_limit_of_the_reaper_holds_for_leases_and_expiries_together(
    driver: QueueDriver,
) -> None:
    await driver.enqueue(*[task(priority=9)] * 3)
    await driver.take(3)
    await driver.enqueue(*[task(expire_ms=START_MS + LEASE_MS)] * 3)
    move_to(driver, START_MS + LEASE_MS)
    seen = []
    while (reaped := await driver.reap_step(2)).more:
        seen.append((len(reaped.expired), len(driver.snapshot().expired)))
    assert seen == [(2, 0), (1, 1), (0, 3)]
    assert reaped.next_ms == 0


async def test_batch_of_500_expires(driver: QueueDriver) -> None:
    await driver.enqueue(*[task(expire_ms=EXPIRE_MS, when=-(i % 2)) for i in range(500)])
    move_to(driver, EXPIRE_MS)
    await driver.reap()
    assert len(driver.snapshot().expired) == 500


async def test_attempt_ends_at_its_limit_whatever_the_heartbeats(driver: QueueDriver) -> None:
    limit = LEASE_MS * 2 + 500
    (name,) = await driver.enqueue(task(timeout_ms=limit))
    lease = await driver.take_one()
    for _ in range(4):
        driver.clock.advance(LEASE_MS // 2)
        assert await driver.heartbeat(lease) == [b"EXTENDED"]
    assert driver.meta(name).time_ms == START_MS + limit
    driver.clock.ms = START_MS + limit
    assert await driver.heartbeat(lease) == [b"LOST"]
    assert await driver.reap() == [name]
    state = driver.snapshot()
    assert (state.state(name), state.metas[name].attempt) == (TaskState.PENDING, 1)
    assert state.texts("e") == {name: ERRORS.attempt_timeout}


async def test_limit_counts_for_each_attempt_from_its_claim(driver: QueueDriver) -> None:
    await driver.enqueue(task(timeout_ms=5_000))
    for _ in range(2):
        lease = await driver.take_one()
        assert driver.meta(lease.name).time_ms == driver.clock.ms + 5_000
        driver.clock.advance(5_000)
        await driver.reap()
    assert (await driver.complete(await driver.take_one())).word == DONE


async def test_lease_shorter_than_the_limit_runs_out_as_a_lease(driver: QueueDriver) -> None:
    await driver.enqueue(task(timeout_ms=5_000, lease_ms=1_000, max_attempts=1))
    lease = await driver.take_one()
    driver.clock.advance(1_000)
    await driver.reap()
    state = driver.snapshot()
    assert state.texts("e") == {lease.name: ERRORS.lease_expired}
    assert (state.state(lease.name), state.metas[lease.name].ending) == (
        TaskState.FAILED,
        Ending.EXPIRE,
    )


@pytest.mark.parametrize("conflict", [Conflict.USE_EXISTING, Conflict.FAIL])
async def test_repeat_that_comes_after_the_task_has_expired_is_told_of_it(
    driver: QueueDriver, conflict: Conflict
) -> None:
    """It settles what came of the first: "refused" would mean that there is no task."""
    key = Idempotency("k", b"d" * 16, 0, conflict)
    new = task(expire_ms=EXPIRE_MS, idempotency=key)
    (name,) = await driver.enqueue(new)
    for expected in (TaskState.PENDING, TaskState.EXPIRED):
        move_to(driver, EXPIRE_MS)
        (told,) = (await driver.add(new)).specials.values()
        word = b"EXISTS" if conflict == Conflict.FAIL else b"EXISTING"
        assert told == Special(word, name, expected)
        await driver.reap()
    other = task(expire_ms=EXPIRE_MS, idempotency=key._replace(key="other"))
    assert [s.word for s in (await driver.add(other)).specials.values()] == [b"OVERDUE"]


async def test_replacement_that_comes_too_late_changes_nothing(driver: QueueDriver) -> None:
    key = Idempotency("k", b"d" * 16, 0, Conflict.REPLACE)
    await driver.enqueue(task(b"old", idempotency=key))
    before = driver.snapshot().bodies
    move_to(driver, EXPIRE_MS)
    added = await driver.add(task(b"new", expire_ms=EXPIRE_MS, idempotency=key))
    assert [s.word for s in added.specials.values()] == [b"OVERDUE"]
    assert driver.snapshot().bodies == before
