"""report: many attempts in one call, mixed and doubled."""

from __future__ import annotations

import pytest

from codeq_grpc.core.task import Ending, TaskState
from codeq_grpc.store.tasks import DONE, LOST, REPEATED, UNKNOWN, Report
from tests.support.clock import START_MS
from tests.support.driver import QueueDriver, task

pytestmark = pytest.mark.usefixtures("consistent")


async def test_each_report_of_a_mixed_batch_has_its_own_verdict(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task(priority=9 - i, max_attempts=1 + i % 2) for i in range(6)])
    leases = await driver.take(6, owner="srv.1")
    verdicts = await driver.report(
        Report(*leases[0], Ending.FAIL, b"e0"),
        Report(b"unknown", 7, Ending.COMPLETE),
        Report(*leases[1], Ending.FAIL, b"e1"),
        Report(*leases[2], Ending.COMPLETE, b"r2"),
        Report(leases[3].name, 7, Ending.COMPLETE),
        Report(*leases[4], Ending.ABANDON),
        Report(*leases[5], Ending.FAIL, b"e5", 0),
    )
    assert [verdict.word for verdict in verdicts] == [DONE, UNKNOWN, DONE, DONE, LOST, DONE, DONE]
    assert [verdict.state for verdict in verdicts] == [
        TaskState.FAILED,
        0,
        TaskState.SCHEDULED,
        TaskState.COMPLETED,
        TaskState.IN_PROGRESS,
        TaskState.PENDING,
        TaskState.PENDING,
    ]
    assert [verdict.owner for verdict in verdicts] == ["srv.1", "", *["srv.1"] * 5]
    state = driver.snapshot()
    assert state.failed.keys() == {names[0]}
    assert state.scheduled == {names[1]: START_MS + 1_000}
    assert state.completed.keys() == {names[2]}
    assert state.leases.keys() == {names[3]}
    assert state.pending == names[4:]
    assert state.texts("r") == {names[2]: b"r2"}
    assert state.texts("e") == {names[0]: b"e0", names[1]: b"e1", names[5]: b"e5"}
    assert state.texts("a").keys() == state.texts("e").keys()


@pytest.mark.parametrize("ending", [Ending.COMPLETE, Ending.FAIL, Ending.ABANDON])
async def test_same_report_twice_in_a_batch_counts_once(
    driver: QueueDriver, ending: Ending
) -> None:
    await driver.enqueue(task(), task())
    lease = await driver.take_one()
    verdicts = await driver.report(*[Report(*lease, ending, b"text", 0)] * 3)
    assert [verdict.word for verdict in verdicts] == [DONE, REPEATED, REPEATED]
    assert len({verdict[1:] for verdict in verdicts}) == 1
    counts = await driver.stats()
    assert counts.completed_total == (ending == Ending.COMPLETE)
    assert counts.attempt_failed_total == (ending == Ending.FAIL)


async def test_first_of_two_contradicting_reports_in_a_batch_holds(driver: QueueDriver) -> None:
    name = await driver.enqueue_one()
    lease = await driver.take_one()
    verdicts = await driver.report(
        Report(name, lease.fence + 1, Ending.ABANDON),
        Report(*lease, Ending.COMPLETE, b"result"),
        Report(*lease, Ending.FAIL, b"error"),
    )
    assert [verdict.word for verdict in verdicts] == [LOST, DONE, LOST]
    state = driver.snapshot()
    assert state.state(name) == TaskState.COMPLETED
    assert state.outcomes == {name + b"r": b"result"}


async def test_batch_of_500_completions(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task()] * 500)
    leases = await driver.take(500)
    reports = [Report(*lease, Ending.COMPLETE, b"%d" % i) for i, lease in enumerate(leases)]
    assert {verdict.word for verdict in await driver.report(*reports)} == {DONE}
    state = driver.snapshot()
    assert state.outcomes == {name + b"r": b"%d" % i for i, name in enumerate(names)}
    assert (await driver.stats()).completed_total == 500


async def test_batch_of_500_failures_of_every_kind(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task(max_attempts=1 + i % 2) for i in range(500)])
    leases = await driver.take(500)
    reports = [Report(*lease, Ending.FAIL, b"e", (i // 2) % 2) for i, lease in enumerate(leases)]
    assert {verdict.word for verdict in await driver.report(*reports)} == {DONE}
    state = driver.snapshot()
    assert sorted(state.failed) == names[::2]
    assert state.pending == names[1::4]
    assert sorted(state.scheduled) == names[3::4]


async def test_batch_of_500_given_back_keeps_its_order(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task()] * 501)
    leases = await driver.take(500)
    await driver.report(*[Report(*lease, Ending.ABANDON) for lease in leases])
    assert driver.snapshot().pending == names
