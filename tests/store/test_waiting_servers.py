"""Wake-ups: a server that found a queue empty is told of work, and no more servers than needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codeq_grpc.core.task import Ending
from codeq_grpc.store.tasks import Report
from codeq_grpc.store.wakeups import work_key
from tests.support.clock import START_MS
from tests.support.driver import LEASE_MS, QueueDriver, task

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.admin import Ear

pytestmark = pytest.mark.usefixtures("consistent")


async def wait(driver: QueueDriver, *servers: str) -> None:
    """Each finds the queue empty, a millisecond after the other."""
    for server in servers:
        assert (await driver.claim(wake=server)).armed
        driver.clock.advance(1)


async def test_only_the_longest_waiting_server_is_told_of_one_task(
    driver: QueueDriver, listen: Callable[[str], Ear]
) -> None:
    ears = [listen(server) for server in ("c", "a", "b")]
    await wait(driver, "c", "a", "b")
    heard = []
    for _ in range(4):
        await driver.enqueue_one()
        heard.append([ear.heard() for ear in ears])
    work = [work_key(driver.queue)]
    assert heard == [[work, [], []], [[], work, []], [[], [], work], [[], [], []]]


async def test_as_many_servers_are_told_as_there_are_new_tasks(
    driver: QueueDriver, listen: Callable[[str], Ear]
) -> None:
    ears = [listen(server) for server in ("a", "b", "c", "d")]
    await wait(driver, "a", "b", "c", "d")
    await driver.enqueue(task(), task(), task(), task(when=-1_000))
    assert [len(ear.heard()) for ear in ears] == [1, 1, 1, 0]
    assert driver.snapshot().waiting.keys() == {b"d"}


async def test_server_that_no_longer_listens_is_passed_over(
    driver: QueueDriver, listen: Callable[[str], Ear]
) -> None:
    ear = listen("alive")
    await wait(driver, "dead-1", "dead-2", "alive")
    await driver.enqueue_one()
    assert ear.heard() == [work_key(driver.queue)]
    assert driver.snapshot().waiting == {}


async def test_server_waits_once_however_often_it_asks(
    driver: QueueDriver, listen: Callable[[str], Ear]
) -> None:
    ear = listen("a")
    await wait(driver, "a", "a", "a")
    await driver.enqueue(task(), task())
    assert ear.heard() == [work_key(driver.queue)]


async def test_claim_that_promotes_more_than_it_takes_tells_who_waits(
    driver: QueueDriver, listen: Callable[[str], Ear]
) -> None:
    ears = [listen(server) for server in ("a", "b", "c")]
    await driver.enqueue(*[task(when=-1_000, priority=priority) for priority in (1, 9, 5)])
    await wait(driver, "a", "b", "c")
    for ear in ears:
        ear.heard()
    driver.clock.advance(1_000)
    (claimed,) = (await driver.claim(1)).tasks
    assert [len(ear.heard()) for ear in ears] == [1, 1, 0]
    assert driver.snapshot().metas[claimed[0]].priority == 9


async def test_later_task_tells_nobody_unless_it_is_due_before_all_others(
    driver: QueueDriver, listen: Callable[[str], Ear]
) -> None:
    ear = listen("a")
    heard = []
    for delay in (5_000, 9_000, 5_000, 4_999):
        await wait(driver, "a")
        await driver.enqueue_one(when=START_MS + delay)
        heard.append(len(ear.heard()))
    assert heard == [1, 0, 0, 1]


async def test_later_tasks_tell_one_server(
    driver: QueueDriver, listen: Callable[[str], Ear]
) -> None:
    ears = [listen("a"), listen("b")]
    await wait(driver, "a", "b")
    await driver.enqueue(task(when=-50), task(when=-40))
    assert [len(ear.heard()) for ear in ears] == [1, 0]


async def test_promoted_tasks_tell_a_server_each(
    driver: QueueDriver, listen: Callable[[str], Ear]
) -> None:
    await driver.enqueue(task(when=-50), task(when=-50), task(when=-90))
    ears = [listen(server) for server in ("a", "b", "c")]
    await wait(driver, "a", "b", "c")
    driver.clock.advance(50)
    await driver.promote()
    assert [len(ear.heard()) for ear in ears] == [1, 1, 0]


@pytest.mark.parametrize(
    ("ending", "delay_ms", "told"),
    [
        (Ending.COMPLETE, None, 0),
        (Ending.FAIL, 0, 1),
        (Ending.FAIL, 500, 1),
        (Ending.FAIL, None, 1),
        (Ending.ABANDON, None, 1),
        (Ending.ABANDON, 500, 1),
    ],
)
async def test_report_that_gives_a_task_back_tells_a_server(
    driver: QueueDriver,
    listen: Callable[[str], Ear],
    ending: Ending,
    delay_ms: int | None,
    told: int,
) -> None:
    await driver.enqueue_one()
    lease = await driver.take_one()
    ears = [listen("a"), listen("b")]
    await wait(driver, "a", "b")
    await driver.report(Report(*lease, ending, b"", delay_ms))
    assert [len(ear.heard()) for ear in ears] == [told, 0]


async def test_dead_letter_tells_nobody(driver: QueueDriver, listen: Callable[[str], Ear]) -> None:
    await driver.enqueue(task(max_attempts=1), task(max_attempts=1))
    lease, _ = await driver.take(2)
    ear = listen("a")
    await wait(driver, "a")
    await driver.fail(lease)
    driver.clock.advance(LEASE_MS)
    await driver.reap()
    assert ear.heard() == []


async def test_expired_leases_tell_a_server_each(
    driver: QueueDriver, listen: Callable[[str], Ear]
) -> None:
    await driver.enqueue(task(), task(), task(max_attempts=1))
    await driver.take(3)
    ears = [listen(server) for server in ("a", "b", "c")]
    await wait(driver, "a", "b", "c")
    driver.clock.advance(LEASE_MS)
    await driver.reap()
    assert [len(ear.heard()) for ear in ears] == [1, 1, 0]


async def test_server_that_stops_waiting_passes_its_wake_up_on(
    driver: QueueDriver, listen: Callable[[str], Ear]
) -> None:
    gone, next_one, last = listen("gone"), listen("next"), listen("last")
    await wait(driver, "gone", "next", "last")
    await driver.enqueue_one()
    await driver.store.pass_on(driver.queue, "gone")
    assert [len(ear.heard()) for ear in (gone, next_one, last)] == [1, 1, 0]


async def test_server_that_stops_waiting_is_not_woken(
    driver: QueueDriver, listen: Callable[[str], Ear]
) -> None:
    gone = listen("gone")
    await wait(driver, "gone")
    await driver.store.pass_on(driver.queue, "gone")
    await driver.enqueue_one()
    assert gone.heard() == []


async def test_passing_on_with_nobody_waiting_is_fine(driver: QueueDriver) -> None:
    await driver.store.pass_on(driver.queue, "gone")
    assert driver.admin.call("DBSIZE") == 0
