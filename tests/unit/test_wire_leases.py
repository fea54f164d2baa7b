"""What workers say and get, and how stored tasks are shown."""

from __future__ import annotations

from typing import Any, Final

import pytest
from google.protobuf.duration_pb2 import Duration

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from codeq_grpc.core import limits
from codeq_grpc.core.errors import InvalidField, PayloadTooLarge
from codeq_grpc.core.records import Attempt, Beat, Lease, Outcome, Record
from codeq_grpc.core.task import TERMINAL, Ending, TaskState
from codeq_grpc.wire import encoding, leases, problems, tasks

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


def test_a_failure_has_a_short_form_if_its_texts_are_long() -> None:
    """For the history, which keeps no detail and cuts the message."""
    cut = "m" * limits.HISTORY_MESSAGE_CHARS
    for error, short in (
        (task_pb2.TaskError(type="T", message=cut), None),
        (
            task_pb2.TaskError(type="T", message=cut + "m"),
            task_pb2.TaskError(type="T", message=cut),
        ),
        (task_pb2.TaskError(type="T", detail="d"), task_pb2.TaskError(type="T")),
    ):
        outcome = leases.failed(pb.FailRequest(lease=REF, error=error))
        assert outcome.short == (short.SerializeToString() if short else b"")
        assert outcome.error_type == "T"


def test_a_history_of_the_longest_errors_and_names_fits_the_room_kept_for_it() -> None:
    smile = "\N{GRINNING FACE}"
    error = task_pb2.TaskError(type=smile * limits.ERROR_TYPE_CHARS, message=smile * 4_096)
    short = leases.failed(pb.FailRequest(lease=REF, error=error)).short
    worker = smile * limits.WORKER_ID_CHARS
    times = {"start_time": {"seconds": 1 << 33}, "end_time": {"seconds": 1 << 33}}
    attempt = task_pb2.Attempt(number=20, fence=1 << 52, worker_id=worker, **times)
    attempt.error.MergeFromString(short)
    history = task_pb2.Task(attempts=[attempt] * limits.HISTORY_ATTEMPTS)
    assert history.ByteSize() <= limits.HISTORY_BYTES


def test_a_heartbeat_extends_as_claimed_unless_it_says_by_how_much() -> None:
    assert leases.heartbeat(pb.LeaseHeartbeat(lease=REF), 0) == Beat("t", 7)
    asked = pb.LeaseHeartbeat(lease=REF, extend=Duration(seconds=1))
    assert leases.heartbeat(asked, 0) == Beat("t", 7, 1_000)
    with pytest.raises(InvalidField) as caught:
        leases.heartbeat(pb.LeaseHeartbeat(lease=REF, extend=Duration()), 4)
    assert field_of(caught.value) == "leases[4].extend"


def test_a_heartbeat_tells_progress_and_checkpoint_apart() -> None:
    checkpoint = task_pb2.Payload(data=b"x", content_type="a/b")
    progress = task_pb2.Progress(fraction=0.5, message="m", checkpoint=checkpoint)
    beat = leases.heartbeat(pb.LeaseHeartbeat(lease=REF, progress=progress), 0)
    assert task_pb2.Progress.FromString(beat.progress) == task_pb2.Progress(
        fraction=0.5, message="m"
    )
    assert task_pb2.Payload.FromString(beat.checkpoint) == checkpoint


def test_progress_of_nothing_is_told_all_the_same() -> None:
    """Empty bytes would mean that the heartbeat has none."""
    beat = leases.heartbeat(pb.LeaseHeartbeat(lease=REF, progress=task_pb2.Progress()), 0)
    assert beat.progress
    assert task_pb2.Progress.FromString(beat.progress) == task_pb2.Progress()
    assert beat.checkpoint == b""


def test_an_order_to_cancel_carries_the_reason_and_a_lost_lease_its_kind() -> None:
    error = problems.cancelled("no longer needed")
    asked = leases.told("t", 7, b"CANCEL", error)
    assert (asked.lease, asked.kind, asked.reason) == (
        *(REF, pb.DIRECTIVE_KIND_CANCEL, "no longer needed"),
    )
    for word in (b"LOST", b"UNKNOWN"):
        lost = leases.told("t", 7, word, b"")
        assert (lost.lease, lost.kind) == (REF, pb.DIRECTIVE_KIND_LEASE_LOST)
        assert lost.reason


def test_a_claimed_task_carries_spec_and_times() -> None:
    spec = task_pb2.TaskSpec(command="C", payload=task_pb2.Payload(data=b"x"))
    lease = Lease("t", b"n", 7, 2, 5, 2_500, 1_400, 1_001, spec.SerializeToString())
    (task,) = pb.ClaimResponse.FromString(encoding.claimed([lease])).tasks
    assert task.spec == spec
    assert (task.lease, task.attempt, task.max_attempts) == (REF, 2, 5)
    assert task.lease_expire_time.ToMilliseconds() == 2_500
    assert task.lease_duration.ToMilliseconds() == 1_400
    assert task.create_time.ToMilliseconds() == 1_001
    assert not task.HasField("checkpoint")
    checkpoint = task_pb2.Payload(data=b"half")
    lease = lease._replace(checkpoint=checkpoint.SerializeToString())
    (task,) = pb.ClaimResponse.FromString(encoding.claimed([lease])).tasks
    assert task.checkpoint == checkpoint


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
        "cancel_requested": False,
        "spec": SPEC.SerializeToString(),
        **dict.fromkeys(("error", "progress", "result", "checkpoint"), b""),
        "attempts": [],
    }
    return Record(**{**given, **more})


@pytest.mark.parametrize("state", TaskState)
def test_each_state_shows_the_time_that_it_has(state: TaskState) -> None:
    task = tasks.task_message(record(state), full=True)
    assert task.state == int(state)
    assert tasks.state_name(state) == f"TASK_STATE_{state.name}"
    assert task.HasField("lease_expire_time") == (state is TaskState.IN_PROGRESS)
    assert task.HasField("end_time") == (state in TERMINAL)
    assert task.update_time.ToMilliseconds() == 2_000


def test_the_states_of_the_wire_are_those_of_the_store() -> None:
    names = {f"TASK_STATE_{state.name}": int(state) for state in TaskState}
    assert dict(task_pb2.TaskState.items()) == {"TASK_STATE_UNSPECIFIED": 0, **names}


def test_the_basic_view_hides_what_may_be_large_but_not_error_and_progress() -> None:
    """The store leaves the payload out by itself."""
    payload = task_pb2.Payload(data=b"r").SerializeToString()
    stored = record(
        TaskState.FAILED,
        error=task_pb2.TaskError(type="T").SerializeToString(),
        progress=task_pb2.Progress(fraction=0.5).SerializeToString(),
        result=payload,
        checkpoint=payload,
        attempts=[Attempt(1, 7, "w", 5, 6, task_pb2.TaskError(type="A").SerializeToString())],
    )
    basic, full = tasks.task_message(stored, full=False), tasks.task_message(stored, full=True)
    assert full.spec == SPEC
    assert (full.result.data, full.progress.checkpoint.data) == (b"r", b"r")
    assert [(one.number, one.error.type) for one in full.attempts] == [(1, "A")]
    for task in (basic, full):
        assert (task.error.type, task.progress.fraction) == ("T", 0.5)
        assert dict(task.spec.headers) == {"a": "b"}
    assert not basic.HasField("result")
    assert not basic.progress.HasField("checkpoint")
    assert not basic.attempts


def test_an_attempt_that_runs_has_no_end_and_no_error() -> None:
    running = record(TaskState.IN_PROGRESS, attempts=[Attempt(2, 7, "w", 5, 0, b"")])
    (attempt,) = tasks.task_message(running, full=True).attempts
    assert (attempt.number, attempt.fence, attempt.worker_id) == (2, 7, "w")
    assert attempt.start_time.ToMilliseconds() == 5
    assert not attempt.HasField("end_time")
    assert not attempt.HasField("error")


def test_a_cancel_is_asked_of_a_task_only_while_a_worker_holds_it() -> None:
    for state in TaskState:
        task = tasks.task_message(record(state, cancel_requested=True), full=False)
        assert task.cancel_requested == (state is TaskState.IN_PROGRESS)


def test_a_view_is_one_of_those_known() -> None:
    assert [tasks.is_full(view) for view in (0, 1, 2)] == [False, False, True]
    for view in (3, -1, 99):
        with pytest.raises(InvalidField) as caught:
            tasks.is_full(view)
        assert field_of(caught.value) == "view"


def test_a_queue_without_pending_tasks_has_no_age() -> None:
    numbers = {"now_ms": 5_000, "oldest_ms": 0, "pending": 0, "enqueued_total": 1 << 40}
    stats = tasks.stats_message("C", numbers, 3)
    assert (stats.command, stats.enqueued_total, stats.idle_credit) == ("C", 1 << 40, 3)
    assert not stats.HasField("oldest_pending_age")
    assert stats.read_time.ToMilliseconds() == 5_000
    old = tasks.stats_message("C", {**numbers, "oldest_ms": 4_000}, 0)
    assert old.oldest_pending_age.seconds == 1
    ahead = tasks.stats_message("C", {**numbers, "oldest_ms": 9_000}, 0)
    assert ahead.oldest_pending_age.ToMilliseconds() == 0
