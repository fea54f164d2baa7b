"""Settings of queues: what an update makes of those that are stored, and how they are shown."""

from __future__ import annotations

from typing import Any, Final

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from codeq.v1 import task_pb2
from codeq.v1.admin_service_pb2 import ListWorkersResponse
from codeq.v1.queue_pb2 import Queue
from codeq_grpc.broker.workers import Worker
from codeq_grpc.core import limits
from codeq_grpc.core.errors import InvalidField
from codeq_grpc.core.queues import QueueSettings
from codeq_grpc.core.retry import RetryPolicy, RetryWishes
from codeq_grpc.wire import problems
from codeq_grpc.wire.queues import changed, queue_message, settings_of, worker_messages

EVERYTHING: Final = Queue(
    command="C",
    default_priority=0,
    retry_policy={"max_attempts": 9, "jitter": 0.25, "non_retryable_error_types": ["A", "B"]},
    lease_duration=Duration(seconds=7),
    max_claims_per_second=1.5,
    max_in_progress=3,
    max_in_progress_per_key=2,
    max_backlog=10**12,
    retention=Duration(seconds=60),
    retain_payload=True,
    paused=True,
    pause_reason="why",
    payload_schema="{}",
)
SETTINGS: Final = [field.name for field in Queue.DESCRIPTOR.fields if field.name != "command"]


def updated(stored: Queue, update: Queue, *paths: str) -> Queue:
    """What is stored afterwards."""
    message, _ = changed(update, FieldMask(paths=paths))(stored.SerializeToString())
    return Queue.FromString(message)


def without_command(queue: Queue) -> Queue:
    """As it is stored."""
    found = Queue()
    found.CopyFrom(queue)
    found.ClearField("command")
    return found


def test_every_setting_reaches_the_store() -> None:
    _, settings = changed(EVERYTHING, FieldMask())(b"")
    assert settings == QueueSettings(
        default_priority=0,
        retry=RetryWishes(max_attempts=9, jitter=0.25, non_retryable=("A", "B")),
        lease_ms=7_000,
        max_claims_per_second=1.5,
        max_in_progress=3,
        max_in_progress_per_key=2,
        max_backlog=10**12,
        retention_ms=60_000,
        retain_payload=True,
        paused=True,
        payload_schema="{}",
    )
    assert settings_of(Queue(), "queue") == QueueSettings()


def test_without_a_mask_what_is_set_is_changed() -> None:
    assert updated(Queue(), EVERYTHING) == without_command(EVERYTHING)
    more = updated(EVERYTHING, Queue(command="C", max_in_progress=5))
    assert more.max_in_progress == 5
    more.max_in_progress = EVERYTHING.max_in_progress
    assert more == without_command(EVERYTHING)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_that_is_named_and_not_set_goes_back_to_the_default(name: Any) -> None:
    found = updated(EVERYTHING, Queue(command="C"), name)
    expected = without_command(EVERYTHING)
    expected.ClearField(name)
    assert found == expected


@pytest.mark.parametrize("name", SETTINGS)
def test_only_what_is_named_is_changed(name: str) -> None:
    found = updated(Queue(), EVERYTHING, name)
    assert [field.name for field, _ in found.ListFields()] == [name]
    assert getattr(found, name) == getattr(EVERYTHING, name)


@pytest.mark.parametrize("name", [field.name for field in task_pb2.RetryPolicy.DESCRIPTOR.fields])
def test_fields_of_the_retry_policy_are_changed_and_reset_one_by_one(name: Any) -> None:
    every = task_pb2.RetryPolicy(
        max_attempts=2,
        initial_backoff=Duration(seconds=1),
        max_backoff=Duration(seconds=2),
        backoff_multiplier=3,
        jitter=0.5,
        non_retryable_error_types=["X"],
    )
    found = updated(Queue(), Queue(retry_policy=every), f"retry_policy.{name}")
    assert [field.name for field, _ in found.retry_policy.ListFields()] == [name]
    for update in (Queue(), Queue(retry_policy={})):
        found = updated(Queue(retry_policy=every), update, f"retry_policy.{name}")
        expected = task_pb2.RetryPolicy.FromString(every.SerializeToString())
        expected.ClearField(name)
        assert found.retry_policy == expected


@pytest.mark.parametrize(
    "path",
    ["", "command", "Paused", "lease_duration.seconds", "retry_policy.", "queue.paused", "*"],
)
def test_an_unknown_setting_is_refused_by_its_place_in_the_mask(path: str) -> None:
    with pytest.raises(InvalidField) as caught:
        changed(Queue(), FieldMask(paths=["paused", path]))
    assert caught.value.metadata == {"field": "update_mask.paths[1]"}


def test_a_bad_value_is_refused_before_anything_is_read_or_made() -> None:
    bad = Queue(retention=Duration(seconds=-1))
    with pytest.raises(InvalidField) as caught:
        changed(bad, FieldMask())
    assert caught.value.metadata == {"field": "queue.retention"}
    assert updated(Queue(), bad, "paused") == Queue()


def test_settings_are_shown_with_the_defaults_of_the_server() -> None:
    retry = RetryPolicy(max_attempts=4, initial_backoff_ms=10, max_backoff_ms=20, jitter=0.1)
    stored = Queue(retry_policy={"max_backoff": Duration(seconds=9)}, paused=True)
    shown = queue_message(
        "C", stored.SerializeToString(), retry=retry, lease_ms=3_000, retention_ms=4_000
    )
    assert (shown.command, shown.default_priority, shown.paused) == ("C", 5, True)
    assert (shown.lease_duration.seconds, shown.retention.seconds) == (3, 4)
    policy = shown.retry_policy
    assert (policy.max_attempts, policy.backoff_multiplier, policy.jitter) == (4, 2, 0.1)
    assert (policy.initial_backoff.ToMilliseconds(), policy.max_backoff.seconds) == (10, 9)
    assert shown.max_backlog == shown.max_in_progress == 0


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (6, "dependency_failed"),
        (7, "dependency_cancelled"),
        (8, "dependency_expired"),
        (0, "dependency_deleted"),
    ],
)
def test_a_task_fails_with_the_end_of_the_one_it_depends_on(state: int, kind: str) -> None:
    error = task_pb2.TaskError.FromString(problems.dependency("some-id", state))
    assert error.type == kind
    assert "some-id" in error.message


def test_no_more_workers_are_told_than_fit_into_a_message() -> None:
    names = [f"{number:04}" + "c" * 124 for number in range(32)]
    workers = [
        Worker(tenant="t", worker_id=f"{n:04}", commands=names, peer="", connected_ms=n)
        for n in range(2_000)
    ]
    told = worker_messages(workers)
    assert [one.worker_id for one in told] == [one.worker_id for one in workers[: len(told)]]
    size = ListWorkersResponse(workers=told).ByteSize()
    assert limits.BATCH_BYTES * 0.9 < size < limits.MESSAGE_BYTES
    assert len(worker_messages(workers[:100])) == 100
