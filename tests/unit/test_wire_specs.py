"""What a spec becomes: what the store needs of it, and the bytes as they were sent."""

from __future__ import annotations

from typing import Any, Final

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from codeq.v1.task_pb2 import Payload, RetryPolicy as Policy, TaskSpec
from codeq_grpc.core import limits
from codeq_grpc.core.errors import InvalidField, PayloadTooLarge
from codeq_grpc.core.retry import RetryPolicy
from codeq_grpc.wire.specs import SpecChecker, check_payload

DEFAULT: Final = RetryPolicy(
    max_attempts=7, initial_backoff_ms=11, max_backoff_ms=22, multiplier=3.0, jitter=0.1
)
CHECKER: Final = SpecChecker(payload_bytes=1_000, retry=DEFAULT)


def refused(spec: TaskSpec, checker: SpecChecker = CHECKER) -> InvalidField:
    """The error about it."""
    with pytest.raises(InvalidField) as caught:
        checker.check(spec, "task")
    return caught.value


def test_unset_fields_take_the_defaults() -> None:
    task = CHECKER.check(TaskSpec(command="C"), "task")
    assert task == ("C", 5, 0, 0, None, TaskSpec(command="C").SerializeToString())


def test_set_fields_are_taken() -> None:
    spec = TaskSpec(
        command="C",
        priority=0,
        lease_duration=Duration(seconds=2, nanos=3_000_000),
        delay=Duration(seconds=4),
        headers={"k": "v"},
    )
    task = CHECKER.check(spec, "task")
    assert (task.priority, task.lease_ms, task.when) == (0, 2_003, -4_000)
    assert TaskSpec.FromString(task.spec) == spec


def test_the_bytes_are_those_that_were_sent_unknown_fields_included() -> None:
    raw = TaskSpec(command="C", priority=9).SerializeToString() + b"\xc2\x3e\x03new"
    assert CHECKER.check(TaskSpec.FromString(raw), "task").spec == raw


@pytest.mark.parametrize(
    ("spec", "when"),
    [
        ({"delay": Duration()}, 0),
        ({"delay": Duration(nanos=999_999)}, 0),
        ({"delay": Duration(nanos=1_000_000)}, -1),
        ({"run_time": Timestamp()}, 1),
        ({"run_time": Timestamp(seconds=-5)}, 1),
        ({"run_time": Timestamp(seconds=5, nanos=6_000_000)}, 5_006),
    ],
)
def test_when_is_a_time_or_minus_a_delay(spec: dict[str, Any], when: int) -> None:
    assert CHECKER.check(TaskSpec(command="C", **spec), "task").when == when


def test_a_policy_fills_up_with_the_servers() -> None:
    policy = Policy(max_attempts=2, max_backoff=Duration(seconds=1))
    task = CHECKER.check(TaskSpec(command="C", retry_policy=policy), "task")
    assert task.retry == RetryPolicy(
        max_attempts=2, initial_backoff_ms=11, max_backoff_ms=1_000, multiplier=3.0, jitter=0.1
    )
    assert CHECKER.check(TaskSpec(command="C", retry_policy=Policy()), "task").retry == DEFAULT


def test_numbers_that_are_set_to_zero_are_not_unset() -> None:
    policy = Policy(initial_backoff=Duration(), jitter=0.0)
    task = CHECKER.check(TaskSpec(command="C", priority=0, retry_policy=policy), "task")
    assert task.retry is not None
    assert (task.priority, task.retry.initial_backoff_ms, task.retry.jitter) == (0, 0, 0.0)
    assert refused(TaskSpec(command="C", retry_policy=Policy(max_attempts=0))).metadata == {
        "field": "task.retry_policy.max_attempts"
    }


def test_a_payload_that_is_too_large_tells_by_how_much() -> None:
    check_payload(Payload(data=bytes(1_000), content_type="x" * 128), "p", 1_000)
    with pytest.raises(PayloadTooLarge) as caught:
        check_payload(Payload(data=bytes(1_001)), "p", 1_000)
    assert caught.value.metadata == {"field": "p.data", "limit": "1000", "actual": "1001"}
    assert caught.value.message == "p.data: has 1001 bytes, at most 1000 are allowed"


def test_a_payload_of_unknown_fields_is_too_large_too() -> None:
    unknown = Payload.FromString(b"\xc2\x3e\xff\x7f" + bytes(16_383))
    error = refused(TaskSpec(command="C", payload=unknown))
    assert isinstance(error, PayloadTooLarge)
    assert error.metadata["field"] == "task.payload"


@pytest.mark.parametrize("payload_bytes", [1, 1 << 20, 3 << 19])
def test_a_spec_leaves_room_for_a_result_and_an_error(payload_bytes: int) -> None:
    checker = SpecChecker(payload_bytes=payload_bytes, retry=DEFAULT)
    room = min(
        limits.BATCH_BYTES, limits.MESSAGE_BYTES - payload_bytes - limits.ERROR_BYTES - 65_536
    )
    size = room - 7
    raw = b"\x0a\x01C" + b"\xc2\x3e" + _varint(size - 3 - 2 - 4) + bytes(size - 3 - 2 - 4)
    assert len(raw) <= room
    checker.check(TaskSpec.FromString(raw), "task")
    error = refused(TaskSpec.FromString(raw + b"\xc2\x3e\x08" + bytes(8)), checker)
    assert isinstance(error, PayloadTooLarge)
    assert error.metadata["field"] == "task"


def _varint(value: int) -> bytes:
    groups = []
    while value >= 0x80:
        groups.append(0x80 | value & 0x7F)
        value >>= 7
    return bytes((*groups, value))
