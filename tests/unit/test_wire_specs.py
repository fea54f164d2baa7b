"""What a spec becomes: what the store needs of it, and the bytes as they were sent."""

from __future__ import annotations

from typing import Any, Final

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from codeq.v1.task_pb2 import Payload, RetryPolicy as Policy, TaskSpec
from codeq_grpc.core import limits
from codeq_grpc.core.errors import InvalidField, PayloadTooLarge
from codeq_grpc.core.records import NewTask
from codeq_grpc.core.retry import NO_WISHES, RetryWishes
from codeq_grpc.core.task import Conflict
from codeq_grpc.wire.specs import SpecChecker, check_payload

CHECKER: Final = SpecChecker(payload_bytes=1_000)


def refused(spec: TaskSpec, checker: SpecChecker = CHECKER) -> InvalidField:
    """The error about it."""
    with pytest.raises(InvalidField) as caught:
        checker.check(spec, "task")
    return caught.value


def whole(task: NewTask) -> TaskSpec:
    """The spec as a worker gets it: what is kept first, then its payload."""
    return TaskSpec.FromString(task.spec + task.payload)


def test_unset_fields_are_left_to_queue_and_server() -> None:
    task = CHECKER.check(TaskSpec(command="C"), "task")
    assert task == NewTask("C", TaskSpec(command="C").SerializeToString(), b"")
    assert (task.priority, task.lease_ms, task.retry, task.idempotency) == (None, 0, None, None)


def test_set_fields_are_taken() -> None:
    spec = TaskSpec(
        command="C",
        payload=Payload(data=b"x"),
        priority=0,
        lease_duration=Duration(seconds=2, nanos=3_000_000),
        delay=Duration(seconds=4),
        expire_time=Timestamp(seconds=9),
        attempt_timeout=Duration(seconds=3),
        concurrency_key="key",
        depends_on=["b", "a", "b"],
        labels={"l": "v"},
        headers={"k": "v"},
    )
    sent = TaskSpec.FromString(spec.SerializeToString())
    task = CHECKER.check(spec, "task")
    assert (task.priority, task.lease_ms, task.when) == (0, 2_003, -4_000)
    assert (task.expire_ms, task.timeout_ms) == (9_000, 3_000)
    assert (task.concurrency_key, task.depends_on) == ("key", ("b", "a", "b"))
    assert task.labels == (("l", "v"),)
    assert whole(task) == sent


def test_an_expire_time_before_1970_is_set_all_the_same() -> None:
    for seconds in (0, -5):
        spec = TaskSpec(command="C", expire_time=Timestamp(seconds=seconds))
        assert CHECKER.check(spec, "task").expire_ms == 1


def test_the_payload_is_kept_apart_so_that_it_can_be_dropped() -> None:
    for size in (1, 100, 127, 128, 900):
        spec = TaskSpec(command="C", payload=Payload(data=bytes(size), content_type="a/b"))
        sent = TaskSpec.FromString(spec.SerializeToString())
        task = CHECKER.check(spec, "task")
        assert TaskSpec.FromString(task.spec) == TaskSpec(command="C")
        assert whole(task) == sent
    assert CHECKER.check(TaskSpec(command="C", payload=Payload()), "task").payload == b""


def test_fields_that_are_unknown_reach_the_worker() -> None:
    raw = TaskSpec(command="C", priority=9).SerializeToString() + b"\xc2\x3e\x03new"
    assert CHECKER.check(TaskSpec.FromString(raw), "task").spec == raw


def test_an_idempotency_key_comes_with_a_digest_of_the_whole_payload() -> None:
    def digest(**payload: Any) -> bytes:
        spec = TaskSpec(command="C", idempotency_key="k", payload=Payload(**payload))
        found = CHECKER.check(spec, "task").idempotency
        assert found is not None
        assert found == ("k", found.digest, 0, Conflict.USE_EXISTING)
        return found.digest

    payloads: list[dict[str, Any]] = [{}, {"data": b"x"}, {"data": b"x", "content_type": "a/b"}]
    digests = [digest(**payload) for payload in payloads]
    assert [len(one) for one in digests] == [16, 16, 16]
    assert len(set(digests)) == 3
    assert digests == [digest(**payload) for payload in payloads]


def test_a_policy_and_a_window_belong_to_a_key() -> None:
    spec = TaskSpec(
        command="C",
        idempotency_key="k",
        idempotency_ttl=Duration(seconds=1),
        conflict_policy="CONFLICT_POLICY_REPLACE",
    )
    found = CHECKER.check(spec, "task").idempotency
    assert found is not None
    assert (found.ttl_ms, found.conflict) == (1_000, Conflict.REPLACE)
    for name in ("idempotency_ttl", "conflict_policy"):
        alone = TaskSpec(command="C")
        alone.CopyFrom(spec)
        alone.ClearField("idempotency_key")
        for other in {"idempotency_ttl", "conflict_policy"} - {name}:
            alone.ClearField(other)
        assert refused(alone).metadata == {"field": f"task.{name}"}


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


def test_a_policy_says_what_is_set_and_leaves_the_rest_open() -> None:
    policy = Policy(max_attempts=2, max_backoff=Duration(seconds=1))
    task = CHECKER.check(TaskSpec(command="C", retry_policy=policy), "task")
    assert task.retry == RetryWishes(max_attempts=2, max_backoff_ms=1_000)
    empty = CHECKER.check(TaskSpec(command="C", retry_policy=Policy()), "task")
    assert empty.retry == NO_WISHES


def test_numbers_that_are_set_to_zero_are_not_unset() -> None:
    policy = Policy(initial_backoff=Duration(), jitter=0.0)
    task = CHECKER.check(TaskSpec(command="C", priority=0, retry_policy=policy), "task")
    assert task.retry == RetryWishes(initial_backoff_ms=0, jitter=0.0)
    assert task.priority == 0
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
def test_a_spec_leaves_room_for_all_that_may_become_of_it(payload_bytes: int) -> None:
    checker = SpecChecker(payload_bytes=payload_bytes)
    more = limits.ERROR_BYTES + limits.CHECKPOINT_BYTES + limits.HISTORY_BYTES + 65_536
    room = min(
        limits.BATCH_BYTES - limits.CHECKPOINT_BYTES,
        limits.MESSAGE_BYTES - payload_bytes - more,
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
