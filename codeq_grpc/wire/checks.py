"""Checks that many fields share. Each raises InvalidField naming the field's path."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

from codeq_grpc.core import limits
from codeq_grpc.core.errors import InvalidField

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.timestamp_pb2 import Timestamp

    from codeq.v1.task_pb2 import LeaseRef

_COMMAND: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
FENCE_MAX: Final = (1 << 53) - 1
"""What JavaScript holds without loss."""
_NANOS: Final = 1_000_000_000
_MIN_SECONDS: Final = -62_135_596_800
_MAX_SECONDS: Final = 253_402_300_799


def check_command(command: str, path: str) -> str:
    """A queue's name."""
    if not _COMMAND.fullmatch(command):
        raise InvalidField.at(
            path, f"must be 1 to {limits.COMMAND_CHARS} letters, digits and ._:- characters"
        )
    return command


def check_commands(commands: list[str], path: str, most: int) -> list[str]:
    """1 to `most` different queue names."""
    if not 1 <= len(commands) <= most:
        raise InvalidField.at(path, f"must have 1 to {most} entries")
    for i, command in enumerate(commands):
        check_command(command, f"{path}[{i}]")
    if len(set(commands)) != len(commands):
        raise InvalidField.at(path, "must not name a command twice")
    return commands


def check_text(text: str, path: str, most: int, least: int = 0) -> str:
    """A text of `least` to `most` characters."""
    if not least <= len(text) <= most:
        between = f"{least} to {most}" if least else f"at most {most}"
        raise InvalidField.at(path, f"must have {between} characters")
    return text


def check_key(key: str, path: str) -> str:
    """An idempotency or concurrency key, or none."""
    check_text(key, path, limits.IDEMPOTENCY_KEY_CHARS)
    if "\0" in key:
        raise InvalidField.at(path, "must not have a NUL character")
    return key


def check_labels(labels: Mapping[str, str], path: str) -> None:
    """Labels of a task, or those that a task must have."""
    if len(labels) > limits.LABELS:
        raise InvalidField.at(path, f"must have at most {limits.LABELS} entries")
    for key, value in labels.items():
        check_text(key, path, limits.LABEL_KEY_CHARS, 1)
        check_text(value, f"{path}[{key}]", limits.LABEL_VALUE_CHARS)
        if "\0" in key or "\0" in value:
            raise InvalidField.at(path, "must not have a NUL character")


def check_number(value: float, path: str, least: float, most: float) -> float:
    """A finite number of `least` to `most`."""
    if not (math.isfinite(value) and least <= value <= most):
        raise InvalidField.at(path, f"must be {_plain(least)} to {_plain(most)}")
    return value


def check_worker_id(worker_id: str) -> str:
    """The name a worker gives itself."""
    check_text(worker_id, "worker_id", limits.WORKER_ID_CHARS, 1)
    if not worker_id.isprintable():
        raise InvalidField.at("worker_id", "must be printable")
    return worker_id


def check_count(count: int, path: str, most: int, default: int) -> int:
    """1 to `most`; 0 means the default."""
    if not 0 <= count <= most:
        raise InvalidField.at(path, f"must be 1 to {most}")
    return count or default


def duration_ms(duration: Duration, path: str, least: int, most: int) -> int:
    """A duration of `least` to `most` ms."""
    seconds, nanos = duration.seconds, duration.nanos
    if abs(nanos) >= _NANOS or (seconds > 0 > nanos) or (seconds < 0 < nanos):
        raise InvalidField.at(path, "is not a valid duration")
    ms = seconds * 1000 + nanos // 1_000_000
    if not least <= ms <= most:
        raise InvalidField.at(path, f"must be {_plain(least / 1000)} s to {_plain(most / 1000)} s")
    return ms


def _plain(number: float) -> str:
    # As the page of limits has it, without an exponent.
    return f"{number:.0f}" if float(number).is_integer() else f"{number:g}"


def timestamp_ms(timestamp: Timestamp, path: str) -> int:
    """A time of the years 1 to 9999."""
    seconds, nanos = timestamp.seconds, timestamp.nanos
    if not (_MIN_SECONDS <= seconds <= _MAX_SECONDS and 0 <= nanos < _NANOS):
        raise InvalidField.at(path, "is not a valid time of the years 1 to 9999")
    return seconds * 1000 + nanos // 1_000_000


def check_lease(lease: LeaseRef, path: str) -> tuple[str, int]:
    """Task id and fence."""
    if not lease.task_id:
        raise InvalidField.at(f"{path}.task_id", "must be set")
    if not 1 <= lease.fence <= FENCE_MAX:
        raise InvalidField.at(f"{path}.fence", "must be the fence of a claim")
    return lease.task_id, lease.fence
