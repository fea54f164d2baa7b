"""redrive: ended tasks that did not complete are claimable again, with fresh attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codeq_grpc.core.records import Idempotency
from codeq_grpc.core.task import Conflict, Ending, TaskState
from codeq_grpc.store.rows import read_row
from codeq_grpc.store.wakeups import work_key
from tests.store.making import tasks_of_every_state
from tests.support.clock import START_MS
from tests.support.driver import Packed, QueueDriver, task

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.admin import Ear

pytestmark = pytest.mark.usefixtures("consistent")

EXPIRE_MS = START_MS + 10_000


async def ended(driver: QueueDriver, how: str, *, expire_ms: int = 0) -> bytes:
    """Name of a task that ended so."""
    (name,) = await driver.enqueue(task(b"s", b"p", max_attempts=2, expire_ms=expire_ms))
    if how == "failed":
        for _ in range(2):
            await driver.fail(await driver.take_one(), b"boom", delay_ms=0)
    elif how == "cancelled":
        await driver.cancel(name)
    elif how == "purged":
        await driver.purge()
    elif how == "expired":
        driver.clock.ms = max(driver.clock.ms, expire_ms)
        await driver.reap()
    return name


@pytest.mark.parametrize("how", ["failed", "cancelled", "purged"])
async def test_ended_task_is_claimable_again_with_fresh_attempts(
    driver: QueueDriver, how: str
) -> None:
    name = await ended(driver, how)
    driver.clock.advance(5)
    assert await driver.redrive(name) == [(b"REDRIVEN", TaskState.PENDING)]
    meta = driver.meta(name)
    assert (meta.state, meta.attempt, meta.ending) == (TaskState.PENDING, 0, Ending.NONE)
    assert meta.time_ms == driver.clock.ms
    assert driver.snapshot().bodies == {name: b"sp"}
    for _ in range(2):
        lease = await driver.take_one()
        await driver.fail(lease, delay_ms=0)
    assert driver.snapshot().state(name) == TaskState.FAILED


@pytest.mark.parametrize("how", ["failed", "cancelled", "purged", "expired"])
async def test_redriven_with_a_delay_it_is_scheduled(driver: QueueDriver, how: str) -> None:
    name = await ended(driver, how, expire_ms=EXPIRE_MS)
    now = driver.clock.ms
    assert await driver.redrive(name, delay_ms=700) == [(b"REDRIVEN", TaskState.SCHEDULED)]
    (due,) = driver.snapshot().scheduled.values()
    assert due in {now + 700, now + 701}  # a purge moves the clock
    assert await driver.claim_names() == []
    driver.clock.ms = due
    assert await driver.claim_names() == [name]


async def test_delays_of_many_are_each_its_own(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task() for _ in range(500)])
    await driver.cancel(*names)
    spread = [(name, i * 10) for i, name in enumerate(names)]
    words = await driver.store.redrive(driver.queue, spread)
    assert [word for word, _ in words] == [b"REDRIVEN"] * 500
    state = driver.snapshot()
    assert state.scheduled == {name: START_MS + delay for name, delay in spread[1:]}
    assert (state.state(names[0]), state.cancelled) == (TaskState.PENDING, {})


async def test_expiry_that_has_passed_is_dropped(driver: QueueDriver) -> None:
    name = await ended(driver, "expired", expire_ms=EXPIRE_MS)
    await driver.redrive(name)
    meta = driver.meta(name)
    assert (meta.expire_ms, driver.snapshot().expiries) == (0, {})
    driver.clock.advance(86_400_000)
    await driver.reap()
    assert await driver.claim_names() == [name]


@pytest.mark.parametrize(("delay_ms", "kept"), [(0, True), (9_999, True), (10_000, False)])
async def test_expiry_still_to_come_is_kept_if_it_comes_after_the_delay(
    driver: QueueDriver, delay_ms: int, kept: bool
) -> None:
    name = await ended(driver, "cancelled", expire_ms=EXPIRE_MS)
    await driver.redrive(name, delay_ms=delay_ms)
    state = driver.snapshot()
    assert state.expiries == ({name: EXPIRE_MS} if kept else {})
    assert state.metas[name].expire_ms == (EXPIRE_MS if kept else 0)


async def test_the_rest_of_what_the_producer_fixed_stays_when_the_expiry_goes(
    driver: QueueDriver,
) -> None:
    more = task(expire_ms=EXPIRE_MS, timeout_ms=9_000, concurrency_key="k", labels=(("a", "1"),))
    (name,) = await driver.enqueue(more)
    before = driver.meta(name)
    driver.clock.ms = EXPIRE_MS
    await driver.reap()
    await driver.redrive(name)
    after = driver.meta(name)
    assert (after.timeout_ms, after.key) == (before.timeout_ms, before.key) == (9_000, b"k")
    assert driver.snapshot().labels == {(b"a\0001\0", name)}


async def test_tasks_in_other_states_are_refused_and_stay_as_they_are(driver: QueueDriver) -> None:
    names = await tasks_of_every_state(driver)
    before = driver.snapshot()
    states = {name: before.state(name) for name in names}
    answers = await driver.redrive(*names)
    for name, (word, state) in zip(names, answers, strict=True):
        redrivable = states[name] > TaskState.COMPLETED
        assert word == (b"REDRIVEN" if redrivable else b"REFUSED")
        assert state == (TaskState.PENDING if redrivable else states[name])
        if not redrivable:
            assert driver.meta(name) == before.metas[name]


async def test_unknown_task_and_task_named_twice(driver: QueueDriver) -> None:
    name = await ended(driver, "cancelled")
    assert await driver.redrive(b"unknown", name, name) == [
        (b"UNKNOWN", 0),
        (b"REDRIVEN", TaskState.PENDING),
        (b"REFUSED", TaskState.PENDING),
    ]
    assert await driver.claim_names() == [name]


async def test_redriven_while_its_old_entry_stands_it_is_claimed_once(driver: QueueDriver) -> None:
    first, second = await driver.enqueue(task(), task())
    for _ in range(3):
        await driver.cancel(first)
        await driver.redrive(first)
    assert sorted(await driver.claim_names()) == [first, second]
    assert driver.snapshot().pending == []


async def test_purged_parked_and_blocked_tasks_are_redriven_out_of_their_places(
    driver: QueueDriver,
) -> None:
    await driver.configure(max_in_progress_per_key=1)
    names = await driver.enqueue(
        task(concurrency_key="k"),
        task(concurrency_key="k"),
        task(depends_on=(driver.id(b"unknown"),)),
    )
    lease = await driver.take_one()
    assert await driver.claim_names() == []
    await driver.purge()
    await driver.redrive(*names[1:])
    state = driver.snapshot()
    assert (state.parked, state.blocked, state.parents) == ([], {}, {})
    assert await driver.claim_names() == names[2:]
    await driver.complete(lease)
    assert await driver.claim_names() == names[1:2]


async def test_servers_that_wait_are_told(
    driver: QueueDriver, listen: Callable[[str], Ear]
) -> None:
    names = [await ended(driver, "cancelled") for _ in range(2)]
    ears = [listen("a"), listen("b"), listen("c")]
    for server in "abc":
        await driver.claim(wake=server)
        driver.clock.advance(1)
    await driver.redrive(*names)
    work = [work_key(driver.queue)]
    assert [ear.heard() for ear in ears] == [work, work, []]


async def test_history_and_checkpoint_stay(driver: QueueDriver) -> None:
    (name,) = await driver.enqueue(task(max_attempts=1))
    lease = await driver.take_one()
    await driver.tell(lease, b"progress", b"checkpoint")
    await driver.fail(lease, b"boom")
    await driver.redrive(name)
    ((_, raw, _, checkpoint),) = (await driver.claim()).tasks
    assert (read_row(raw).attempt, checkpoint) == (1, b"checkpoint")
    assert (await driver.read_one(name)).history.endswith(b"boom")


def keyed(key: str = "key", *, ttl_ms: int = 0) -> Packed:
    return task(idempotency=Idempotency(key, b"d" * 16, ttl_ms, Conflict.REPLACE))


@pytest.mark.parametrize("other", ["pending", "cancelled"])
async def test_task_whose_key_leads_to_another_one_is_refused(
    driver: QueueDriver, other: str
) -> None:
    """Else two would go on under one key."""
    (old,) = await driver.enqueue(keyed())
    await driver.cancel(old)
    new, free = await driver.enqueue(keyed(), keyed("other"))
    await driver.cancel(free, *([new] if other == "cancelled" else []))
    assert await driver.redrive(old, new, free) == [
        (b"SUPERSEDED", TaskState.CANCELLED),
        (b"REDRIVEN" if other == "cancelled" else b"REFUSED", TaskState.PENDING),
        (b"REDRIVEN", TaskState.PENDING),
    ]
    assert set(await driver.claim_names()) == {new, free}


@pytest.mark.parametrize("how", ["forgotten", "deleted"])
async def test_task_whose_key_leads_to_no_other_any_more_is_redriven(
    driver: QueueDriver, how: str
) -> None:
    (old,) = await driver.enqueue(keyed(ttl_ms=1_000))
    await driver.cancel(old)
    await driver.enqueue(keyed(ttl_ms=1_000))
    await driver.complete(await driver.take_one())
    if how == "forgotten":
        driver.clock.advance(1_000)
    else:
        driver.clock.advance(1)
        assert (await driver.prune(indexes="t"))[1] == 1
    assert await driver.redrive(old) == [(b"REDRIVEN", TaskState.PENDING)]


async def test_task_whose_deletion_was_aborted_stays_as_it_is(driver: QueueDriver) -> None:
    """Its body went first: there is nothing to run."""
    name, whole = await ended(driver, "failed"), await ended(driver, "failed")
    body = driver.snapshot().bodies[name]
    driver.admin.call("HDEL", driver.key("b"), name)
    assert await driver.redrive(name, whole) == [
        (b"UNKNOWN", TaskState.FAILED),
        (b"REDRIVEN", TaskState.PENDING),
    ]
    assert await driver.claim_names() == [whole]
    driver.admin.call("HSET", driver.key("b"), name, body)
