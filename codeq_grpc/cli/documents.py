"""Messages as JSON documents, with the names that the HTTP API uses."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import sys
from typing import TYPE_CHECKING, Any

import click
from google.protobuf.json_format import MessageToDict

from codeq.v1.task_pb2 import ConflictPolicy, TaskState
from codeq_grpc.client.payloads import decode, is_json

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp

    from codeq.v1.task_pb2 import Payload, Progress, Task, TaskError
    from codeq_grpc.core.errors import CodeQError

Document = dict[str, Any]
_TEXT_MAX = 100_000
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def line(document: Document) -> str:
    """A document in one line."""
    return json.dumps(document, ensure_ascii=False)


def state_name(state: TaskState) -> str:
    """`COMPLETED` for TASK_STATE_COMPLETED."""
    try:
        return TaskState.Name(state).removeprefix("TASK_STATE_")
    except ValueError:
        return str(state)


def policy_name(policy: ConflictPolicy) -> str:
    """`REPLACE` for CONFLICT_POLICY_REPLACE."""
    try:
        return ConflictPolicy.Name(policy).removeprefix("CONFLICT_POLICY_")
    except ValueError:
        return str(policy)


def payload(message: Payload) -> object:
    """JSON as it is; other content as base64 beside its type."""
    if not message.data:
        return None
    if is_json(message.content_type):
        with contextlib.suppress(ValueError):
            return decode(message)
    data = base64.b64encode(message.data).decode()
    return {"data": data, "contentType": message.content_type}


def task(message: Task) -> Document:
    """A task; payload and result only where it has them."""
    document: Document = MessageToDict(message)
    document["state"] = state_name(message.state)
    document["attempt"] = message.attempt
    if message.spec.HasField("payload"):
        document["spec"]["payload"] = payload(message.spec.payload)
    if message.spec.conflict_policy:
        document["spec"]["conflictPolicy"] = policy_name(message.spec.conflict_policy)
    if message.HasField("result"):
        document["result"] = payload(message.result)
    if message.progress.HasField("checkpoint"):
        document["progress"]["checkpoint"] = payload(message.progress.checkpoint)
    for attempt, shown in zip(message.attempts, document.get("attempts", ()), strict=True):
        shown["fence"] = attempt.fence
    return document


def complete(message: Message) -> Document:
    """A message with all its fields, numbers as numbers: Python's JSON is exact for 64 bits."""
    document: Document = MessageToDict(message, always_print_fields_with_no_presence=True)
    for field in message.DESCRIPTOR.fields:
        if field.json_name in document and field.cpp_type == field.CPPTYPE_INT64:
            document[field.json_name] = int(document[field.json_name])
    return document


def failure(error: CodeQError, task_id: str) -> Document:
    """What was wrong with one task of several."""
    return {"taskId": task_id, "reason": error.reason, "message": error.message}


def time(message: Timestamp) -> str:
    """A time in UTC, to the millisecond."""
    return message.ToDatetime().isoformat(sep=" ", timespec="milliseconds") + " UTC"


def text(message: Payload) -> str:
    """A payload for people: text and JSON as they are, otherwise what and how much it is."""
    data, content_type = message.data, message.content_type
    if not data:
        return ""
    try:
        shown = data.decode()
    except ValueError:
        return f"({len(data)} bytes of {content_type or 'unknown content'})"
    return shown if len(shown) <= _TEXT_MAX else f"{shown[:_TEXT_MAX]}\n({len(data)} bytes in all)"


def harmless(content: str) -> str:
    """What others have written, without what a terminal would obey."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", content)


def echo(content: str) -> None:
    """Prints what others have written, e.g. a result: as it is, but harmless to a terminal."""
    if sys.stdout.isatty():
        content = harmless(content)
    # Without `color` click would leave out what looks like colours.
    click.echo(content, color=True)


def error(message: TaskError) -> str:
    """Type and message of an error in one line."""
    return ": ".join(filter(None, (message.type, " ".join(message.message.split()))))


def progress(message: Progress) -> str:
    """How far a task is, in one line: `40% resizing`."""
    said = " ".join(message.message.split())
    return f"{message.fraction:.0%} {said}".rstrip() if message.fraction or said else ""
