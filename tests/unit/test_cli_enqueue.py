"""`codeq enqueue`: every option arrives in the spec."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from codeq.v1 import codeq_service_pb2 as pb
from codeq.v1.task_pb2 import CONFLICT_POLICY_REPLACE, TASK_STATE_PENDING
from codeq_grpc.core.errors import IdempotencyMismatch
from tests.unit.cli_scripted import Scripted, Served, made, serving

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


@pytest.fixture
def codeq(scripted: Scripted) -> Iterator[Served]:
    with serving(scripted) as served:
        yield served


def test_the_options_of_a_task_reach_it(codeq: Served, scripted: Scripted) -> None:
    keys = ("--idempotency-key", "k", "--idempotency-ttl", "1h", "--on-conflict", "replace")
    more = ("--concurrency-key", "u", "--depends-on", "t1", "--depends-on", "t2")
    times = ("--expire-at", "2126-07-01T12:00", "--attempt-timeout", "90s")
    labels = ("--label", "a=1", "--label", "b=")
    ran = codeq("enqueue", "c", *keys, *more, *times, *labels)
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "t1\n", "")
    task = scripted.last(pb.EnqueueRequest).task
    assert task.idempotency_key == "k"
    assert task.idempotency_ttl.ToSeconds() == 3600
    assert task.conflict_policy == CONFLICT_POLICY_REPLACE
    assert task.concurrency_key == "u"
    assert list(task.depends_on) == ["t1", "t2"]
    assert task.expire_time.ToJsonString() == "2126-07-01T12:00:00Z"
    assert task.attempt_timeout.ToSeconds() == 90
    assert dict(task.labels) == {"a": "1", "b": ""}


def test_what_is_not_asked_for_is_not_set(codeq: Served, scripted: Scripted) -> None:
    codeq("enqueue", "c")
    assert [field.name for field, _ in scripted.last(pb.EnqueueRequest).task.ListFields()] == [
        "command"
    ]


def test_an_expiry_may_be_a_span(codeq: Served, scripted: Scripted) -> None:
    codeq("enqueue", "c", "--expire-in", "1h")
    at = scripted.last(pb.EnqueueRequest).task.expire_time.ToDatetime(UTC)
    assert timedelta(minutes=59) < at - datetime.now(UTC) <= timedelta(hours=1)
    assert codeq("enqueue", "c", "--expire-in", "9999999d").exit_code == 2


def test_a_task_that_was_there_is_told(codeq: Served, scripted: Scripted) -> None:
    scripted.tasks["t1"] = made("t1", TASK_STATE_PENDING)
    ran = codeq("enqueue", "c", "--idempotency-key", "k")
    assert (ran.exit_code, ran.stdout) == (0, "t1\n")
    assert ran.stderr == "t1 has this key already, PENDING\n"
    ran = codeq("enqueue", "c", "--idempotency-key", "k", "--json")
    assert json.loads(ran.stdout) == {"taskId": "t1", "state": "PENDING", "created": False}
    assert ran.stderr == ""


def test_a_refused_key_is_one_line(codeq: Served, scripted: Scripted) -> None:
    scripted.refuse["Enqueue"] = IdempotencyMismatch()
    ran = codeq("enqueue", "c", "--idempotency-key", "k")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert ran.stderr.startswith("error: IDEMPOTENCY_MISMATCH: ")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--idempotency-ttl", "1h"), "--idempotency-key"),
        (("--on-conflict", "fail"), "--idempotency-key"),
        (("--on-conflict", "merge", "--idempotency-key", "k"), "replace"),
        (("--expire-in", "1h", "--expire-at", "2126-07-01"), "once"),
        (("--expire-at", "tomorrow"), "tomorrow"),
        (("--idempotency-key", "k", __file__, __file__), "several files"),
        (("--label", "a"), "key=value"),
    ],
)
def test_wrong_usage_is_told(codeq: Served, words: tuple[str, ...], told: str) -> None:
    ran = codeq("enqueue", "c", *words)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert told in ran.stderr
