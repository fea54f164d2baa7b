"""Entries of files as messages of the API, and back."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.duration_pb2 import Duration

from codeq.v1.queue_pb2 import Queue
from codeq.v1.schedule_service_pb2 import Schedule
from codeq.v1.task_pb2 import Payload
from codeq_grpc.files import spans
from codeq_grpc.files.model import (
    BYTES,
    JSON,
    TEXT,
    Part,
    QueueEntry,
    Retries,
    RuleEntry,
    ScheduleEntry,
    TaskEntry,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
    from google.protobuf.message import Message

_PARTS: Final[dict[str, type[Part]]] = {
    "codeq.v1.RetryPolicy": Retries,
    "codeq.v1.ScheduleSpec": RuleEntry,
    "codeq.v1.TaskSpec": TaskEntry,
}
_OUTPUT: Final = {
    *("schedule_id", "system", "status", "etag", "created_by", "create_time", "update_time"),
    "version",
}
"""Fields of a schedule that the server sets."""
_DEPTH_MAX: Final = 50
"""Of JSON that is written as YAML; deeper JSON is a text."""
_PAYLOAD: Final = ("payload", "payload_text", "payload_base64", "content_type")


def queue_message(command: str, entry: QueueEntry) -> Queue:
    """Settings of a queue."""
    queue = Queue(command=command)
    _fill(queue, entry)
    return queue


def queue_entry(queue: Queue) -> QueueEntry:
    """The same of what was set, without defaults."""
    return QueueEntry.model_validate(_read(queue, QueueEntry))


def schedule_message(schedule_id: str, entry: ScheduleEntry) -> Schedule:
    """A schedule."""
    schedule = Schedule(schedule_id=schedule_id)
    _fill(schedule, entry)
    return schedule


def schedule_entry(schedule: Schedule) -> ScheduleEntry:
    """The same of what people set.

    Raises:
        ValueError: It says something that this version of codeQ does not know.
    """
    try:
        return ScheduleEntry.model_validate(_read(schedule, ScheduleEntry))
    except (KeyError, ValueError) as error:
        problem = f"schedule {schedule.schedule_id} says what this version of codeQ does not know"
        raise ValueError(problem) from error


def left_out(schedule: Schedule) -> list[str]:
    """Fields that a schedule has and an entry cannot."""
    kept = schedule_message(schedule.schedule_id, schedule_entry(schedule))
    return [
        path for path in _paths(schedule) if path not in set(_paths(kept)) and path not in _OUTPUT
    ]


def _paths(message: Message, above: str = "") -> Iterator[str]:
    for field, value in message.ListFields():
        path = f"{above}{field.name}"
        if not above and field.name in _OUTPUT:
            continue
        if field.message_type is not None and field.message_type.full_name in _PARTS:
            yield from _paths(value, f"{path}.")
        elif not _is_default(field, value):
            yield path


def _is_default(field: FieldDescriptor, value: Any) -> bool:
    """Whether it is set to what it is without."""
    if field.enum_type is not None:
        return int(value) <= 1
    return field.name in {"misfire_grace", "jitter", "time_zone", "payload", "delay"}


def _fill(message: Message, part: Part) -> None:
    for name in type(part).model_fields:
        value = getattr(part, name)
        if value is None or value in ([], {}) or name in _PAYLOAD:
            continue
        _set(message, message.DESCRIPTOR.fields_by_name[name], value)
    if isinstance(part, TaskEntry):
        payload = _payload(part)
        if payload is not None:
            message.payload.CopyFrom(payload)  # type: ignore[attr-defined]


def _set(message: Message, field: Any, value: Any) -> None:
    held = getattr(message, field.name)
    if isinstance(value, Part):
        held.SetInParent()
        _fill(held, value)
    elif isinstance(value, dict):
        held.update(value)
    elif isinstance(value, list) and field.message_type is not None:
        for each in value:
            held.add().FromJsonString(each)
    elif isinstance(value, list):
        held.extend(value)
    elif field.enum_type is not None:
        setattr(message, field.name, _prefix(field.enum_type) + value.upper())
    elif field.message_type is None:
        setattr(message, field.name, value)
    elif isinstance(held, Duration):
        held.FromNanoseconds(spans.nanoseconds(value))
    else:
        held.FromJsonString(value)


def _read(message: Any, part: type[Part]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in part.model_fields:
        if name in _PAYLOAD:
            continue
        field = message.DESCRIPTOR.fields_by_name[name]
        if field.has_presence and not message.HasField(name):
            continue
        value = _value(field, getattr(message, name))
        if field.has_presence or value:
            found[name] = value
    if part is TaskEntry and message.HasField("payload"):
        found |= _payload_fields(message.payload)
    return found


def _value(field: FieldDescriptor, value: Any) -> Any:
    kind = field.message_type
    if field.is_repeated:
        if kind is None:
            return list(value)
        return dict(value) if kind.GetOptions().map_entry else [at.ToJsonString() for at in value]
    if field.enum_type is not None:
        name = field.enum_type.values_by_number[value].name
        return name.removeprefix(_prefix(field.enum_type)).lower() if value else None
    return value if kind is None else _single(kind.full_name, value)


def _single(kind: str, value: Any) -> Any:
    if kind in _PARTS:
        return _read(value, _PARTS[kind])
    if kind == Duration.DESCRIPTOR.full_name:
        return spans.text_of(value.ToNanoseconds())
    return value.ToJsonString()


def _prefix(enum: EnumDescriptor) -> str:
    return enum.values[0].name.removesuffix("UNSPECIFIED")


def _payload(task: TaskEntry) -> Payload | None:
    if task.payload is not None:
        text = json.dumps(task.payload, ensure_ascii=False, separators=(",", ":"))
        return Payload(data=text.encode(), content_type=JSON)
    kind = task.content_type
    if task.payload_text is not None:
        return Payload(data=task.payload_text.encode(), content_type=TEXT if kind is None else kind)
    if task.payload_base64 is not None:
        data = base64.b64decode(task.payload_base64)
        return Payload(data=data, content_type=BYTES if kind is None else kind)
    return None


def _payload_fields(payload: Payload) -> dict[str, Any]:
    if not (payload.data or payload.content_type):
        return {}
    try:
        text = payload.data.decode()
    except UnicodeDecodeError:
        data = base64.b64encode(payload.data).decode()
        return {"payload_base64": data, **_content_type(payload, BYTES)}
    if payload.content_type == JSON:
        found = _exact_json(text)
        if found is not None:
            return {"payload": found}
    return {"payload_text": text, **_content_type(payload, TEXT)}


def _exact_json(text: str) -> object | None:
    """The value, if what JSON says of it is the same after it was read and written."""

    def pairs(found: list[tuple[str, object]]) -> dict[str, object]:
        if len(dict(found)) < len(found):
            raise ValueError("a key is there twice")
        return dict(found)

    def number(text: str) -> float:
        if repr(float(text)) != text:
            raise ValueError("it would be written otherwise")
        return float(text)

    try:
        value: object = json.loads(text, object_pairs_hook=pairs, parse_float=number)
        text.encode()
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return None
    return value if _depth(value) <= _DEPTH_MAX else None


def _depth(value: object) -> int:
    within = list(value.values()) if isinstance(value, dict) else value
    return 1 + max(map(_depth, within), default=0) if isinstance(within, list) else 0


def _content_type(payload: Payload, default: str) -> dict[str, str]:
    return {} if payload.content_type == default else {"content_type": payload.content_type}
