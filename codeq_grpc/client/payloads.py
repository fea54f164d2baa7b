"""Python values as payloads, and back."""

from __future__ import annotations

import json
from typing import Final

from codeq.v1.task_pb2 import Payload

JSON: Final = "application/json"
BYTES: Final = "application/octet-stream"


def is_json(content_type: str) -> bool:
    """Whether a media type is JSON; the empty one is."""
    media = content_type.partition(";")[0].strip().lower()
    return media in {"", JSON} or media.endswith("+json")


def encode(value: object, content_type: str | None = None) -> Payload:
    """A value as a payload.

    A `Payload` passes unchanged. Bytes stay what they are: `application/octet-stream` unless
    `content_type` says otherwise, and no bytes without a type are the empty payload. A text
    whose `content_type` is not JSON is sent as UTF-8. Everything else is JSON.

    Raises:
        TypeError: The value has no JSON form.
        ValueError: It has one that JSON forbids (NaN), or text that UTF-8 cannot express.
    """
    if isinstance(value, Payload):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
        return Payload(data=data, content_type=content_type or (BYTES if data else ""))
    if isinstance(value, str) and content_type is not None and not is_json(content_type):
        return Payload(data=value.encode(), content_type=content_type)
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Payload(data=text.encode(), content_type=content_type or JSON)


def decode(payload: Payload) -> object:
    """The value of a payload: JSON parsed, `text/*` as str, anything else as bytes.

    The empty payload is None.

    Raises:
        ValueError: The bytes are not what the content type says.
    """
    data, content_type = payload.data, payload.content_type
    if is_json(content_type):
        return json.loads(data) if data else None
    if not content_type.lower().startswith("text/"):
        return data
    charset = content_type.lower().partition("charset=")[2].partition(";")[0].strip(' "')
    try:
        return data.decode(charset or "utf-8")
    except LookupError:
        raise ValueError(f"unknown charset {charset!r} in {content_type!r}") from None
