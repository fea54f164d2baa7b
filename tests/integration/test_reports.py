"""Complete, Fail, Abandon and Report: fences, repeats, attempts, what follows a failure."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.duration_pb2 import Duration

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from tests.integration.refusals import item_kind, refused
from tests.support.server import eventually

if TYPE_CHECKING:
    from tests.support.server import Caller

LOST = ("FAILED_PRECONDITION", "LEASE_LOST")


def policy(**fields: Any) -> task_pb2.RetryPolicy:
    """Times in ms."""
    found = task_pb2.RetryPolicy()
    for name in ("initial_backoff", "max_backoff"):
        if name in fields:
            getattr(found, name).FromMilliseconds(fields.pop(name))
    found.MergeFrom(task_pb2.RetryPolicy(**fields))
    return found


AT_ONCE = policy(initial_backoff=0)


async def test_complete_ends_the_task_and_keeps_the_result(acme: Caller) -> None:
    task_id = await acme.enqueue()
    claimed = await acme.claim_one(worker="w-1")
    await acme.complete(claimed, b"result")
    task = await acme.task(task_id, full=True)
    assert task.state == task_pb2.TASK_STATE_COMPLETED
    assert (task.result.data, task.attempt, task.worker_id) == (b"result", 1, "w-1")
    assert task.end_time == task.update_time
    assert not task.HasField("lease_expire_time")
    assert await acme.claim() == []


@pytest.mark.parametrize("ending", ["Complete", "Fail", "Abandon"])
async def test_repeating_a_report_is_fine_and_changes_nothing(acme: Caller, ending: str) -> None:
    task_id = await acme.enqueue(retry_policy=AT_ONCE)
    claimed = await acme.claim_one()
    requests: dict[str, Any] = {
        "Complete": pb.CompleteRequest(lease=claimed.lease),
        "Fail": pb.FailRequest(lease=claimed.lease, error=task_pb2.TaskError(type="first")),
        "Abandon": pb.AbandonRequest(lease=claimed.lease),
    }
    first = await acme.start(ending, requests[ending])
    stored = await acme.task(task_id, full=True)
    for _ in range(3):
        assert await acme.start(ending, requests[ending]) == first
    assert await acme.task(task_id, full=True) == stored
    for other in requests.keys() - {ending}:
        refusal = await refused(acme.start(other, requests[other]))
        assert refusal.kind == LOST
        assert refusal.metadata["task_id"] == task_id
    assert await acme.task(task_id, full=True) == stored


async def test_the_first_result_stays(acme: Caller) -> None:
    task_id = await acme.enqueue()
    claimed = await acme.claim_one()
    await acme.complete(claimed, b"first")
    await acme.complete(claimed, b"second")
    assert (await acme.task(task_id, full=True)).result.data == b"first"


async def test_every_old_fence_of_a_task_changes_nothing(acme: Caller) -> None:
    task_id = await acme.enqueue(retry_policy=policy(initial_backoff=0, max_attempts=4))
    old = []
    for _ in range(3):
        old.append(await acme.claim_one())
        await acme.fail(old[-1])
    current = await acme.claim_one()
    before = await acme.task(task_id, full=True)
    for stale in old:
        for rpc, request in (
            ("Complete", pb.CompleteRequest(lease=stale.lease)),
            ("Fail", pb.FailRequest(lease=stale.lease)),
            ("Abandon", pb.AbandonRequest(lease=stale.lease)),
        ):
            assert (await refused(acme.start(rpc, request))).kind == LOST
        (directive,) = await acme.heartbeat(stale)
        assert directive.kind == pb.DIRECTIVE_KIND_LEASE_LOST
    invented = task_pb2.LeaseRef(task_id=task_id, fence=current.lease.fence + 1)
    request = pb.CompleteRequest(lease=invented)
    assert (await refused(acme.start("Complete", request))).kind == LOST
    assert await acme.task(task_id, full=True) == before
    await acme.complete(current)


async def test_a_task_never_claimed_takes_no_report(acme: Caller) -> None:
    task_id = await acme.enqueue()
    lease = task_pb2.LeaseRef(task_id=task_id, fence=1)
    refusal = await refused(acme.start("Complete", pb.CompleteRequest(lease=lease)))
    assert refusal.kind == LOST
    assert await acme.state(task_id) == "PENDING"


async def test_an_expired_lease_takes_no_report(acme: Caller) -> None:
    await acme.enqueue()
    claimed = await acme.claim_one(lease=1)
    expiry = claimed.lease_expire_time.ToDatetime()

    async def is_past() -> bool:
        return (await acme.stats()).read_time.ToDatetime() >= expiry

    await eventually(is_past)
    for rpc, request in (
        ("Complete", pb.CompleteRequest(lease=claimed.lease)),
        ("Fail", pb.FailRequest(lease=claimed.lease)),
        ("Abandon", pb.AbandonRequest(lease=claimed.lease)),
    ):
        assert (await refused(acme.start(rpc, request))).kind == LOST


async def test_a_task_fails_for_good_once_its_attempts_are_used_up(acme: Caller) -> None:
    task_id = await acme.enqueue(retry_policy=policy(initial_backoff=0, max_attempts=3))
    states = []
    for attempt in (1, 2, 3):
        claimed = await acme.claim_one()
        assert (claimed.attempt, claimed.max_attempts) == (attempt, 3)
        response = await acme.fail(claimed, type=f"error {attempt}", message="no", detail="x")
        states.append(task_pb2.TaskState.Name(response.state))
        assert response.HasField("run_time") == (attempt < 3)
    assert states == ["TASK_STATE_PENDING", "TASK_STATE_PENDING", "TASK_STATE_FAILED"]
    task = await acme.task(task_id)
    assert task.error == task_pb2.TaskError(type="error 3", message="no", detail="x")
    assert task.HasField("end_time")
    assert await acme.claim() == []


async def test_a_failure_not_to_be_retried_is_final(acme: Caller) -> None:
    task_id = await acme.enqueue()
    response = await acme.fail(await acme.claim_one(), non_retryable=True)
    assert response.state == task_pb2.TASK_STATE_FAILED
    assert await acme.state(task_id) == "FAILED"


async def delay_after(acme: Caller, attempt: int, task_id: str, command: str) -> timedelta:
    """The back-off after this attempt of a new task failed."""
    for _ in range(attempt - 1):
        await acme.fail(await acme.claim_one(command), retry_delay=Duration())
    claimed = await acme.claim_one(command)
    assert claimed.attempt == attempt
    response = await acme.fail(claimed)
    assert response.state == task_pb2.TASK_STATE_SCHEDULED
    task = await acme.task(task_id)
    return response.run_time.ToDatetime() - task.update_time.ToDatetime()


async def test_back_off_grows_up_to_its_cap_and_jitter_spreads_it(acme: Caller) -> None:
    spread = policy(initial_backoff=8_000, max_backoff=20_000, backoff_multiplier=2.0, jitter=0.5)
    for attempt, most in ((1, 8), (2, 16), (3, 20), (4, 20)):
        command = f"ATTEMPT-{attempt}"
        delays = [
            await delay_after(
                acme, attempt, await acme.enqueue(command, retry_policy=spread), command
            )
            for _ in range(6)
        ]
        assert all(timedelta(seconds=most / 2) < one <= timedelta(seconds=most) for one in delays)
        assert len(set(delays)) > 1


async def test_without_jitter_the_back_off_is_exact(acme: Caller) -> None:
    exact = policy(initial_backoff=100, max_backoff=86_400_000, backoff_multiplier=10.0, jitter=0.0)
    for attempt in (1, 2, 3):
        command = f"ATTEMPT-{attempt}"
        task_id = await acme.enqueue(command, retry_policy=exact)
        delay = await delay_after(acme, attempt, task_id, command)
        assert delay == timedelta(milliseconds=100 * 10 ** (attempt - 1))


@pytest.mark.parametrize("ms", [0, 1, 86_400_001, 366 * 86_400_000])
async def test_the_delay_a_failure_asks_for_replaces_the_back_off(acme: Caller, ms: int) -> None:
    task_id = await acme.enqueue()
    delay = Duration()
    delay.FromMilliseconds(ms)
    response = await acme.fail(await acme.claim_one(), retry_delay=delay)
    changed = (await acme.task(task_id)).update_time.ToMilliseconds()
    if ms > 1:
        assert response.run_time.ToMilliseconds() == changed + ms
        assert await acme.state(task_id) == "SCHEDULED"
    else:
        claimed = await acme.claim_one(wait=5)
        assert claimed.attempt == 2


async def test_abandoned_attempts_do_not_count(acme: Caller) -> None:
    task_id = await acme.enqueue(retry_policy=policy(max_attempts=1))
    fences = set()
    for _ in range(5):
        claimed = await acme.claim_one()
        assert claimed.attempt == 1
        fences.add(claimed.lease.fence)
        await acme.abandon(claimed)
        assert (await acme.task(task_id)).attempt == 0
    assert len(fences) == 5
    assert (await acme.fail(await acme.claim_one())).state == task_pb2.TASK_STATE_FAILED


async def test_an_abandoned_task_is_offered_before_those_behind_it(acme: Caller) -> None:
    first, second, third = await acme.enqueue_many(3)
    claimed = await acme.claim(most=2)
    for task in reversed(claimed):
        await acme.abandon(task)
    ids = [task.lease.task_id for task in await acme.claim(most=3)]
    assert ids == [first, second, third]


async def test_abandon_can_keep_a_task_back(acme: Caller) -> None:
    later = await acme.enqueue("LATER")
    await acme.abandon(await acme.claim_one("LATER"), delay=3_600)
    assert await acme.state(later) == "SCHEDULED"
    assert await acme.claim("LATER") == []
    await acme.enqueue("SOON")
    await acme.abandon(await acme.claim_one("SOON"), delay=0.05)
    assert (await acme.claim_one("SOON", wait=5)).attempt == 1


async def test_a_mixed_report_applies_what_it_can_and_tells_the_rest(acme: Caller) -> None:
    ids = [
        *await acme.enqueue_many(3, "A", retry_policy=AT_ONCE),
        *await acme.enqueue_many(2, "B"),
    ]
    held = {task.lease.task_id: task.lease for task in await acme.claim("A", "B", most=9)}
    a0, a1, a2, b0, b1 = (held[task_id] for task_id in ids)
    stale = task_pb2.LeaseRef(task_id=b1.task_id, fence=b1.fence + 1)
    unknown = task_pb2.LeaseRef(task_id="x" * 18, fence=1)
    big = task_pb2.Payload(data=bytes((1 << 20) + 1))
    outcomes = [
        pb.Outcome(complete=pb.CompleteRequest(lease=a0, result={"data": b"r"})),
        pb.Outcome(complete=pb.CompleteRequest(lease=stale)),
        pb.Outcome(fail=pb.FailRequest(lease=a1, error={"type": "T"})),
        pb.Outcome(complete=pb.CompleteRequest(lease=unknown)),
        pb.Outcome(abandon=pb.AbandonRequest(lease=b0)),
        pb.Outcome(),
        pb.Outcome(complete=pb.CompleteRequest(lease=a2, result=big)),
        pb.Outcome(complete=pb.CompleteRequest(lease=a0, result={"data": b"again"})),
        pb.Outcome(abandon=pb.AbandonRequest(lease=a0)),
    ]
    response = await acme.start("Report", pb.ReportRequest(outcomes=outcomes))
    assert [item_kind(item) for item in response.failures] == [
        (1, "FAILED_PRECONDITION", "LEASE_LOST"),
        (3, "NOT_FOUND", "TASK_NOT_FOUND"),
        (5, "INVALID_ARGUMENT", "INVALID_FIELD"),
        (6, "INVALID_ARGUMENT", "PAYLOAD_TOO_LARGE"),
        (8, "FAILED_PRECONDITION", "LEASE_LOST"),
    ]
    assert [item.metadata.get("field", "") for item in response.failures] == [
        *("", "", "outcomes[5]", "outcomes[6].complete.result.data", "")
    ]
    states = [await acme.state(task_id) for task_id in ids]
    assert states == ["COMPLETED", "PENDING", "IN_PROGRESS", "PENDING", "IN_PROGRESS"]
    assert (await acme.task(ids[0], full=True)).result.data == b"r"
    assert (await acme.task(ids[1])).error.type == "T"


async def test_a_report_of_the_largest_size_over_two_queues(acme: Caller) -> None:
    ids = [*await acme.enqueue_many(600, "A"), *await acme.enqueue_many(400, "B")]
    claimed = await acme.claim("A", "B", most=1_000)
    while len(claimed) < 1_000:
        claimed += await acme.claim("A", "B", most=1_000)
    assert sorted(task.lease.task_id for task in claimed) == sorted(ids)
    outcomes = [pb.Outcome(complete=pb.CompleteRequest(lease=task.lease)) for task in claimed]
    response = await acme.start("Report", pb.ReportRequest(outcomes=outcomes))
    assert not response.failures
    assert [(await acme.stats(command)).completed for command in "AB"] == [600, 400]


async def test_many_reports_of_one_lease_at_once_have_one_winner(acme: Caller) -> None:
    task_id = await acme.enqueue()
    claimed = await acme.claim_one()
    calls = [
        acme.start("Complete", pb.CompleteRequest(lease=claimed.lease, result={"data": b"%d" % i}))
        if i % 2
        else acme.start("Fail", pb.FailRequest(lease=claimed.lease, error={"non_retryable": True}))
        for i in range(20)
    ]
    codes = [await call.code() for call in calls]
    task = await acme.task(task_id, full=True)
    completed = task.state == task_pb2.TASK_STATE_COMPLETED
    winners = codes[1::2] if completed else codes[0::2]
    losers = codes[0::2] if completed else codes[1::2]
    assert {code.name for code in winners} == {"OK"}
    assert {code.name for code in losers} == {"FAILED_PRECONDITION"}
