"""cancel: at once if nobody holds the task, otherwise by asking the worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codeq_grpc.core.task import Ending, TaskState
from codeq_grpc.store.rows import attempts_of
from codeq_grpc.store.tasks import DONE, LOST, REPEATED, Cancelled, Report
from codeq_grpc.store.wakeups import ended_key
from tests.store.making import tasks_of_every_state
from tests.support.clock import START_MS
from tests.support.driver import CANCEL_ERROR, LEASE_MS, More, QueueDriver, task
from tests.support.snapshot import CANCELLING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.admin import Ear

pytestmark = pytest.mark.usefixtures("consistent")

UNHELD: dict[str, More] = {
    "pending": {},
    "scheduled": {"when": -5_000},
    "blocked": {"depends_on": ("AAAAAAcAANBdrMAAAA",)},
}


@pytest.mark.parametrize("more", UNHELD.values(), ids=UNHELD)
async def test_task_that_nobody_holds_is_cancelled_at_once(driver: QueueDriver, more: More) -> None:
    full: More = {**more, "labels": (("a", "1"),), "expire_ms": START_MS + 100_000}
    (name,) = await driver.enqueue(task(**full))
    driver.clock.advance(5)
    assert await driver.cancel(name) == [Cancelled(b"CANCELLED", TaskState.CANCELLED, 0, "")]
    state = driver.snapshot()
    assert state.cancelled == {name: START_MS + 5}
    assert state.texts("e") == {name: CANCEL_ERROR}
    assert (state.scheduled, state.blocked, state.parents, state.expiries) == ({}, {}, {}, {})
    assert await driver.claim_names() == []
    assert driver.snapshot().pending == []


async def test_cancelling_again_says_the_same_and_changes_nothing(driver: QueueDriver) -> None:
    name = await driver.enqueue_one()
    first = await driver.cancel(name)
    before = driver.snapshot()
    driver.clock.advance(5)
    assert await driver.cancel(name, error=b"another") == first
    assert driver.snapshot() == before


async def test_task_named_twice_in_one_call_is_cancelled_once(driver: QueueDriver) -> None:
    name = await driver.enqueue_one()
    assert [answer.word for answer in await driver.cancel(name, name)] == [b"CANCELLED"] * 2
    assert driver.snapshot().settings[b"cancelled"] == b"1"


@pytest.mark.parametrize("ending", [Ending.COMPLETE, Ending.FAIL])
async def test_ended_task_stays_as_it_is(driver: QueueDriver, ending: Ending) -> None:
    name = await driver.enqueue_one(max_attempts=1)
    await driver.report(Report(*await driver.take_one(), ending, b"text"))
    before = driver.snapshot()
    state = before.state(name)
    assert await driver.cancel(name, b"unknown") == [
        Cancelled(b"ENDED", state, 0, ""),
        Cancelled(b"UNKNOWN", 0, 0, ""),
    ]
    assert driver.snapshot() == before


async def test_worker_that_holds_the_task_is_asked_and_told_why(driver: QueueDriver) -> None:
    await driver.enqueue_one()
    lease = await driver.take_one(owner="srv.1")
    for _ in range(2):
        assert await driver.cancel(lease.name) == [
            Cancelled(b"REQUESTED", TaskState.IN_PROGRESS, lease.fence, "srv.1")
        ]
    stored = await driver.read_one(lease.name)
    assert (stored.row.cancel_requested, stored.row.state) == (True, TaskState.IN_PROGRESS)
    driver.clock.advance(1)
    assert await driver.tell(lease) == (b"CANCEL", CANCEL_ERROR)
    assert driver.meta(lease.name).time_ms == START_MS + 1 + LEASE_MS


async def test_latest_reason_is_the_one_told(driver: QueueDriver) -> None:
    await driver.enqueue_one()
    lease = await driver.take_one()
    await driver.cancel(lease.name, error=b"first")
    await driver.cancel(lease.name, error=b"second")
    assert await driver.tell(lease) == (b"CANCEL", b"second")


@pytest.mark.parametrize("delay_ms", [None, 0, 500])
@pytest.mark.parametrize("ending", [Ending.FAIL, Ending.ABANDON])
async def test_any_report_but_complete_then_ends_the_task_as_cancelled(
    driver: QueueDriver, ending: Ending, delay_ms: int | None
) -> None:
    name = await driver.enqueue_one()
    lease = await driver.take_one()
    await driver.cancel(name)
    driver.clock.advance(5)
    report = Report(*lease, ending, b"boom", delay_ms)
    words = [(await driver.report(report))[0][:2] for _ in range(2)]
    assert words == [(DONE, TaskState.CANCELLED), (REPEATED, TaskState.CANCELLED)]
    state = driver.snapshot()
    assert state.cancelled == {name: START_MS + 5}
    assert (state.texts("e"), state.texts("c")) == ({name: CANCEL_ERROR}, {})
    stored = await driver.read_one(name)
    assert (stored.row.attempt, stored.row.cancel_requested) == (int(ending == Ending.FAIL), False)
    errors = [attempt.error for attempt in attempts_of(stored.row, stored.history)]
    assert errors == ([b"boom"] if ending == Ending.FAIL else [])


async def test_complete_wins_over_the_wish_to_cancel(driver: QueueDriver) -> None:
    name = await driver.enqueue_one()
    lease = await driver.take_one()
    await driver.cancel(name)
    assert (await driver.complete(lease, b"result"))[:2] == (DONE, TaskState.COMPLETED)
    state = driver.snapshot()
    assert state.outcomes == {name + b"r": b"result"}
    assert not state.metas[name].has(CANCELLING)


async def test_lease_that_runs_out_ends_the_task_as_cancelled(driver: QueueDriver) -> None:
    name = await driver.enqueue_one()
    lease = await driver.take_one()
    await driver.cancel(name)
    driver.clock.advance(LEASE_MS)
    assert (await driver.cancel(name))[0].word == b"REQUESTED"
    assert await driver.reap() == [name]
    assert driver.snapshot().cancelled == {name: START_MS + LEASE_MS}
    assert driver.snapshot().texts("e") == {name: CANCEL_ERROR}
    assert (await driver.complete(lease)).word == LOST


async def test_cancelled_task_is_redriven_without_the_wish(driver: QueueDriver) -> None:
    name = await driver.enqueue_one()
    await driver.cancel(name)
    await driver.redrive(name)
    lease = await driver.take_one()
    assert await driver.tell(lease) == (b"EXTENDED", b"")


async def test_who_waits_is_told_of_the_end_and_not_of_the_wish(
    driver: QueueDriver, listen: Callable[[str], Ear]
) -> None:
    held, pending = await driver.enqueue(task(priority=9), task())
    ear = listen("srv")
    for name in (held, pending):
        await driver.store.await_end(driver.queue, name, "srv")
    lease = await driver.take_one()
    await driver.cancel(held, pending)
    assert ear.heard() == [ended_key(driver.queue) + b"\0" + pending]
    await driver.abandon(lease)
    assert ear.heard() == [ended_key(driver.queue) + b"\0" + held]


async def test_tasks_of_every_state_in_one_call(driver: QueueDriver) -> None:
    names = await tasks_of_every_state(driver)
    words = [answer.word for answer in await driver.cancel(*names)]
    ended = [b"ENDED", b"ENDED"]
    assert words == [b"REQUESTED", *ended, *[b"CANCELLED"] * 5, b"REQUESTED", b"ENDED"]


async def test_batch_of_500(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task(when=-(i % 2)) for i in range(500)])
    await driver.take(100)
    words = [answer.word for answer in await driver.cancel(*names)]
    assert (words.count(b"REQUESTED"), words.count(b"CANCELLED")) == (100, 400)
    assert (await driver.stats())[1:9] == (0, 0, 0, 100, 0, 0, 400, 0)
