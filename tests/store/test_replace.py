"""Replacing a task under its idempotency key: it keeps its id, all else is new."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codeq_grpc.core.records import Idempotency
from codeq_grpc.core.task import Conflict, Ending, TaskState
from codeq_grpc.store.tasks import LOST, Special
from tests.support.clock import START_MS
from tests.support.driver import LEASE_MS, More, Packed, QueueDriver, task
from tests.support.snapshot import PARKED, TWICE, Meta

if TYPE_CHECKING:
    from typing import Unpack

pytestmark = pytest.mark.usefixtures("consistent")

FAR_MS = START_MS + 1_000_000
UNKNOWN_ID = "AAAAAAcAANBdrMAAAA"
UNHELD: dict[TaskState, More] = {
    TaskState.PENDING: {},
    TaskState.SCHEDULED: {"when": -5_000},
    TaskState.BLOCKED: {"depends_on": (UNKNOWN_ID,)},
}
unheld = pytest.mark.parametrize("old", UNHELD)
to_unheld = pytest.mark.parametrize("new", UNHELD)


def keyed(spec: bytes = b"new", *, priority: int = 5, **more: Unpack[More]) -> Packed:
    more["idempotency"] = Idempotency("key", b"d" * 16, 0, Conflict.REPLACE)
    return task(spec, priority=priority, **more)


@unheld
@to_unheld
async def test_task_that_nobody_holds_is_replaced_and_keeps_its_id(
    driver: QueueDriver, old: TaskState, new: TaskState
) -> None:
    (name,) = await driver.enqueue(keyed(b"old", **UNHELD[old]))
    driver.clock.advance(7)
    added = await driver.add(keyed(priority=8, **UNHELD[new]))
    assert added.specials == {0: Special(b"REPLACED", name, new)}
    assert added.owed == (new == TaskState.BLOCKED)
    state = driver.snapshot()
    assert state.bodies == {name: b"new"}
    meta = state.metas[name]
    assert (meta.state, meta.priority, meta.changed_ms) == (new, 8, START_MS + 7)
    assert list(state.parents) == ([name] if new == TaskState.BLOCKED else [])
    assert (await driver.stats()).enqueued_total == 1


@unheld
@to_unheld
async def test_nothing_of_the_old_task_stays(
    driver: QueueDriver, old: TaskState, new: TaskState
) -> None:
    """It had an attempt, an error, a history and a checkpoint, labels and an expiry."""
    await driver.enqueue(
        keyed(b"old", labels=(("a", "1"), ("b", "2")), expire_ms=FAR_MS, concurrency_key="k")
    )
    lease = await driver.take_one()
    await driver.tell(lease, b"progress", b"checkpoint")
    await driver.fail(lease, b"error", delay_ms=0)
    if old != TaskState.PENDING:
        more: More = {**UNHELD[old], "expire_ms": FAR_MS, "labels": (("a", "1"),)}
        await driver.add(keyed(b"old", **more))
    await driver.add(keyed(**UNHELD[new]))
    state = driver.snapshot()
    assert (state.outcomes, state.labels, state.expiries) == ({}, set(), {})
    meta = state.metas[lease.name]
    assert (meta.flags & ~(0xFF | TWICE), meta.attempt, meta.fence, meta.ending) == (
        0,
        0,
        0,
        Ending.NONE,
    )
    assert (await driver.complete(lease)).word == LOST


async def test_labels_and_expiry_are_those_of_the_new_task(driver: QueueDriver) -> None:
    (name,) = await driver.enqueue(keyed(b"old", labels=(("a", "1"), ("b", "2")), expire_ms=FAR_MS))
    await driver.add(keyed(labels=(("b", "2"), ("c", "3")), expire_ms=FAR_MS + 5))
    state = driver.snapshot()
    assert state.labels == {(b"b\0002\0", name), (b"c\0003\0", name)}
    assert state.expiries == {name: FAR_MS + 5}


async def test_pending_task_keeps_its_place_in_its_priority(driver: QueueDriver) -> None:
    (name,) = await driver.enqueue(keyed(b"old"))
    await driver.enqueue_one()
    await driver.add(keyed())
    assert (await driver.take_one()).name == name


async def test_pending_task_of_another_priority_goes_to_its_tail(driver: QueueDriver) -> None:
    (name,) = await driver.enqueue(keyed(b"old"))
    first, second = await driver.enqueue(task(priority=7), task(priority=5))
    for priority in (7, 3, 7):
        await driver.add(keyed(priority=priority))
    assert await driver.claim_names() == [first, name, second]


async def test_task_whose_expiry_has_passed_counts_as_ended_though_not_yet_reaped(
    driver: QueueDriver,
) -> None:
    (old,) = await driver.enqueue(keyed(b"old", expire_ms=START_MS + 5))
    driver.clock.advance(5)
    (new,) = await driver.enqueue(keyed())
    await driver.reap()
    assert driver.snapshot().state(old) == TaskState.EXPIRED
    assert await driver.claim_names() == [new]


async def test_task_that_a_worker_holds_is_not_replaced(driver: QueueDriver) -> None:
    (name,) = await driver.enqueue(keyed(b"old"))
    await driver.take_one()
    before = driver.snapshot()
    added = await driver.add(keyed())
    assert added.specials == {0: Special(b"EXISTS", name, TaskState.IN_PROGRESS)}
    after = driver.snapshot()
    assert (after.metas, after.bodies) == (before.metas, before.bodies)


@pytest.mark.parametrize("how", ["complete", "fail", "cancel", "expire", "purge"])
async def test_task_that_has_ended_stays_and_another_takes_the_key(
    driver: QueueDriver, how: str
) -> None:
    (old,) = await driver.enqueue(keyed(b"old", expire_ms=START_MS + LEASE_MS))
    if how in {"complete", "fail"}:
        lease = await driver.take_one()
        await (driver.complete(lease) if how == "complete" else driver.fail(lease))
        await driver.cancel(old)
    elif how == "cancel":
        await driver.cancel(old)
    elif how == "purge":
        await driver.purge()
    else:
        driver.clock.advance(LEASE_MS)
        await driver.reap()
    (new,) = await driver.enqueue(keyed())
    assert new != old
    state = driver.snapshot()
    assert state.state(old) >= TaskState.COMPLETED
    assert state.remembered[b"key"].name == new
    assert state.bodies == {old: b"old", new: b"new"}


async def test_parked_task_is_replaced_by_one_that_is_not(driver: QueueDriver) -> None:
    await driver.configure(max_in_progress_per_key=1)
    await driver.enqueue(task(concurrency_key="k"), keyed(b"old", concurrency_key="k"))
    await driver.take_one()
    assert await driver.claim_names() == []
    (parked,) = driver.snapshot().parked
    await driver.add(keyed())
    state = driver.snapshot()
    assert (state.parked, state.metas[parked.name].has(PARKED)) == ([], False)
    assert await driver.claim_names() == [parked.name]


async def test_parked_task_is_replaced_by_one_of_the_same_key_which_is_parked_anew(
    driver: QueueDriver,
) -> None:
    await driver.configure(max_in_progress_per_key=1)
    await driver.enqueue(task(concurrency_key="k"), keyed(b"old", concurrency_key="k"))
    lease = await driver.take_one()
    assert await driver.claim_names() == []
    await driver.add(keyed(concurrency_key="k", priority=9))
    assert await driver.claim_names() == []
    assert [parked.priority for parked in driver.snapshot().parked] == [9]
    await driver.complete(lease)
    assert len(await driver.claim_names()) == 1


async def test_who_waits_for_the_end_of_a_replaced_task_goes_on_waiting(
    driver: QueueDriver,
) -> None:
    (name,) = await driver.enqueue(keyed(b"old"))
    await driver.store.await_end(driver.queue, name, "srv")
    await driver.follow(UNKNOWN_ID, name)
    await driver.add(keyed(priority=1))
    assert driver.snapshot().waited == {name: b"srv"}
    await driver.complete(await driver.take_one())
    assert driver.snapshot().waited == {}
    assert [entry.others for entry in await driver.owed()] == [[UNKNOWN_ID]]


async def test_window_of_the_key_is_that_of_the_new_task(driver: QueueDriver) -> None:
    await driver.enqueue(task(idempotency=Idempotency("key", b"d" * 16, 1_000, Conflict.FAIL)))
    driver.clock.advance(900)
    new = task(idempotency=Idempotency("key", b"e" * 16, 1_000, Conflict.REPLACE))
    await driver.add(new)
    driver.clock.advance(900)
    again = task(idempotency=Idempotency("key", b"e" * 16, 1_000, Conflict.USE_EXISTING))
    assert (await driver.add(again)).specials[0].word == b"EXISTING"


async def test_row_of_a_replaced_task_is_that_of_a_new_one(driver: QueueDriver) -> None:
    (name,) = await driver.enqueue(keyed(b"old", timeout_ms=5_000, lease_ms=3_000))
    driver.clock.advance(1)
    await driver.add(keyed(priority=2))
    (fresh,) = await driver.enqueue(task(b"new", priority=2))
    replaced, new = driver.meta(name), driver.meta(fresh)
    assert isinstance(new, Meta)
    assert replaced._replace(flags=new.flags, idempotency=b"") == new


@pytest.mark.parametrize("key", ["other", ""], ids=["another-key", "no-key"])
async def test_one_let_in_that_is_replaced_by_one_of_another_key_lets_the_next_in(
    driver: QueueDriver, key: str
) -> None:
    """It keeps its place, but goes no longer before those that are parked."""
    await driver.configure(max_in_progress_per_key=1)
    more: More = {"concurrency_key": "k"}
    names = await driver.enqueue(task(**more), keyed(**more), task(**more), task(**more))
    lease = await driver.take_one()
    assert await driver.claim_names() == []
    await driver.complete(lease)
    await driver.add(keyed(concurrency_key=key))
    assert set(await driver.claim_names()) == set(names[1:3])


async def test_one_let_in_that_is_replaced_by_one_of_its_key_keeps_its_turn(
    driver: QueueDriver,
) -> None:
    await driver.configure(max_in_progress_per_key=1)
    more: More = {"concurrency_key": "k"}
    names = await driver.enqueue(task(**more), keyed(**more), task(**more))
    lease = await driver.take_one()
    assert await driver.claim_names() == []
    await driver.complete(lease)
    await driver.add(keyed(**more))
    assert [parked.name for parked in driver.snapshot().parked] == [names[2]]
    assert await driver.claim_names() == [names[1]]
