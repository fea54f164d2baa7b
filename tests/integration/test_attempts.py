"""The history of attempts: who, when, why it failed; in the FULL view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq.v1 import task_pb2
from codeq_grpc.core import limits
from tests.integration import operating
from tests.integration.operating import seconds

if TYPE_CHECKING:
    from tests.support.server import Caller

AT_ONCE = task_pb2.RetryPolicy(initial_backoff=seconds(0), max_attempts=100)


async def test_every_attempt_is_told_with_its_worker_times_and_error(acme: Caller) -> None:
    task_id = await acme.enqueue(retry_policy=AT_ONCE)
    claimed = []
    for number in range(1, 4):
        claimed.append(await acme.claim_one(worker=f"w-{number}"))
        if number < 3:
            await acme.fail(claimed[-1], type=f"T-{number}", message="m", detail="long")
    running = await acme.task(task_id, full=True)
    assert [one.number for one in running.attempts] == [1, 2, 3]
    assert [one.fence for one in running.attempts] == [task.lease.fence for task in claimed]
    assert [one.worker_id for one in running.attempts] == ["w-1", "w-2", "w-3"]
    assert [one.error.type for one in running.attempts] == ["T-1", "T-2", ""]
    assert [one.error.detail for one in running.attempts] == ["", "", ""]
    assert [one.HasField("end_time") for one in running.attempts] == [True, True, False]
    assert (running.error.type, running.error.detail) == ("T-2", "long")
    await acme.complete(claimed[-1])
    done = await acme.task(task_id, full=True)
    assert len(done.attempts) == 3
    assert done.attempts[2].end_time == done.end_time
    assert not done.attempts[2].HasField("error")
    for earlier, later in zip(done.attempts, done.attempts[1:], strict=False):
        times = (earlier.start_time, earlier.end_time, later.start_time)
        assert sorted(one.ToMilliseconds() for one in times) == [
            one.ToMilliseconds() for one in times
        ]


async def test_the_basic_view_has_no_history(acme: Caller) -> None:
    task_id = await acme.enqueue(retry_policy=AT_ONCE)
    await acme.fail(await acme.claim_one(), type="T")
    await acme.claim_one()
    assert len((await acme.task(task_id, full=True)).attempts) == 2
    assert not (await acme.task(task_id)).attempts
    (basic,) = await operating.listed(acme)
    assert not basic.attempts
    (full,) = (await operating.page(acme, full=True)).tasks
    assert len(full.attempts) == 2


async def test_an_expired_lease_is_an_attempt_and_an_abandoned_one_is_not(acme: Caller) -> None:
    task_id = await acme.enqueue(retry_policy=AT_ONCE)
    await acme.abandon(await acme.claim_one(worker="gave-up"))
    assert not (await acme.task(task_id, full=True)).attempts
    await acme.claim_one(lease=1, worker="died")
    (again,) = await acme.claim(wait=8, worker="later")
    first, second = (await acme.task(task_id, full=True)).attempts
    assert (first.worker_id, first.error.type) == ("died", "lease_expired")
    assert (second.worker_id, second.number) == ("later", 2)
    await acme.abandon(again)
    assert len((await acme.task(task_id, full=True)).attempts) == 1


async def test_the_last_twenty_are_kept_with_messages_cut(acme: Caller) -> None:
    task_id = await acme.enqueue(retry_policy=AT_ONCE)
    long = "m" * limits.ERROR_MESSAGE_CHARS
    for number in range(1, 31):
        await acme.fail(await acme.claim_one(), type=f"T-{number}", message=long)
    task = await acme.task(task_id, full=True)
    assert [one.number for one in task.attempts] == list(range(11, 31))
    assert {len(one.error.message) for one in task.attempts} == {limits.HISTORY_MESSAGE_CHARS}
    assert len(task.error.message) == limits.ERROR_MESSAGE_CHARS
    running = await acme.claim_one()
    attempts = (await acme.task(task_id, full=True)).attempts
    assert [one.number for one in attempts] == list(range(12, 32))
    await acme.complete(running)
    assert len((await acme.task(task_id, full=True)).attempts) == limits.HISTORY_ATTEMPTS


async def test_a_repeated_report_is_one_attempt(acme: Caller) -> None:
    task_id = await acme.enqueue(retry_policy=AT_ONCE)
    task = await acme.claim_one()
    for _ in range(3):
        await acme.fail(task, type="T")
    assert len((await acme.task(task_id, full=True)).attempts) == 1


async def test_a_redrive_keeps_the_history_and_counts_anew(acme: Caller) -> None:
    task_id = await acme.enqueue(retry_policy={"max_attempts": 1})
    await acme.fail(await acme.claim_one(), type="first")
    await operating.redrive(acme, task_id)
    await acme.fail(await acme.claim_one(), type="second")
    attempts = (await acme.task(task_id, full=True)).attempts
    assert [(one.number, one.error.type) for one in attempts] == [(1, "first"), (1, "second")]
