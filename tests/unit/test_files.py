"""Files of settings: what is written is read, what means the same is equal, errors are told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from codeq.v1.queue_pb2 import Queue
from codeq.v1.schedule_service_pb2 import (
    MISFIRE_POLICY_FIRE_ONCE,
    ScheduleSpec,
)
from codeq.v1.task_pb2 import RetryPolicy, TaskSpec
from codeq_grpc.files import messages, reading, spans, yaml_text
from codeq_grpc.files.model import QueueEntry, RuleEntry, ScheduleEntry, TaskEntry
from codeq_grpc.wire.schedules import SETTABLE

FILE = """\
version: 1
queues:
  mail:
    lease_duration: 300s
    retry_policy: {max_attempts: 3, jitter: 1}
    max_backlog: 0
  bare:
schedules:
  nightly:
    spec: {crons: ["0 3 * * *"], time_zone: Europe/Berlin, times: ["2026-07-01T12:00:00+02:00"]}
    task:
      command: report
      payload: {at: "{{fire_time}}", n: [1, 2.5, null]}
      headers: {b: "1", a: x}
    overlap_policy: skip
    misfire_policy: fire_once
    misfire_grace: 300s
"""


def problems(text: str) -> list[str]:
    with pytest.raises(reading.BadSettings) as caught:
        reading.read(text)
    return [problem.text("f") for problem in caught.value.problems]


def entry(**task: Any) -> ScheduleEntry:
    return ScheduleEntry.model_validate({"spec": {"every": "1m"}, "task": {"command": "c", **task}})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("TRUE", True),
        ("~", None),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("1e3", 1000.0),
        (".inf", ".inf"),
        ("2026-07-01T12:00:00Z", "2026-07-01T12:00:00Z"),
        ("1:30", "1:30"),
        ('{"a": [1, true]}', {"a": [1, True]}),
        ("&a [x]", ["x"]),
    ],
)
def test_values_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert yaml_text.read(f"v: {text}").value == {"v": value}


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("a: 1\nb: [1", 2, "is not YAML"),
        ("a: 1\nb: {{fire_time}}", 2, "'{{fire_time}}'"),
        ("a: 1\na: 2", 2, "'a' is there twice"),
        ("a: !!python/object:os.system x", 1, "tag"),
        ("1: x", 1, "quotes"),
        ("a:\n  b: &x [*x]", 2, "too much"),
        ("a: 1\nb: \x01", 2, "is not YAML"),
        ("a: 1e999", 1, "too large"),
        ("a: " + "9" * 5000, 1, "digits"),
        ("a: 1\n---\nb: 2", 2, "is not YAML"),
        ('a: "\\ud800"', 1, "is not YAML"),
    ],
)
def test_text_that_cannot_be_read_is_told_by_line(text: str, line: int, told: str) -> None:
    with pytest.raises(yaml_text.BadFile, match=told) as caught:
        yaml_text.read(text)
    assert caught.value.line == line


@pytest.mark.parametrize(
    "text",
    ["[" * 10**6, "{a: " * 10**6, "- " * 10**6, "a: " + "[" * 101],
    ids=["lists", "maps", "entries", "one more"],
)
def test_depth_is_told(text: str) -> None:
    with pytest.raises(yaml_text.BadFile, match="too deep"):
        yaml_text.read(text)


def test_few_lines_do_not_become_more_than_memory() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(yaml_text.BadFile, match="too much"):
        yaml_text.read("\n".join(lines))


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (90 * 10**9, "1m30s"),
        (86_400 * 10**9, "1d"),
        (1_500_000, "1.5ms"),
        (10**9 + 1, "1s0.000001ms"),
    ],
)
def test_durations_are_short(nanoseconds: int, text: str) -> None:
    assert spans.text_of(nanoseconds) == text


@pytest.mark.parametrize("text", ["", "5", "5 m", "m", "1h-5m", "1e3s", "٣s", "1w"])
def test_what_is_no_duration_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        spans.nanoseconds(text)


def test_what_means_the_same_is_equal() -> None:
    file = reading.read(FILE).file
    assert file.queues is not None
    assert file.schedules is not None
    mail = file.queues["mail"]
    assert mail is not None
    assert mail.document() == {
        "retry_policy": {"max_attempts": 3, "jitter": 1.0},
        "lease_duration": "5m",
    }
    assert file.queues["bare"] is None
    nightly = file.schedules["nightly"].document()
    assert list(nightly) == ["spec", "task", "overlap_policy"]
    assert nightly["spec"]["times"] == ["2026-07-01T10:00:00Z"]
    assert list(nightly["task"]["headers"]) == ["a", "b"]


def test_a_file_and_the_messages_say_the_same() -> None:
    file = reading.read(FILE).file
    nightly = (file.schedules or {})["nightly"]
    message = messages.schedule_message("nightly", nightly)
    assert json.loads(message.task.payload.data) == {"at": "{{fire_time}}", "n": [1, 2.5, None]}
    assert message.task.payload.content_type == "application/json"
    assert messages.schedule_entry(message).document() == nightly.document()
    assert messages.left_out(message) == []


def test_every_field_that_can_be_set_has_a_place_in_the_file() -> None:
    """But for those of a task that a firing sets itself."""
    payload = {"payload_text", "payload_base64", "content_type"}
    firing = {"run_time", "expire_time", "depends_on", "idempotency_key", "idempotency_ttl"}
    firing |= {"conflict_policy"}
    assert set(ScheduleEntry.model_fields) == SETTABLE
    assert set(RuleEntry.model_fields) == set(ScheduleSpec.DESCRIPTOR.fields_by_name)
    task = set(TaskSpec.DESCRIPTOR.fields_by_name)
    assert set(TaskEntry.model_fields) == task - firing | payload
    assert set(QueueEntry.model_fields) == set(Queue.DESCRIPTOR.fields_by_name) - {"command"}
    retries = QueueEntry.model_validate({"retry_policy": {}}).retry_policy
    assert retries is not None
    assert set(type(retries).model_fields) == set(RetryPolicy.DESCRIPTOR.fields_by_name)


def test_what_only_a_newer_server_says_is_no_entry() -> None:
    message = messages.schedule_message("s", entry())
    message.overlap_policy = 9  # type: ignore[assignment]
    with pytest.raises(ValueError, match="schedule s says"):
        messages.schedule_entry(message)


@pytest.mark.parametrize(
    "data", ['{"a": 1, "a": 2}', "1.50", "NaN", "null", "[" * 60 + "]" * 60, "{", "1e5"]
)
def test_json_that_would_be_written_otherwise_stays_a_text(data: str) -> None:
    message = messages.schedule_message("s", entry())
    message.task.payload.data, message.task.payload.content_type = data.encode(), "application/json"
    task = messages.schedule_entry(message).document()["task"]
    assert (task["payload_text"], task["content_type"]) == (data, "application/json")


def test_what_a_file_cannot_have_is_named() -> None:
    message = messages.schedule_message("s", entry())
    message.misfire_policy = MISFIRE_POLICY_FIRE_ONCE  # the default
    message.misfire_grace.FromSeconds(300)
    message.task.idempotency_key = "k"
    message.etag, message.created_by = "e", "ann"
    assert messages.left_out(message) == ["task.idempotency_key"]


def test_all_that_is_wrong_is_told_by_line_and_field() -> None:
    bad = FILE.replace("skip\n", "drop\n").replace("version: 1", "version: 1\nqueue: {}")
    bad = bad.replace("lease_duration: 300s", "lease_duration: 300")
    bad = bad.replace("max_attempts", "max_atempts").replace("command: report", "")
    bad = bad.replace('"0 3 * * *"', "5").replace('b: "1"', "b: 1")
    policies = "allow, skip, buffer_one or cancel_previous"
    text = "must be a text; one that looks like something else needs quotes"
    assert problems(bad) == [
        "f:2: queue: there is no such field; is it queues?",
        "f:5: queues.mail.lease_duration: must be a duration such as 90s, 5m or 24h",
        "f:6: queues.mail.retry_policy.max_atempts: there is no such field; is it max_attempts?",
        f"f:11: schedules.nightly.spec.crons[0]: {text}",
        "f:12: schedules.nightly.task.command: is missing",
        f"f:15: schedules.nightly.task.headers.b: {text}",
        f"f:16: schedules.nightly.overlap_policy: must be {policies}",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "f:1: has no settings; they begin with `version: 1`"),
        ("- a", "f:1: has no settings; they begin with `version: 1`"),
        ("queues: {}", "f:1: version: is missing: this one knows version 1"),
        ("a: 1\nversion: 2", "f:2: version: 2 is of another codeQ: this one knows version 1"),
        ("version: 1\nqueues: [", "f:2: is not YAML"),
        ("version: 1\nschedules: {s: }", "f:2: schedules.s: must have names and values"),
    ],
)
def test_a_file_of_another_kind_is_told(text: str, told: str) -> None:
    assert problems(text)[0].startswith(told)


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ({"payload": 1, "payload_text": "x"}, "one of payload"),
        ({"payload": 1, "content_type": "text/plain"}, "content_type goes with"),
        ({"payload_base64": "&"}, "is not base64"),
        ({"priority": -1}, "greater than or equal"),
        ({"payload": float("inf")}, "infinite"),
    ],
)
def test_a_task_that_cannot_be_is_told(task: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        entry(**task)


def test_fields_of_servers_lead_to_lines() -> None:
    found = reading.read(FILE)
    assert reading.path_of("schedule.spec.crons[0]") == ("spec", "crons", 0)
    place = ("schedules", "nightly", *reading.path_of("schedule.spec.crons[0]"))
    assert found.problem(place, "no").text("f") == "f:10: schedules.nightly.spec.crons[0]: no"
    place = ("schedules", "nightly", *reading.path_of("schedule.task.payload.data"))
    assert found.problem(place, "no").line == 13
