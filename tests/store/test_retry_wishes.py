"""What decides about retries: the task, else its queue, else the server."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from codeq_grpc.core.retry import NO_WISHES, RetryPolicy, RetryWishes
from codeq_grpc.core.task import Ending, TaskState
from codeq_grpc.store.tasks import DONE, Report
from tests.support.driver import QueueDriver, leases_of, task

pytestmark = pytest.mark.usefixtures("consistent")

TASKS = RetryWishes(initial_backoff_ms=100, max_backoff_ms=150, multiplier=1.25, jitter=0.0)
QUEUES = RetryWishes(initial_backoff_ms=7_000, max_backoff_ms=20_000, multiplier=3.0, jitter=0.0)


def part(wishes: RetryWishes, *fields: str) -> RetryWishes:
    """Only these of them."""
    return RetryWishes(**{field: getattr(wishes, field) for field in fields})


def merged(*wishes: RetryWishes, server: RetryPolicy) -> RetryPolicy:
    """Earlier ones go before later ones."""
    given: dict[str, Any] = {}
    for wish in reversed(wishes):
        told = dataclasses.asdict(wish).items()
        given |= {name: value for name, value in told if value not in {None, ()}}
    return dataclasses.replace(server, **given)


@pytest.mark.parametrize(
    "own",
    [NO_WISHES, TASKS, part(TASKS, "initial_backoff_ms"), part(TASKS, "multiplier", "jitter")],
    ids=["nothing", "all", "initial", "growth"],
)
@pytest.mark.parametrize(
    "queues",
    [NO_WISHES, QUEUES, part(QUEUES, "max_backoff_ms"), part(QUEUES, "multiplier")],
    ids=["nothing", "all", "cap", "growth"],
)
async def test_delays_are_those_of_the_task_else_the_queue_else_the_server(
    driver: QueueDriver, policy: RetryPolicy, own: RetryWishes, queues: RetryWishes
) -> None:
    await driver.configure(retry=queues)
    (name,) = await driver.enqueue(task(max_attempts=9, retry=own))
    expected = merged(own, queues, server=policy)
    for attempt in range(1, 5):
        await driver.fail(await driver.take_one())
        delay = driver.snapshot().scheduled[name] - driver.clock.ms
        assert delay == expected.delay_ms(attempt, 0.0)
        driver.clock.advance(delay)


async def test_wishes_of_zero_are_wishes(driver: QueueDriver) -> None:
    await driver.configure(retry=QUEUES)
    await driver.enqueue(task(retry=RetryWishes(initial_backoff_ms=0)))
    verdict = await driver.fail(await driver.take_one())
    assert (verdict.word, verdict.state) == (DONE, TaskState.PENDING)


@pytest.mark.parametrize(
    ("own", "queues", "expected"), [(None, None, 5), (None, 2, 2), (3, 2, 3), (3, None, 3)]
)
async def test_attempts_are_those_of_the_task_else_the_queue_else_the_server(
    driver: QueueDriver, own: int | None, queues: int | None, expected: int
) -> None:
    await driver.configure(retry=RetryWishes(max_attempts=queues))
    await driver.enqueue(task(max_attempts=own))
    claims = 0
    while (claimed := await driver.claim()).tasks:
        claims += 1
        await driver.fail(leases_of(claimed)[0], delay_ms=0)
    assert claims == expected


async def fail_with(driver: QueueDriver, kind: str) -> TaskState:
    """State after an attempt that failed so."""
    lease = await driver.take_one()
    (verdict,) = await driver.report(Report(*lease, Ending.FAIL, b"e", 0, error_type=kind))
    return TaskState(verdict.state)


@pytest.mark.parametrize("kind", ["ValueError", "http.404"])
async def test_error_types_of_the_task_fail_it_at_once(driver: QueueDriver, kind: str) -> None:
    await driver.enqueue(task(retry=RetryWishes(non_retryable=("ValueError", "http.404"))))
    assert await fail_with(driver, "") == TaskState.PENDING
    assert await fail_with(driver, kind) == TaskState.FAILED


@pytest.mark.parametrize("kind", ["Value", "Error", "ValueErrorX", "valueerror", "", "A", "\0"])
async def test_other_error_types_are_retried(driver: QueueDriver, kind: str) -> None:
    wishes = RetryWishes(non_retryable=("ValueError", "AA"))
    await driver.enqueue(task(retry=wishes))
    assert await fail_with(driver, kind) == TaskState.PENDING


async def test_error_types_of_the_queue_hold_for_tasks_that_name_none(driver: QueueDriver) -> None:
    await driver.configure(retry=RetryWishes(non_retryable=("Q",)))
    await driver.enqueue(task(retry=RetryWishes(non_retryable=("T",))), task(priority=1))
    assert await fail_with(driver, "Q") == TaskState.PENDING
    assert await fail_with(driver, "T") == TaskState.FAILED
    assert await fail_with(driver, "T") == TaskState.PENDING
    assert await fail_with(driver, "Q") == TaskState.FAILED


async def test_queue_decides_as_it_is_when_the_attempt_fails(driver: QueueDriver) -> None:
    await driver.enqueue(task())
    lease = await driver.take_one()
    await driver.configure(retry=RetryWishes(initial_backoff_ms=77, jitter=0.0))
    await driver.fail(lease)
    (due,) = driver.snapshot().scheduled.values()
    assert due - driver.clock.ms == 77
