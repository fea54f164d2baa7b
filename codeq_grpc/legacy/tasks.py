"""A task as the old programs wrote it."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

_INFORMATION: Final = ("webhook", "traceParent", "traceState", "error", "createdAt")


class Unreadable(ValueError):
    """What stands there is no task; the message says why."""


class Payload(NamedTuple):
    """What the worker is to get."""

    data: bytes
    is_json: bool


@dataclass(frozen=True, slots=True)
class OldTask:
    """What counts of it; fields that it has not are empty, as they were to the old programs."""

    command: str
    tenant: str
    status: str
    payload: Payload
    priority: int
    attempts: int
    max_attempts: int
    more: dict[str, str]
    """`webhook`, `traceParent`, `traceState`, `error`, `createdAt`, where they are texts."""

    @property
    def created_ms(self) -> int:
        """When it was made, 0 if nobody knows. Such times have nanoseconds and an offset."""
        with contextlib.suppress(ValueError, OverflowError):
            made = datetime.fromisoformat(self.more.get("createdAt", ""))
            made = made if made.tzinfo else made.replace(tzinfo=UTC)
            return int(made.timestamp() * 1_000)
        return 0


def read(raw: bytes) -> OldTask:
    """The task of a record; raises Unreadable."""
    record = _parsed(raw)
    if not isinstance(record, dict):
        raise Unreadable("not a JSON object")
    command = _text(record, "command").strip()
    if not command:
        raise Unreadable("command: missing")
    return OldTask(
        command=command,
        tenant=_text(record, "tenantId"),
        status=_text(record, "status"),
        payload=_payload(record.get("payload")),
        priority=min(9, max(0, _number(record, "priority"))),
        attempts=max(0, _number(record, "attempts")),
        max_attempts=max(0, _number(record, "maxAttempts")),
        more={name: text for name in _INFORMATION if (text := _said(record.get(name)))},
    )


def _parsed(raw: bytes | str) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not JSON: {str(error)[:100]}") from None


def _text(record: dict[str, Any], name: str) -> str:
    value = record.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or not _said(value) == value:
        raise Unreadable(f"{name}: not a text")
    return value


def _said(value: object) -> str:
    """A text that others can read, '' for anything else: JSON may have half surrogates."""
    if isinstance(value, str):
        with contextlib.suppress(UnicodeEncodeError):
            value.encode()
            return value
    return ""


def _number(record: dict[str, Any], name: str) -> int:
    value = record.get(name, 0)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int):
        raise Unreadable(f"{name}: not a whole number")
    return value


def _payload(value: object) -> Payload:
    """The old programs kept JSON within a text; older tools wrote it as it is."""
    if value is None or value == "":
        return Payload(b"", is_json=True)
    try:
        if not isinstance(value, str):
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            return Payload(text.encode(), is_json=True)
        data = value.encode()
    except ValueError as error:
        raise Unreadable(f"payload: {str(error)[:100]}") from None
    try:
        _parsed(value)
    except Unreadable:
        return Payload(data, is_json=False)
    return Payload(data, is_json=True)
