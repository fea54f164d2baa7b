"""What workers say and get, and how stored tasks are shown."""

from __future__ import annotations

from typing import Any, Final

import pytest
from google.protobuf.duration_pb2 import Duration

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from codeq_grpc.core import limits
from codeq_grpc.core.errors import InvalidField, PayloadTooLarge
from codeq_grpc.core.records import Lease, Outcome, Record
from codeq_grpc.core.task import Ending, TaskState
from codeq_grpc.wire import leases, tasks

REF: Final = task_pb2.LeaseRef(task_id="t", fence=7)


def field_of(error: InvalidField) -> str:
    """The path that it names."""
    return error.metadata["field"]


def test_complete_carries_the_result_as_sent() -> None:
    result = task_pb2.Payload(data=b"x", content_type="a/b")
    outcome = leases.completed(pb.CompleteRequest(lease=REF, result=result), 10)
    assert outcome == Outcome("t", 7, Ending.COMPLETE, result.SerializeToString())
    assert leases.completed(pb.CompleteRequest(lease=REF), 10).text == b""


def test_fail_leaves_the_delay_to_the_policy_unless_it_names_one() -> None:
    unset = leases.failed(pb.FailRequest(lease=REF))
    assert (unset.ending, unset.text, unset.delay_ms, unset.no_retry) == (
        Ending.FAIL,
        b"",
        None,
        False,
    )
    for delay, ms in ((Duration(), 0), (Duration(seconds=3), 3_000)):
        error = task_pb2.TaskError(type="T", non_retryable=True, retry_delay=delay)
        outcome = leases.failed(pb.FailRequest(lease=REF, error=error))
        assert (outcome.delay_ms, outcome.no_retry) == (ms, True)
        assert task_pb2.TaskError.FromString(outcome.text) == error


def test_abandon_gives_back_at_once_unless_it_names_a_delay() -> None:
    assert leases.abandoned(pb.AbandonRequest(lease=REF)).delay_ms == 0
    later = pb.AbandonRequest(lease=REF, delay=Duration(nanos=5_000_000))
    assert leases.abandoned(later) == Outcome("t", 7, Ending.ABANDON, b"", 5)


def test_an_error_of_the_largest_texts_fits_and_unknown_fields_do_not_count_as_text() -> None:
    smile = "\N{GRINNING FACE}"
    error = task_pb2.TaskError(
        type=smile * limits.ERROR_TYPE_CHARS,
        message=smile * limits.ERROR_MESSAGE_CHARS,
        detail=smile * limits.ERROR_DETAIL_CHARS,
    )
    assert leases.failed(pb.FailRequest(lease=REF, error=error)).text
    raw = error.SerializeToString() + b"\xc2\x3e\x80\x80\x02" + bytes(1 << 15)
    with pytest.raises(InvalidField) as caught:
        leases.failed(pb.FailRequest(lease=REF, error=task_pb2.TaskError.FromString(raw)))
    assert field_of(caught.value) == "error"


@pytest.mark.parametrize("kind", ["complete", "fail", "abandon"])
def test_an_outcome_names_its_place_in_the_batch(kind: str) -> None:
    outcome = pb.Outcome()
    getattr(outcome, kind).lease.CopyFrom(REF)
    assert leases.outcome(outcome, 3, 10).ending == Ending[kind.upper()]
    getattr(outcome, kind).lease.fence = 0
    with pytest.raises(InvalidField) as caught:
        leases.outcome(outcome, 3, 10)
    assert field_of(caught.value) == f"outcomes[3].{kind}.lease.fence"


def test_an_outcome_without_an_end_or_with_a_large_result_is_refused() -> None:
    with pytest.raises(InvalidField) as caught:
        leases.outcome(pb.Outcome(), 3, 10)
    assert field_of(caught.value) == "outcomes[3]"
    large = pb.Outcome(complete={"lease": REF, "result": {"data": bytes(11)}})
    with pytest.raises(PayloadTooLarge) as too_large:
        leases.outcome(large, 3, 10)
    assert field_of(too_large.value) == "outcomes[3].complete.result.data"


def test_a_heartbeat_extends_as_claimed_unless_it_says_by_how_much() -> None:
    assert leases.heartbeat(pb.LeaseHeartbeat(lease=REF), 0) == ("t", 7, 0)
    asked = pb.LeaseHeartbeat(lease=REF, extend=Duration(seconds=1))
    assert leases.heartbeat(asked, 0) == ("t", 7, 1_000)
    with pytest.raises(InvalidField) as caught:
        leases.heartbeat(pb.LeaseHeartbeat(lease=REF, extend=Duration()), 4)
    assert field_of(caught.value) == "leases[4].extend"


def test_a_claimed_task_carries_spec_and_times() -> None:
    spec = task_pb2.TaskSpec(command="C", payload=task_pb2.Payload(data=b"x"))
    (task,) = leases.claimed([Lease("t", 7, 2, 5, 2_500, 1_400, 1_001, spec.SerializeToString())])
    assert task.spec == spec
    assert (task.lease, task.attempt, task.max_attempts) == (REF, 2, 5)
    assert task.lease_expire_time.ToMilliseconds() == 2_500
    assert task.lease_duration.ToMilliseconds() == 1_400
    assert task.create_time.ToMilliseconds() == 1_001


SPEC: Final = task_pb2.TaskSpec(command="C", payload={"data": b"x"}, headers={"a": "b"})


def record(state: TaskState, **more: Any) -> Record:
    """A stored task."""
    given = {
        "task_id": "t",
        "state": int(state),
        "attempt": 2,
        "worker_id": "w",
        "time_ms": 3_000,
        "update_ms": 2_000,
        "create_ms": 1_000,
        "spec": SPEC.SerializeToString(),
        "error": b"",
        "result": b"",
    }
    return Record(**{**given, **more})


@pytest.mark.parametrize("state", TaskState)
def test_each_state_shows_the_time_that_it_has(state: TaskState) -> None:
    task = tasks.task_message(record(state), full=True)
    assert task.state == int(state)
    assert tasks.state_name(state) == f"TASK_STATE_{state.name}"
    assert task.HasField("lease_expire_time") == (state is TaskState.IN_PROGRESS)
    assert task.HasField("end_time") == (state in {TaskState.COMPLETED, TaskState.FAILED})
    assert task.update_time.ToMilliseconds() == 2_000


def test_the_states_of_the_wire_are_those_of_the_store() -> None:
    names = {f"TASK_STATE_{state.name}": int(state) for state in TaskState}
    assert dict(task_pb2.TaskState.items()) == {"TASK_STATE_UNSPECIFIED": 0, **names}


def test_the_basic_view_hides_payload_and_result_but_not_the_error() -> None:
    error = task_pb2.TaskError(type="T").SerializeToString()
    result = task_pb2.Payload(data=b"r").SerializeToString()
    stored = record(TaskState.FAILED, error=error, result=result)
    basic, full = tasks.task_message(stored, full=False), tasks.task_message(stored, full=True)
    assert full.spec == SPEC
    assert (full.result.data, full.error.type, basic.error.type) == (b"r", "T", "T")
    assert not basic.HasField("result")
    assert not basic.spec.HasField("payload")
    assert dict(basic.spec.headers) == {"a": "b"}


def test_a_view_is_one_of_those_known() -> None:
    assert [tasks.is_full(view) for view in (0, 1, 2)] == [False, False, True]
    for view in (3, -1, 99):
        with pytest.raises(InvalidField) as caught:
            tasks.is_full(view)
        assert field_of(caught.value) == "view"


def test_a_queue_without_pending_tasks_has_no_age() -> None:
    numbers = {"now_ms": 5_000, "oldest_ms": 0, "pending": 0, "enqueued_total": 1 << 40}
    stats = tasks.queue_message("C", numbers)
    assert (stats.command, stats.enqueued_total) == ("C", 1 << 40)
    assert not stats.HasField("oldest_pending_age")
    assert stats.read_time.ToMilliseconds() == 5_000
    assert tasks.queue_message("C", {**numbers, "oldest_ms": 4_000}).oldest_pending_age.seconds == 1
    ahead = tasks.queue_message("C", {**numbers, "oldest_ms": 9_000})
    assert ahead.oldest_pending_age.ToMilliseconds() == 0
