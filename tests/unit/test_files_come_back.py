"""Files of settings: whatever there is, it comes back from a file as it was."""

from __future__ import annotations

import json
from datetime import datetime

import yaml
from hypothesis import given, settings, strategies as st

from codeq.v1.queue_pb2 import Queue
from codeq.v1.schedule_service_pb2 import (
    MISFIRE_POLICY_FIRE_ONCE,
    OVERLAP_POLICY_ALLOW,
    Schedule,
    ScheduleSpec,
)
from codeq.v1.task_pb2 import Payload, RetryPolicy, TaskSpec
from codeq_grpc.files import messages, reading, spans, yaml_text
from codeq_grpc.files.model import QueueEntry, ScheduleEntry

FRAGMENTS = [
    *":-[]{},'\"|>&*!#%@?.~=a1 \n\t\\\x00\u2028é",
    *("- ", ": ", "\n  ", "&a", "*a", "!!str", "---", "...", "<<", "true", "version: 1", "queues:"),
    *("schedules:", "spec", "task", "crons", "payload"),
]
"""What means something in YAML, and here."""
TEXT = st.text(st.characters(codec="utf-8"))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)
SPANS = st.integers(0, 10**16).map(lambda ns: {"seconds": ns // 10**9, "nanos": ns % 10**9})
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(9998, 1, 1))  # noqa: DTZ001 - in UTC
LABELS = st.dictionaries(TEXT, TEXT, max_size=3)
RETRIES = st.builds(
    RetryPolicy,
    max_attempts=st.none() | st.integers(0, 100),
    initial_backoff=st.none() | SPANS,
    jitter=st.none() | st.floats(0, 1),
    non_retryable_error_types=st.lists(TEXT, max_size=2),
)
QUEUES = st.builds(
    Queue,
    command=st.just("c"),
    default_priority=st.none() | st.integers(0, 9),
    retry_policy=RETRIES,
    lease_duration=st.none() | SPANS,
    max_claims_per_second=st.floats(0, 1e6),
    max_backlog=st.integers(0, 10**12),
    retain_payload=st.booleans(),
    payload_schema=TEXT,
)
TASKS = st.builds(
    TaskSpec,
    command=TEXT.filter(bool),
    payload=st.none() | st.builds(Payload, data=st.binary(min_size=1), content_type=TEXT),
    priority=st.none() | st.integers(0, 9),
    delay=st.none() | SPANS,
    retry_policy=RETRIES,
    concurrency_key=TEXT,
    labels=LABELS,
    headers=LABELS,
)
RULES = st.builds(
    ScheduleSpec,
    crons=st.lists(TEXT, min_size=1, max_size=3),
    every=st.none() | SPANS,
    times=st.lists(TIMES, max_size=2),
    time_zone=TEXT,
    start_time=st.none() | TIMES,
)
SCHEDULES = st.builds(
    Schedule,
    schedule_id=st.just("s"),
    description=TEXT,
    spec=RULES,
    task=TASKS,
    overlap_policy=st.integers(0, 4),
    misfire_policy=st.integers(0, 3),
    misfire_grace=st.none() | SPANS,
    max_firings=st.integers(0, 2**63 - 1),
    labels=LABELS,
)


@settings(deadline=None)
@given(JSON)
def test_what_is_written_is_read(value: object) -> None:
    assert yaml_text.read(yaml_text.write({"v": value})).value == {"v": value}


@settings(deadline=None)
@given(
    TEXT | st.sampled_from(["yes", "on", "1_000", "1:30", "2026-07-01", "0o7", "1e5", "=", "<<"])
)
def test_texts_are_texts_for_parsers_of_either_version(text: str) -> None:
    written = yaml_text.write({"v": text})
    assert yaml.safe_load(written) == {"v": text} == yaml_text.read(written).value


@settings(deadline=None)
@given(st.integers(0, 10**20))
def test_durations_come_back(nanoseconds: int) -> None:
    assert spans.nanoseconds(spans.text_of(nanoseconds)) == nanoseconds


@settings(deadline=None)
@given(st.binary(), st.sampled_from(["", "application/json", "text/plain", "image/png"]))
def test_any_payload_comes_back(data: bytes, content_type: str) -> None:
    payload = Payload(data=data, content_type=content_type)
    message = Schedule(schedule_id="s", task=TaskSpec(command="c", payload=payload))
    message.spec.crons.append("@daily")
    document = messages.schedule_entry(message).document()
    read = yaml_text.read(yaml_text.write(document)).value
    back = messages.schedule_message("s", ScheduleEntry.model_validate(read)).task.payload
    if data and content_type == "application/json" and "payload" in document["task"]:
        assert json.loads(back.data) == json.loads(data)
    else:
        assert back == payload


@settings(max_examples=50, deadline=None)
@given(JSON)
def test_any_json_payload_comes_back(value: object) -> None:
    data = json.dumps(value, ensure_ascii=False).encode()
    message = Schedule(schedule_id="s", spec=ScheduleSpec(crons=["@daily"]))
    message.task.command = "c"
    message.task.payload.data, message.task.payload.content_type = data, "application/json"
    back = messages.schedule_message("s", messages.schedule_entry(message))
    assert json.loads(back.task.payload.data) == value


@settings(max_examples=200, deadline=None)
@given(SCHEDULES)
def test_any_schedule_comes_back(schedule: Schedule) -> None:
    document = messages.schedule_entry(schedule).document()
    read = yaml_text.read(yaml_text.write(document)).value
    entry = ScheduleEntry.model_validate(read)
    assert entry.document() == document
    back = messages.schedule_message("s", entry)
    for defaults in (schedule, back):  # what is set to what it is without
        defaults.overlap_policy = defaults.overlap_policy or OVERLAP_POLICY_ALLOW
        defaults.misfire_policy = defaults.misfire_policy or MISFIRE_POLICY_FIRE_ONCE
        defaults.spec.time_zone = defaults.spec.time_zone or "UTC"
        if defaults.task.delay.ToNanoseconds() == 0:
            defaults.task.ClearField("delay")
        if not defaults.HasField("misfire_grace"):
            defaults.misfire_grace.FromSeconds(300)
        defaults.task.retry_policy.SetInParent()
    assert back == schedule


@settings(max_examples=100, deadline=None)
@given(QUEUES)
def test_any_settings_of_a_queue_come_back(queue: Queue) -> None:
    document = messages.queue_entry(queue).document()
    read = yaml_text.read(yaml_text.write(document)).value
    back = messages.queue_message("c", QueueEntry.model_validate(read))
    back.retry_policy.SetInParent()
    assert back == queue


@settings(max_examples=300, deadline=None)
@given(TEXT | st.lists(st.sampled_from(FRAGMENTS)).map("".join))
def test_any_text_is_read_or_told_to_be_none(text: str) -> None:
    for given_text in (text, f"version: 1\n{text}", f"version: 1\nschedules: {{s: {text}}}"):
        try:
            reading.read(given_text)
        except reading.BadSettings as error:
            told = [problem.text("f") for problem in error.problems]
        else:
            told = ["nothing"]
        assert all(told)
