"""What is kept of attempts: history, progress, checkpoints; and payloads, which are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codeq_grpc.core.errors import CodeQError
from codeq_grpc.core.records import Attempt
from codeq_grpc.core.task import Ending
from codeq_grpc.store.keys import Queue
from codeq_grpc.store.rows import attempts_of
from codeq_grpc.store.tasks import Report
from tests.support.aborting import AbortingConnection
from tests.support.clock import START_MS, VirtualClock
from tests.support.driver import ENOUGH, ERRORS, LEASE_MS, Lease, QueueDriver, leases_of, task

if TYPE_CHECKING:
    from codeq_grpc.core.retry import RetryPolicy
    from tests.support.admin import Admin
    from tests.support.stores import StoreProcess

pytestmark = pytest.mark.usefixtures("consistent")


async def attempts(driver: QueueDriver, name: bytes) -> list[Attempt]:
    stored = await driver.read_one(name)
    return attempts_of(stored.row, stored.history)


async def test_attempts_that_failed_are_kept_oldest_first_and_the_last_as_it_is(
    driver: QueueDriver,
) -> None:
    name = await driver.enqueue_one(max_attempts=9)
    first = await driver.take_one(worker="wörker")
    driver.clock.advance(5)
    await driver.fail(first, b"boom", delay_ms=0)
    second = await driver.take_one(worker="b")
    driver.clock.advance(LEASE_MS)
    await driver.reap()
    third = await driver.take_one(worker="c")
    now = driver.clock.ms
    ended = [
        Attempt(1, first.fence, "wörker", START_MS, START_MS + 5, b"boom"),
        Attempt(2, second.fence, "b", START_MS + 5, now, ERRORS.lease_expired),
    ]
    running = Attempt(3, third.fence, "c", now, 0, b"")
    assert await attempts(driver, name) == [*ended, running]
    driver.clock.advance(7)
    await driver.complete(third)
    assert await attempts(driver, name) == [*ended, running._replace(end_ms=now + 7)]


async def test_abandoned_attempts_are_not_kept(driver: QueueDriver) -> None:
    name = await driver.enqueue_one()
    await driver.abandon(await driver.take_one())
    assert await attempts(driver, name) == []
    await driver.fail(await driver.take_one(), b"boom")
    assert [attempt.number for attempt in await attempts(driver, name)] == [1]


async def test_last_20_are_kept(driver: QueueDriver) -> None:
    name = await driver.enqueue_one(max_attempts=100)
    for i in range(1, 26):
        await driver.fail(await driver.take_one(), b"%d" % i * i, delay_ms=0)
        numbers = [attempt.number for attempt in await attempts(driver, name)]
        assert numbers == list(range(max(1, i - 19), i + 1))
    lease = await driver.take_one()
    kept = await attempts(driver, name)
    assert [attempt.number for attempt in kept] == list(range(7, 27))
    assert [attempt.error for attempt in kept[:-1]] == [b"%d" % i * i for i in range(7, 26)]
    await driver.complete(lease)
    assert [attempt.number for attempt in await attempts(driver, name)] == list(range(7, 27))


async def test_long_error_is_kept_whole_and_short_in_the_history(driver: QueueDriver) -> None:
    name = await driver.enqueue_one()
    lease = await driver.take_one()
    await driver.report(Report(*lease, Ending.FAIL, b"long" * 40_000, short=b"short"))
    assert (await driver.read_one(name)).error == b"long" * 40_000
    assert [attempt.error for attempt in await attempts(driver, name)] == [b"short"]


async def test_attempts_of_many_tasks_in_one_report(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task() for _ in range(500)])
    for turn in range(2):
        leases = await driver.take(500)
        reports = [Report(*lease, Ending.FAIL, b"%d" % turn, 0) for lease in leases]
        await driver.report(*reports, *reports)
    for name in (names[0], names[250], names[499]):
        assert [attempt.error for attempt in await attempts(driver, name)] == [b"0", b"1"]


async def test_attempt_is_kept_once_though_its_report_was_aborted_and_repeated(
    store: StoreProcess, admin: Admin, policy: RetryPolicy
) -> None:
    aborting = AbortingConnection(store.url, VirtualClock())
    driver = QueueDriver.over(aborting, Queue("acme", "RENDER", 7), admin, policy)
    aborted, write = True, 0
    while aborted:
        write += 1
        admin.call("FLUSHALL")
        name = await driver.enqueue_one(max_attempts=9)
        await driver.fail(await driver.take_one(), b"first", delay_ms=0)
        lease = await driver.take_one()
        aborting.abort("report", write)
        try:
            await driver.fail(lease, b"second", delay_ms=0)
        except CodeQError:
            await driver.fail(lease, b"second", delay_ms=0)
        aborted = bool(aborting.aborted)
        errors = [attempt.error for attempt in await attempts(driver, name)]
        assert errors == [b"first", b"second"]
    await aborting.close()


async def test_progress_and_checkpoint_are_kept_till_told_anew(driver: QueueDriver) -> None:
    name = await driver.enqueue_one()
    lease = await driver.take_one()

    async def told() -> tuple[bytes, bytes]:
        stored = await driver.read_one(name)
        return stored.progress, stored.checkpoint

    assert await told() == (b"", b"")
    await driver.tell(lease, b"p1", b"c1")
    await driver.tell(lease)
    assert await told() == (b"p1", b"c1")
    await driver.tell(lease, b"p2")
    await driver.tell(lease, b"", b"c2")
    assert await told() == (b"p2", b"c2")


async def test_lost_lease_tells_nothing(driver: QueueDriver) -> None:
    await driver.enqueue_one()
    lease = await driver.take_one()
    before = driver.snapshot()
    forged = Lease(lease.name, lease.fence + 1)
    assert await driver.tell(forged, b"p", b"c") == (b"LOST", b"")
    assert await driver.tell(Lease(b"unknown", 1), b"p", b"c") == (b"UNKNOWN", b"")
    assert driver.snapshot() == before


@pytest.mark.parametrize("how", ["fail", "abandon", "expire"])
async def test_checkpoint_is_handed_to_the_next_attempt(driver: QueueDriver, how: str) -> None:
    await driver.enqueue(task(b"spec"), task(b"other"))
    lease = await driver.take_one()
    await driver.tell(lease, b"progress", b"checkpoint")
    if how == "fail":
        await driver.fail(lease, delay_ms=0)
    elif how == "abandon":
        await driver.abandon(lease)
    else:
        driver.clock.advance(LEASE_MS)
        await driver.reap()
    claimed = await driver.claim(2)
    checkpoints = {spec: checkpoint for _, _, spec, checkpoint in claimed.tasks}
    assert checkpoints == {b"spec": b"checkpoint", b"other": b""}


async def test_checkpoints_count_in_the_bytes_of_a_claim(driver: QueueDriver) -> None:
    await driver.enqueue(*[task() for _ in range(4)])
    leases = await driver.take(4)
    for lease in leases:
        await driver.tell(lease, b"", b"c")
    await driver.report(*[Report(*lease, Ending.ABANDON) for lease in leases])
    assert len((await driver.claim(4, max_bytes=600_000)).tasks) == 2
    assert len((await driver.claim(4, max_bytes=ENOUGH)).tasks) == 2


async def test_payload_of_a_completed_task_is_dropped(driver: QueueDriver) -> None:
    names = await driver.enqueue(task(b"spec", b"payload"), task(b"spec"), task(b"s", b"payload"))
    claimed = await driver.claim(2)
    assert claimed.tasks[0][2] == b"spec" + b"payload"
    for lease in leases_of(claimed):
        await driver.complete(lease)
    state = driver.snapshot()
    assert state.bodies == {names[0]: b"spec", names[1]: b"spec", names[2]: b"spayload"}
    assert (await driver.read_one(names[0])).spec == b"spec"


async def test_payload_is_kept_if_the_queue_says_so_or_if_the_task_may_be_redriven(
    driver: QueueDriver,
) -> None:
    await driver.enqueue(*[task(b"s", b"payload", max_attempts=1)] * 3)
    failed, completed = await driver.take(2)
    await driver.fail(failed)
    await driver.configure(retain_payload=True)
    await driver.complete(completed)
    await driver.cancel(*driver.snapshot().pending)
    assert set(driver.snapshot().bodies.values()) == {b"spayload"}
