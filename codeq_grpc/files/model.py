"""What stands in a file of settings: `codeq.yaml`.

Names and places are those of the API. A value that is the default is the same as none, so that two
files that mean the same are equal.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import math
import re
from typing import Annotated, Any, ClassVar, Final, Literal

from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from codeq_grpc.files import spans

VERSION: Final = 1
"""Of the form; another number is another form."""
JSON: Final = "application/json"
TEXT: Final = "text/plain"
BYTES: Final = "application/octet-stream"
_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def _written(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("must be a duration such as 90s, 5m or 24h")  # noqa: TRY004 - pydantic's way
    return value


def _span(value: str) -> str:
    return spans.text_of(spans.nanoseconds(value))


def _moment(value: str) -> str:
    """In UTC."""
    message = Timestamp()
    with contextlib.suppress(ValueError):
        if _TIME.fullmatch(value):
            message.FromJsonString(value.upper().replace(" ", "T"))
            return message.ToJsonString()
    raise ValueError(f"{value!r} is not a time such as 2026-07-01T12:00:00Z")


def _base64(value: str) -> str:
    """Without the white space in it."""
    joined = "".join(value.split())
    try:
        base64.b64decode(joined, validate=True)
    except binascii.Error:
        raise ValueError("is not base64") from None
    return joined


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("is text that UTF-8 cannot express") from None
    return value


def _json(value: object) -> object:
    """Raises ValueError if JSON has no such value."""
    if isinstance(value, dict):
        for key, each in value.items():
            _text(key)
            _json(each)
    elif isinstance(value, list):
        for each in value:
            _json(each)
    elif isinstance(value, str):
        _text(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("JSON has no infinite numbers")
    return value


class _Unless:
    """None for the default."""

    def __init__(self, default: object) -> None:
        self._default = default

    def __call__(self, value: object) -> object:
        return None if value == self._default else value


Text = Annotated[str, AfterValidator(_text)]
Bytes = Annotated[str, AfterValidator(_base64)]
Span = Annotated[str, BeforeValidator(_written), AfterValidator(_span)]
Moment = Annotated[str, AfterValidator(_moment)]
Whole = Annotated[int, Field(ge=0, le=2**31 - 1)]
Large = Annotated[int, Field(ge=0, le=2**63 - 1)]
Real = Annotated[float, Field(ge=0)]
Labels = Annotated[dict[Text, Text], Field(default_factory=dict)]
Texts = Annotated[list[Text], Field(default_factory=list)]


class Part(BaseModel):
    """What all parts are like: nothing in them that is not known, and no kind of value for
    another.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    whole: ClassVar[frozenset[str]] = frozenset()
    """Fields in which nothing is a value, too."""

    def document(self) -> dict[str, Any]:
        """As it is written: without what is the default, in the order of the fields."""
        found: dict[str, Any] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, Part):
                value = value.document()
            if value is not None and (name in self.whole or value not in ([], {})):
                found[name] = dict(sorted(value.items())) if name in _SORTED else value
        if not found.get("paused"):
            found.pop("pause_reason", None)
        return found


_SORTED: Final = {"labels", "headers"}


class Retries(Part):
    """A retry policy."""

    max_attempts: Whole | None = None
    initial_backoff: Span | None = None
    max_backoff: Span | None = None
    backoff_multiplier: Real | None = None
    jitter: Real | None = None
    non_retryable_error_types: Texts


class QueueEntry(Part):
    """Settings of a queue."""

    default_priority: Whole | None = None
    retry_policy: Retries | None = None
    lease_duration: Span | None = None
    max_claims_per_second: Annotated[Real | None, AfterValidator(_Unless(0))] = None
    max_in_progress: Annotated[Whole | None, AfterValidator(_Unless(0))] = None
    max_in_progress_per_key: Annotated[Whole | None, AfterValidator(_Unless(0))] = None
    max_backlog: Annotated[Large | None, AfterValidator(_Unless(0))] = None
    retention: Span | None = None
    retain_payload: Annotated[bool | None, AfterValidator(_Unless(False))] = None
    payload_schema: Annotated[Text | None, AfterValidator(_Unless(""))] = None
    paused: bool | None = None
    pause_reason: Text | None = None


class TaskEntry(Part):
    """What a schedule enqueues. A payload is JSON, or a text or bytes of some content type."""

    whole = frozenset({"payload"})

    command: Text
    payload: Annotated[Any, AfterValidator(_json)] = None
    payload_text: Text | None = None
    payload_base64: Bytes | None = None
    content_type: Text | None = None
    priority: Whole | None = None
    delay: Annotated[Span | None, AfterValidator(_Unless("0s"))] = None
    lease_duration: Span | None = None
    attempt_timeout: Span | None = None
    retry_policy: Retries | None = None
    concurrency_key: Annotated[Text | None, AfterValidator(_Unless(""))] = None
    labels: Labels
    headers: Labels

    @model_validator(mode="after")
    def _check(self) -> TaskEntry:
        forms = (self.payload, self.payload_text, self.payload_base64)
        if sum(form is not None for form in forms) > 1:
            raise ValueError("has one of payload, payload_text and payload_base64")
        if self.content_type is not None and forms[1] is None and forms[2] is None:
            raise ValueError("content_type goes with payload_text or payload_base64")
        return self


class RuleEntry(Part):
    """When to fire."""

    crons: Texts
    every: Span | None = None
    times: Annotated[list[Moment], Field(default_factory=list)]
    time_zone: Annotated[Text | None, AfterValidator(_Unless("UTC"))] = None
    start_time: Moment | None = None
    end_time: Moment | None = None
    jitter: Annotated[Span | None, AfterValidator(_Unless("0s"))] = None

    @model_validator(mode="after")
    def _check(self) -> RuleEntry:
        if not (self.crons or self.every or self.times):
            raise ValueError("has no rule: crons, every or times")
        return self


class ScheduleEntry(Part):
    """A schedule."""

    description: Annotated[Text | None, AfterValidator(_Unless(""))] = None
    spec: RuleEntry
    task: TaskEntry
    overlap_policy: Annotated[
        Literal["allow", "skip", "buffer_one", "cancel_previous"] | None,
        AfterValidator(_Unless("allow")),
    ] = None
    misfire_policy: Annotated[
        Literal["fire_once", "skip", "fire_all"] | None, AfterValidator(_Unless("fire_once"))
    ] = None
    misfire_grace: Annotated[Span | None, AfterValidator(_Unless("5m"))] = None
    max_firings: Annotated[Large | None, AfterValidator(_Unless(0))] = None
    pause_after_failures: Annotated[Whole | None, AfterValidator(_Unless(0))] = None
    labels: Labels
    paused: bool | None = None
    pause_reason: Text | None = None


class File(Part):
    """All of it. A section that is not there is not what the file is about."""

    version: Literal[1]
    queues: dict[Text, QueueEntry | None] | None = None
    schedules: dict[Text, ScheduleEntry] | None = None
