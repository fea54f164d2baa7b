"""expire_time and attempt_timeout: what time ends, whatever a worker says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from tests.integration import operating
from tests.integration.operating import progress, seconds
from tests.integration.refusals import refused
from tests.integration.streaming import StreamReader, stream_request
from tests.support.server import eventually

if TYPE_CHECKING:
    from tests.support.server import Caller, Server

LOST = ("FAILED_PRECONDITION", "LEASE_LOST")
EXPIRED = task_pb2.TASK_STATE_EXPIRED


async def soon(acme: Caller, after: float) -> Timestamp:
    """A time ahead, by the store's clock."""
    await acme.enqueue("CLOCK")
    time = (await acme.stats("CLOCK")).read_time.ToMilliseconds()
    found = Timestamp()
    found.FromMilliseconds(time + round(after * 1000))
    return found


async def gone(acme: Caller, task_id: str) -> task_pb2.Task:
    """The task once it has expired."""
    task = await acme.task(task_id, wait=8, full=True)
    assert task.state == EXPIRED
    assert task.error.type == "expired"
    return task


async def test_what_nobody_holds_expires_in_each_state(acme: Caller) -> None:
    parent = await acme.enqueue("PARENT")
    at = await soon(acme, 0.5)
    pending = await acme.enqueue(expire_time=at, data=b"payload")
    scheduled = await acme.enqueue(expire_time=at, delay=seconds(0.4))
    blocked = await acme.enqueue(expire_time=at, depends_on=[parent])
    await acme.enqueue("LATER", retry_policy={"initial_backoff": seconds(600)}, expire_time=at)
    held = await acme.claim_one("LATER")
    await acme.fail(held)
    for task_id in (pending, scheduled, blocked, held.lease.task_id):
        task = await gone(acme, task_id)
        assert task.end_time.ToMilliseconds() >= at.ToMilliseconds()
    assert (await acme.task(pending, full=True)).spec.payload.data == b"payload"
    stats = await acme.stats()
    assert (stats.expired, stats.pending, stats.scheduled, stats.blocked) == (3, 0, 0, 0)
    assert await acme.claim("RENDER", "LATER") == []


async def test_no_claim_gives_an_expired_task_though_it_is_in_the_list(acme: Caller) -> None:
    at = await soon(acme, 0.3)
    await acme.enqueue_many(3, expire_time=at)

    async def passed() -> bool:
        return (await acme.stats()).read_time.ToMilliseconds() >= at.ToMilliseconds()

    await eventually(passed)
    assert await acme.claim(most=9) == []


async def test_a_lease_ends_with_its_task_and_every_report_is_refused(acme: Caller) -> None:
    at = await soon(acme, 0.7)
    task_id = await acme.enqueue(expire_time=at)
    held = await acme.claim_one(lease=600)
    assert held.lease_expire_time == at
    assert held.lease_duration.ToMilliseconds() <= 700
    assert await acme.heartbeat(held, extend=600) == []
    assert (await acme.task(task_id)).lease_expire_time == at
    task = await gone(acme, task_id)
    assert [attempt.error.type for attempt in task.attempts] == ["lease_expired"]
    ways: dict[str, Any] = {
        "Complete": pb.CompleteRequest(lease=held.lease),
        "Fail": pb.FailRequest(lease=held.lease),
        "Abandon": pb.AbandonRequest(lease=held.lease),
    }
    for rpc, request in ways.items():
        assert (await refused(acme.start(rpc, request))).kind == LOST
    (directive,) = await acme.heartbeat(held)
    assert directive.kind == pb.DIRECTIVE_KIND_LEASE_LOST
    assert await acme.state(task_id) == "EXPIRED"


async def test_a_worker_in_the_middle_of_it_is_told_by_its_stream(
    acme: Caller, peer: Server
) -> None:
    async with StreamReader(peer.caller(), stream_request(credit=1)) as stream:
        await acme.enqueue(expire_time=await soon(acme, 0.5))
        (task,) = await stream.take(1)
        await stream.until(lambda one: one.directives)
        assert stream.lost == [(task.lease.task_id, task.lease.fence)]
        assert stream.directives[0].kind == pb.DIRECTIVE_KIND_LEASE_LOST
        # Its credit is back.
        await acme.enqueue()
        await stream.take(2)


async def test_a_task_may_not_expire_before_it_begins(acme: Caller) -> None:
    await acme.enqueue()
    run_time = await soon(acme, 3_600)
    for spec in (
        {"expire_time": Timestamp(seconds=1)},
        {"expire_time": Timestamp(seconds=-1)},
        {"expire_time": run_time, "run_time": run_time},
        {"expire_time": run_time, "delay": seconds(3_601)},
    ):
        refusal = await refused(operating.enqueue(acme, **spec))
        assert refusal.kind == ("INVALID_ARGUMENT", "INVALID_FIELD")
        assert refusal.fields == ("task.expire_time",)
        batch = operating.enqueue_batch(acme, task_pb2.TaskSpec(command="RENDER", **spec))
        assert (await batch).failures[0].metadata["field"] == "tasks[0].expire_time"
    assert (await acme.stats()).enqueued_total == 1


async def test_an_attempt_ends_at_its_timeout_however_eager_the_heartbeats(acme: Caller) -> None:
    task_id = await acme.enqueue(attempt_timeout=seconds(1), retry_policy={"max_attempts": 2})
    held = await acme.claim_one(lease=600)
    assert held.lease_duration.ToMilliseconds() == 1_000
    directives: list[pb.Directive] = []

    async def lost() -> bool:
        directives.extend(await progress(acme, held, extend=600, fraction=0.5))
        return bool(directives)

    await eventually(lost)
    assert [one.kind for one in directives] == [pb.DIRECTIVE_KIND_LEASE_LOST]
    refusal = await refused(acme.start("Complete", pb.CompleteRequest(lease=held.lease)))
    assert refusal.kind == LOST
    (again,) = await acme.claim(wait=8)
    task = await acme.task(task_id, full=True)
    assert (again.attempt, task.error.type) == (2, "attempt_timeout")
    first, second = task.attempts
    took = first.end_time.ToMilliseconds() - first.start_time.ToMilliseconds()
    assert took >= 1_000
    assert first.error.type == "attempt_timeout"
    # The next attempt has its own time.
    assert again.lease_duration.ToMilliseconds() == 1_000
    assert second.start_time.ToMilliseconds() >= first.end_time.ToMilliseconds()


async def test_the_last_attempt_that_times_out_makes_a_dead_letter(acme: Caller) -> None:
    task_id = await acme.enqueue(attempt_timeout=seconds(1), retry_policy={"max_attempts": 1})
    await acme.claim_one(lease=600)
    task = await acme.task(task_id, wait=8)
    assert (task.state, task.error.type) == (task_pb2.TASK_STATE_FAILED, "attempt_timeout")


@pytest.mark.parametrize("first", ["lease", "timeout", "expiry"])
async def test_the_soonest_of_lease_timeout_and_expiry_ends_the_lease(
    acme: Caller, first: str
) -> None:
    long = 600
    spec: dict[str, Any] = {
        "attempt_timeout": seconds(60 if first == "timeout" else long),
        "expire_time": await soon(acme, 60 if first == "expiry" else long),
    }
    await acme.enqueue(**spec)
    held = await acme.claim_one(lease=60 if first == "lease" else long)
    assert 50_000 < held.lease_duration.ToMilliseconds() <= 60_000
