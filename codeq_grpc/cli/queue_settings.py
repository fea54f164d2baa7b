"""Settings of a queue as people write and read them: `lease_duration=5m`."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import click

from codeq_grpc.cli.values import duration, pair, priority
from codeq_grpc.files import spans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from codeq.v1.queue_pb2 import Queue

_DEFAULT: Final = "default"
_WORDS: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class Change(NamedTuple):
    """A setting and its new value; None goes back to the default of the server."""

    key: str
    value: object


def _number(value: str, kind: Callable[[str], float]) -> float:
    try:
        number = kind(value)
    except ValueError:
        number = -1
    # NaN is neither.
    if not 0 <= number < float("inf"):
        raise click.BadParameter(f"{value!r} is not a number such as 10")
    return number


def _flag(value: str) -> bool:
    try:
        return _WORDS[value.strip().lower()]
    except KeyError:
        raise click.BadParameter(f"{value!r} is neither true nor false") from None


def _types(value: str) -> list[str]:
    return [name for part in value.split(",") if (name := part.strip())]


_whole = functools.partial(_number, kind=int)
_real = functools.partial(_number, kind=float)

PARSERS: Final[dict[str, Callable[[str], object]]] = {
    "default_priority": priority,
    "lease_duration": duration,
    "retention": duration,
    "retain_payload": _flag,
    "max_in_progress": _whole,
    "max_in_progress_per_key": _whole,
    "max_claims_per_second": _real,
    "max_backlog": _whole,
    "payload_schema": str,
    "retry_policy.max_attempts": _whole,
    "retry_policy.initial_backoff": duration,
    "retry_policy.max_backoff": duration,
    "retry_policy.backoff_multiplier": _real,
    "retry_policy.jitter": _real,
    "retry_policy.non_retryable_error_types": _types,
}
"""Key -> how its value is read."""
_SHOWN_CHARS: Final = 60
"""Of a schema; a longer one is told by its size."""
_LIMITS: Final = frozenset(key for key in PARSERS if key.startswith("max_"))
"""Of these, 0 is no limit."""


def change(value: str) -> Change:
    """A type for click: `key=value`, or `key=default`.

    Raises:
        BadParameter: It is of another form, names no setting, or has no such value.
    """
    key, content = pair(value)
    if key in {"paused", "pause_reason"}:
        raise click.BadParameter("`codeq queues pause` and `resume` do that")
    if key not in PARSERS:
        raise click.BadParameter(f"there is no setting {key!r}; there are {', '.join(PARSERS)}")
    if content.strip().lower() == _DEFAULT:
        return Change(key, None)
    try:
        return Change(key, PARSERS[key](content))
    except click.BadParameter as error:
        raise click.BadParameter(f"{key}: {error.message}") from None


def changed(command: str, changes: Iterable[Change]) -> Queue:
    """A queue with the new values; the defaults among them are not set."""
    from codeq.v1.queue_pb2 import Queue

    queue = Queue(command=command)
    for key, value in changes:
        if value is not None:
            holder, name = _holder(queue, key)
            holder.MergeFrom(type(holder)(**{name: _as_message(key, value)}))
    return queue


def rows(queue: Queue) -> Iterator[tuple[str, str]]:
    """Each setting that has a value, by its key."""
    for key in PARSERS:
        holder, name = _holder(queue, key)
        if not holder.DESCRIPTOR.fields_by_name[name].has_presence or holder.HasField(name):
            yield key, _shown(key, getattr(holder, name))


def _holder(queue: Queue, key: str) -> tuple[Any, str]:
    """The message that a setting is a field of, and the field."""
    above, _, name = key.rpartition(".")
    return (getattr(queue, above) if above else queue), name


def _as_message(key: str, value: object) -> object:
    if PARSERS[key] is not duration:
        return value
    from codeq_grpc.client import duration as message

    return message(cast("float", value))


def _shown(key: str, value: Any) -> str:
    if key in _LIMITS and not value:
        return "no limit"
    if isinstance(value, str):
        return _schema(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if hasattr(value, "ToMilliseconds"):
        return span(value.ToMilliseconds())
    return ", ".join(value) or "none"


def _schema(text: str) -> str:
    if not text:
        return "none"
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARS else f"{len(text.encode()):,} bytes (see --json)"


def span(milliseconds: int) -> str:
    """A duration as it can be typed: `1h30m`."""
    return spans.text_of(milliseconds * 1_000_000)
