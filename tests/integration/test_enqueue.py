"""Enqueue and BatchEnqueue: what is stored, in which order it is offered, what is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from tests.integration.refusals import item_kind, refused

if TYPE_CHECKING:
    from tests.support.server import Caller


def rich_spec() -> task_pb2.TaskSpec:
    """Every field set."""
    spec = task_pb2.TaskSpec(
        command="a.B_c:d-9",
        payload=task_pb2.Payload(data=bytes(range(256)), content_type="application/x-test"),
        priority=7,
        lease_duration=Duration(seconds=42),
        headers={"traceparent": "00-1-2-01", "über": "größe\n"},
    )
    spec.delay.FromTimedelta(timedelta(0))
    spec.retry_policy.max_attempts = 9
    spec.retry_policy.initial_backoff.FromMilliseconds(10)
    spec.retry_policy.max_backoff.FromMilliseconds(20)
    spec.retry_policy.backoff_multiplier = 1.5
    spec.retry_policy.jitter = 0.25
    return spec


async def test_a_spec_reaches_the_worker_byte_for_byte(acme: Caller) -> None:
    spec = rich_spec()
    # Field 1000, unknown to this server, of a producer newer than it.
    raw = spec.SerializeToString() + b"\xc2\x3e\x03new"
    spec = task_pb2.TaskSpec.FromString(raw)
    response = await acme.start("Enqueue", pb.EnqueueRequest(task=spec))
    assert response.state == task_pb2.TASK_STATE_PENDING
    claimed = await acme.claim_one(spec.command)
    assert claimed.spec.SerializeToString(deterministic=True) == spec.SerializeToString(
        deterministic=True
    )
    assert (claimed.attempt, claimed.max_attempts) == (1, 9)
    assert claimed.lease.task_id == response.task_id
    lease = claimed.lease_expire_time.ToDatetime() - claimed.create_time.ToDatetime()
    assert timedelta(seconds=42) <= lease < timedelta(seconds=47)


async def test_unset_fields_take_the_servers_defaults(acme: Caller) -> None:
    task_id = await acme.enqueue()
    (claimed,) = await acme.claim()
    assert claimed.max_attempts == 5
    assert claimed.lease.task_id == task_id
    stored = await acme.task(task_id)
    lease = stored.lease_expire_time.ToDatetime() - stored.update_time.ToDatetime()
    assert lease == timedelta(seconds=300)
    assert 0 < claimed.lease.fence < 1 << 53


async def test_tasks_come_by_priority_and_then_in_the_order_enqueued(acme: Caller) -> None:
    ids: dict[int, list[str]] = {}
    for priority in (5, 0, 9, 5, 0, 9):
        ids.setdefault(priority, []).append(await acme.enqueue(priority=priority))
    ids[5].append(await acme.enqueue())
    claimed = await acme.claim(most=10)
    assert [task.lease.task_id for task in claimed] == [*ids[9], *ids[5], *ids[0]]


async def test_fences_grow_with_every_claim_of_a_queue(acme: Caller) -> None:
    await acme.enqueue_many(3)
    fences = [task.lease.fence for task in await acme.claim(most=3)]
    assert sorted(set(fences)) == fences
    await acme.enqueue()
    (last,) = await acme.claim()
    assert last.lease.fence > fences[-1]


async def test_a_delay_or_a_run_time_ahead_makes_a_task_scheduled(acme: Caller) -> None:
    ahead = Timestamp()
    ahead.GetCurrentTime()
    ahead.seconds += 3_600
    for spec in ({"delay": Duration(seconds=3_600)}, {"run_time": ahead}):
        task = task_pb2.TaskSpec(command="LATER", **spec)
        response = await acme.start("Enqueue", pb.EnqueueRequest(task=task))
        assert response.state == task_pb2.TASK_STATE_SCHEDULED
        assert await acme.state(response.task_id) == "SCHEDULED"
    assert await acme.claim("LATER") == []


async def test_a_run_time_in_the_past_is_now(acme: Caller) -> None:
    for seconds in (0, 1, 1_000_000_000, -62_135_596_800):
        spec = task_pb2.TaskSpec(command="PAST", run_time=Timestamp(seconds=seconds))
        response = await acme.start("Enqueue", pb.EnqueueRequest(task=spec))
        assert response.state == task_pb2.TASK_STATE_PENDING
    assert len(await acme.claim("PAST", most=9)) == 4


async def test_a_batch_answers_item_by_item_and_over_several_commands(acme: Caller) -> None:
    specs = [
        task_pb2.TaskSpec(command="A"),
        task_pb2.TaskSpec(command="not a command"),
        task_pb2.TaskSpec(command="B", priority=10),
        task_pb2.TaskSpec(command="B", payload=task_pb2.Payload(data=bytes((1 << 20) + 1))),
        task_pb2.TaskSpec(command="B", delay=Duration(seconds=60)),
        task_pb2.TaskSpec(command="A"),
    ]
    response = await acme.start("BatchEnqueue", pb.BatchEnqueueRequest(tasks=specs))
    assert [item_kind(item) for item in response.failures] == [
        (1, "INVALID_ARGUMENT", "INVALID_FIELD"),
        (2, "INVALID_ARGUMENT", "INVALID_FIELD"),
        (3, "INVALID_ARGUMENT", "PAYLOAD_TOO_LARGE"),
    ]
    assert [item.metadata["field"] for item in response.failures] == [
        "tasks[1].command",
        "tasks[2].priority",
        "tasks[3].payload.data",
    ]
    assert [bool(result.task_id) for result in response.results] == [
        *(True, False, False),
        *(False, True, True),
    ]
    assert [task.lease.task_id for task in await acme.claim("A", "B", most=9)] == [
        response.results[0].task_id,
        response.results[5].task_id,
    ]
    assert await acme.state(response.results[4].task_id) == "SCHEDULED"


async def test_an_atomic_batch_is_added_whole_or_not_at_all(acme: Caller) -> None:
    good = [task_pb2.TaskSpec(command="A") for _ in range(3)]
    bad = task_pb2.TaskSpec(command="A", priority=-1)
    refusal = await refused(
        acme.start("BatchEnqueue", pb.BatchEnqueueRequest(tasks=[*good, bad], atomic=True))
    )
    assert (refusal.kind, refusal.fields) == (
        ("INVALID_ARGUMENT", "INVALID_FIELD"),
        ("tasks[3].priority",),
    )
    other = task_pb2.TaskSpec(command="B")
    refusal = await refused(
        acme.start("BatchEnqueue", pb.BatchEnqueueRequest(tasks=[*good, other], atomic=True))
    )
    assert refusal.fields == ("tasks",)
    assert await acme.claim("A", "B") == []
    assert len(set(await acme.enqueue_many(1_000, "A"))) == 1_000
    assert (await acme.stats("A")).pending == 1_000


async def test_a_batch_of_the_largest_size_keeps_the_order_of_each_queue(acme: Caller) -> None:
    specs = [
        task_pb2.TaskSpec(command="AB"[i % 2], payload=task_pb2.Payload(data=b"%d" % i))
        for i in range(1_000)
    ]
    response = await acme.start("BatchEnqueue", pb.BatchEnqueueRequest(tasks=specs))
    assert not response.failures
    ids = [result.task_id for result in response.results]
    claimed = [await acme.claim(command, most=1_000) for command in "AB"]
    found = {task.lease.task_id: task.spec.payload.data for some in claimed for task in some}
    assert [found[task_id] for task_id in ids] == [b"%d" % i for i in range(1_000)]
    for some in claimed:
        numbers = [int(task.spec.payload.data) for task in some]
        assert numbers == sorted(numbers)
