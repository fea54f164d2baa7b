"""What decides about a retry: types that are not to be retried, delays, the queue's policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codeq.v1 import task_pb2
from tests.integration import operating
from tests.integration.operating import seconds

if TYPE_CHECKING:
    from tests.support.server import Caller

FAILED, SCHEDULED = task_pb2.TASK_STATE_FAILED, task_pb2.TASK_STATE_SCHEDULED


@pytest.mark.parametrize(
    ("kind", "ends"),
    [
        *(("Fatal", True), ("größe", True), ("", False), ("Fata", False), ("Fatal2", False)),
        *(("fatal", False), ("other", False)),
    ],
)
async def test_a_type_not_to_be_retried_is_met_whole(acme: Caller, kind: str, ends: bool) -> None:
    task_id = await acme.enqueue(retry_policy={"non_retryable_error_types": ["Fatal", "größe"]})
    response = await acme.fail(await acme.claim_one(), type=kind)
    assert response.state == (FAILED if ends else SCHEDULED)
    assert (await acme.task(task_id)).error.type == kind


async def test_the_types_of_the_queue_hold_for_tasks_that_name_none(acme: Caller) -> None:
    await operating.update(acme, retry_policy={"non_retryable_error_types": ["Queue"]})
    await acme.enqueue()
    assert (await acme.fail(await acme.claim_one(), type="Queue")).state == FAILED
    await acme.enqueue(retry_policy={"non_retryable_error_types": ["Own"]})
    task = await acme.claim_one()
    assert (await acme.fail(task, type="Queue", retry_delay=seconds(0))).state != FAILED
    assert (await acme.fail(await acme.claim_one(), type="Own")).state == FAILED


async def test_a_type_not_to_be_retried_goes_before_a_delay(acme: Caller) -> None:
    await acme.enqueue(retry_policy={"non_retryable_error_types": ["Fatal"]})
    response = await acme.fail(await acme.claim_one(), type="Fatal", retry_delay=seconds(60))
    assert response.state == FAILED
    assert not response.HasField("run_time")


async def test_a_delay_does_not_outlast_the_attempts(acme: Caller) -> None:
    await acme.enqueue(retry_policy={"max_attempts": 1})
    response = await acme.fail(await acme.claim_one(), retry_delay=seconds(60))
    assert response.state == FAILED


async def test_a_policy_is_filled_up_by_the_queue_and_then_by_the_server(acme: Caller) -> None:
    await operating.update(
        acme, retry_policy={"max_attempts": 7, "initial_backoff": seconds(100), "jitter": 0}
    )
    first = await acme.enqueue(retry_policy={"backoff_multiplier": 3})
    second = await acme.enqueue(retry_policy={"max_attempts": 2, "initial_backoff": seconds(50)})
    third = await acme.enqueue()
    claimed = await acme.claim(most=3)
    assert [task.lease.task_id for task in claimed] == [first, second, third]
    assert [task.max_attempts for task in claimed] == [7, 2, 7]
    delays = []
    for task in claimed:
        run_time = (await acme.fail(task)).run_time.ToMilliseconds()
        stored = await acme.task(task.lease.task_id)
        delays.append(run_time - stored.update_time.ToMilliseconds())
    assert delays == [100_000, 50_000, 100_000]
