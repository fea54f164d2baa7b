"""Messages as JSON: exact numbers, JSON payloads inline, other content as base64."""

from __future__ import annotations

import json

import pytest

from codeq.v1.queue_pb2 import QueueStats
from codeq.v1.task_pb2 import TASK_STATE_COMPLETED, Payload, Task
from codeq_grpc.cli import documents


@pytest.mark.parametrize(
    ("payload", "document"),
    [
        (Payload(), None),
        (Payload(data=b'{"a":1}'), {"a": 1}),
        (Payload(data=b"[1]", content_type="application/json; charset=utf-8"), [1]),
        (
            Payload(data=b"x", content_type="text/plain"),
            {"data": "eA==", "contentType": "text/plain"},
        ),
        (
            Payload(data=b"{", content_type="application/json"),
            {"data": "ew==", "contentType": "application/json"},
        ),
    ],
)
def test_payloads(payload: Payload, document: object) -> None:
    assert documents.payload(payload) == document


def test_a_task() -> None:
    task = Task(task_id="t", state=TASK_STATE_COMPLETED, result=Payload(data=b"7"))
    task.spec.command = "c"
    assert documents.task(task) == {
        "taskId": "t",
        "spec": {"command": "c"},
        "state": "COMPLETED",
        "attempt": 0,
        "result": 7,
    }


def test_a_state_of_a_newer_server_is_a_number() -> None:
    assert documents.task(Task(state=99))["state"] == "99"  # type: ignore[arg-type]


def test_counts_are_numbers_and_complete() -> None:
    document = documents.complete(QueueStats(command="c", pending=(1 << 60) + 1))
    assert json.loads(documents.line(document))["pending"] == (1 << 60) + 1
    assert document["inProgress"] == 0


def test_text_for_people() -> None:
    assert documents.text(Payload(data="ä".encode())) == "ä"
    assert documents.text(Payload(data=b"\xff", content_type="a/b")) == "(1 bytes of a/b)"
    assert documents.text(Payload()) == ""
