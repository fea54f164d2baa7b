"""Golden: what is written as bytes is what the generated code writes."""

from __future__ import annotations

from typing import Final

from hypothesis import given, strategies as st

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from codeq_grpc.core.records import Lease
from codeq_grpc.core.task import TaskState
from codeq_grpc.wire import encoding

NUMBERS: Final = st.one_of(
    st.integers(0, 300), st.sampled_from([1 << n for n in range(53)]), st.integers(0, (1 << 53) - 1)
)
TIMES: Final = st.one_of(st.integers(0, 3_000), st.integers(0, 253_402_300_799_999))
SMALL: Final = st.integers(0, 200)
IDS: Final = st.text("ABCxyz019-_", min_size=1, max_size=18)


def specs() -> st.SearchStrategy[bytes]:
    """Specs as producers send them, fields that this server does not know among them."""
    known = st.builds(
        task_pb2.TaskSpec,
        command=st.text("abc", max_size=5),
        payload=st.builds(task_pb2.Payload, data=st.binary(max_size=300)),
        headers=st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3),
    )
    unknown = st.sampled_from([b"", b"\xfa\x3f\x03new"])
    return st.builds(lambda spec, more: spec.SerializeToString() + more, known, unknown)


def leases() -> st.SearchStrategy[Lease]:
    """Leased tasks with numbers of every size."""
    checkpoint = st.builds(task_pb2.Payload, data=st.binary(max_size=200))
    kept = st.one_of(st.just(b""), checkpoint.map(lambda payload: payload.SerializeToString()))
    return st.builds(
        Lease, IDS, st.just(b"name"), NUMBERS, SMALL, SMALL, TIMES, TIMES, TIMES, specs(), kept
    )


def built(lease: Lease) -> task_pb2.ClaimedTask:
    """The message, by the generated code."""
    task = task_pb2.ClaimedTask(attempt=lease.attempt, max_attempts=lease.max_attempts)
    task.lease.task_id, task.lease.fence = lease.task_id, lease.fence
    task.lease.SetInParent()
    task.spec.MergeFromString(lease.spec)
    task.spec.SetInParent()
    for field, ms in (("lease_expire_time", lease.expire_ms), ("create_time", lease.create_ms)):
        getattr(task, field).FromMilliseconds(ms)
        getattr(task, field).SetInParent()
    task.lease_duration.FromMilliseconds(lease.lease_ms)
    task.lease_duration.SetInParent()
    if lease.checkpoint:
        task.checkpoint.MergeFromString(lease.checkpoint)
        task.checkpoint.SetInParent()
    return task


@given(st.lists(leases(), max_size=4))
def test_claimed_tasks_are_the_messages_they_stand_for(given: list[Lease]) -> None:
    raw = encoding.claimed(given)
    assert pb.ClaimResponse.FromString(raw) == pb.ClaimResponse(tasks=map(built, given))
    batch = pb.StreamClaimResponse.FromString(encoding.stream_batch(given))
    assert batch == pb.StreamClaimResponse(batch=pb.ClaimedTasks(tasks=map(built, given)))


@given(specs())
def test_the_spec_goes_through_byte_by_byte(spec: bytes) -> None:
    lease = Lease("id", b"name", 7, 1, 5, 2, 3, 4, spec)
    assert spec in encoding.claimed([lease])


@given(st.lists(st.tuples(IDS, st.sampled_from(TaskState), st.booleans()), max_size=4))
def test_enqueue_responses_are_the_messages_they_stand_for(
    given: list[tuple[str, TaskState, bool]],
) -> None:
    results = [
        pb.EnqueueResponse(
            task_id=task_id, state=task_pb2.TaskState.Name(state.value), created=created
        )
        for task_id, state, created in given
    ]
    raw = [encoding.enqueued(task_id, state, created=new) for task_id, state, new in given]
    assert raw == [result.SerializeToString() for result in results]
    failure = task_pb2.ItemFailure(index=1, reason="NO")
    more = pb.BatchEnqueueResponse(failures=[failure]).SerializeToString()
    response = pb.BatchEnqueueResponse.FromString(encoding.all_enqueued([*raw, b""]) + more)
    empty = pb.EnqueueResponse()
    assert response == pb.BatchEnqueueResponse(results=[*results, empty], failures=[failure])


@given(NUMBERS)
def test_numbers_are_varints(number: int) -> None:
    ref = task_pb2.LeaseRef(fence=number).SerializeToString()
    assert ref == (b"\x10" + encoding.varint(number) if number else b"")
