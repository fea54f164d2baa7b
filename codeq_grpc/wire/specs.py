"""Checks what producers ask for."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from codeq.v1 import task_pb2
from codeq_grpc.core import limits
from codeq_grpc.core.errors import InvalidField, PayloadTooLarge
from codeq_grpc.core.records import Idempotency, NewTask
from codeq_grpc.core.task import Conflict
from codeq_grpc.wire.checks import (
    check_command,
    check_key,
    check_labels,
    check_text,
    duration_ms,
    timestamp_ms,
)
from codeq_grpc.wire.retries import retry_wishes

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration


_DIGEST_BYTES: Final = 16
_PAYLOAD_FIELD: Final = task_pb2.TaskSpec.PAYLOAD_FIELD_NUMBER << 3 | 2
"""Tag of `payload` on the wire, a length-delimited field."""
_KNOWN: Final = 512
"""Specs that are known to be good, and their size at most: a quarter of a megabyte in all."""
_KNOWN_BYTES: Final = 512
_OVERHEAD: Final = 1 << 10
"""Bytes of a payload besides its data; more of them are fields unknown to this server."""


def _too_large(path: str, size: int, most: int) -> PayloadTooLarge:
    problem = f"has {size} bytes, at most {most} are allowed"
    return PayloadTooLarge(
        f"{path}: {problem}",
        fields={path: problem},
        metadata={"field": path, "limit": str(most), "actual": str(size)},
    )


def is_harmless(payload: task_pb2.Payload, most: int) -> bool:
    """Whether there is nothing to check, as in most payloads."""
    return payload.ByteSize() <= most and not payload.content_type


def check_payload(payload: task_pb2.Payload, path: str, most: int) -> None:
    """Size and media type of opaque data."""
    if is_harmless(payload, most):
        return
    if len(payload.data) > most:
        raise _too_large(f"{path}.data", len(payload.data), most)
    if payload.ByteSize() > most + _OVERHEAD:
        raise _too_large(path, payload.ByteSize(), most + _OVERHEAD)
    if payload.content_type:
        check_text(payload.content_type, f"{path}.content_type", limits.CONTENT_TYPE_CHARS)
    if not payload.content_type.isprintable():
        raise InvalidField.at(f"{path}.content_type", "must be printable")


def payload_field(payload: task_pb2.Payload) -> bytes:
    """The field `payload` of a spec as it is on the wire: tag, length, bytes. Appended to a spec
    without it, it makes the whole, since fields may come in any order
    (protobuf.dev/programming-guides/encoding).
    """
    raw = payload.SerializeToString()
    if not raw:
        return b""
    length, head = len(raw), bytearray((_PAYLOAD_FIELD,))
    while length > 127:
        head.append(length & 127 | 128)
        length >>= 7
    head.append(length)
    return bytes(head) + raw


def opened(field: bytes) -> tuple[bytes, str]:
    """Data and media type in such a field."""
    payload = task_pb2.TaskSpec.FromString(field).payload
    return payload.data, payload.content_type


class SpecChecker:
    """Checks specs against the limits."""

    def __init__(self, *, payload_bytes: int) -> None:
        self.payload_bytes = payload_bytes
        # With all that becomes of it a task must still fit into one message.
        more = limits.ERROR_BYTES + limits.CHECKPOINT_BYTES + limits.HISTORY_BYTES + (64 << 10)
        room = limits.MESSAGE_BYTES - payload_bytes - more
        self._known: dict[bytes, NewTask] = {}
        self.spec_bytes = min(limits.BATCH_BYTES - limits.CHECKPOINT_BYTES, room)

    def check(self, spec: task_pb2.TaskSpec, path: str) -> NewTask:
        """What the store needs of a spec, which loses its payload; raises InvalidField or
        PayloadTooLarge. Producers send specs that differ in their payloads only: such a one is
        checked once.
        """
        check_payload(spec.payload, f"{path}.payload", self.payload_bytes)
        payload = payload_field(spec.payload)
        spec.ClearField("payload")
        rest = spec.SerializeToString()
        size = len(rest) + len(payload)
        if size > self.spec_bytes:
            raise _too_large(path, size, self.spec_bytes)
        known = self._known.get(rest)
        if known is not None:
            return NewTask._make((known.command, rest, payload, *known[3:-1], path))
        task = self._check(spec, rest, payload, path)
        # The digest of an idempotent one depends on the payload.
        if task.idempotency is None and len(rest) <= _KNOWN_BYTES:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[rest] = task._replace(payload=b"")
        return task

    def _check(self, spec: task_pb2.TaskSpec, rest: bytes, payload: bytes, path: str) -> NewTask:
        check_command(spec.command, f"{path}.command")
        priority = None
        if spec.HasField("priority"):
            priority = spec.priority
            if not 0 <= priority <= limits.PRIORITY_MAX:
                raise InvalidField.at(f"{path}.priority", f"must be 0 to {limits.PRIORITY_MAX}")
        if spec.headers:
            self._check_headers(spec, path)
        labels: tuple[tuple[str, str], ...] = ()
        if spec.labels:
            check_labels(spec.labels, f"{path}.labels")
            labels = tuple(spec.labels.items())
        retry = None
        if spec.HasField("retry_policy"):
            retry = retry_wishes(spec.retry_policy, f"{path}.retry_policy")
        timed = (_lease_ms(spec, path), _when(spec, path), retry)
        bounded = (_expire_ms(spec, path), _timeout_ms(spec, path))
        idempotency = _idempotency(spec, path, payload)
        key = spec.concurrency_key and check_key(spec.concurrency_key, f"{path}.concurrency_key")
        depends_on = _depends_on(spec, path) if spec.depends_on else ()
        return NewTask(
            *(spec.command, rest, payload, priority, *timed, *bounded),
            *(idempotency, key, depends_on, labels, path),
        )

    @staticmethod
    def _check_headers(spec: task_pb2.TaskSpec, path: str) -> None:
        if len(spec.headers) > limits.HEADERS:
            raise InvalidField.at(f"{path}.headers", f"must have at most {limits.HEADERS} entries")
        for key, value in spec.headers.items():
            check_text(key, f"{path}.headers", limits.HEADER_KEY_CHARS, 1)
            check_text(value, f"{path}.headers[{key}]", limits.HEADER_VALUE_CHARS)


def _span(spec: task_pb2.TaskSpec, name: str, path: str, least: int, most: int) -> int:
    """A duration in ms, 0 if it is not set."""
    if not spec.HasField(name):
        return 0
    value: Duration = getattr(spec, name)
    return duration_ms(value, f"{path}.{name}", least, most)


def _lease_ms(spec: task_pb2.TaskSpec, path: str) -> int:
    return _span(spec, "lease_duration", path, limits.LEASE_MIN_MS, limits.LEASE_MAX_MS)


def _timeout_ms(spec: task_pb2.TaskSpec, path: str) -> int:
    least, most = limits.ATTEMPT_TIMEOUT_MIN_MS, limits.ATTEMPT_TIMEOUT_MAX_MS
    return _span(spec, "attempt_timeout", path, least, most)


def _when(spec: task_pb2.TaskSpec, path: str) -> int:
    if not spec.HasField("run_time"):
        return -_span(spec, "delay", path, 0, limits.DELAY_MAX_MS)
    if spec.HasField("delay"):
        raise InvalidField.at(f"{path}.delay", "must not be set together with run_time")
    return max(1, timestamp_ms(spec.run_time, f"{path}.run_time"))


def _expire_ms(spec: task_pb2.TaskSpec, path: str) -> int:
    if not spec.HasField("expire_time"):
        return 0
    return max(1, timestamp_ms(spec.expire_time, f"{path}.expire_time"))


def _idempotency(spec: task_pb2.TaskSpec, path: str, payload: bytes) -> Idempotency | None:
    if not (spec.idempotency_key or spec.conflict_policy or spec.HasField("idempotency_ttl")):
        return None
    least, most = limits.IDEMPOTENCY_TTL_MIN_MS, limits.IDEMPOTENCY_TTL_MAX_MS
    ttl_ms = _span(spec, "idempotency_ttl", path, least, most)
    if spec.conflict_policy not in task_pb2.ConflictPolicy.values():
        raise InvalidField.at(f"{path}.conflict_policy", "is not a known policy")
    key = check_key(spec.idempotency_key, f"{path}.idempotency_key")
    if not key:
        for name, is_set in (
            ("idempotency_ttl", ttl_ms),
            ("conflict_policy", spec.conflict_policy),
        ):
            if is_set:
                raise InvalidField.at(f"{path}.{name}", "must not be set without idempotency_key")
        return None
    if spec.conflict_policy == task_pb2.CONFLICT_POLICY_REPLACE and spec.depends_on:
        # It could make a task depend on one that depends on it.
        problem = "must not be REPLACE together with depends_on"
        raise InvalidField.at(f"{path}.conflict_policy", problem)
    conflict = Conflict(spec.conflict_policy or Conflict.USE_EXISTING)
    digest = hashlib.blake2b(payload, digest_size=_DIGEST_BYTES).digest()
    return Idempotency(key, digest, ttl_ms, conflict)


def _depends_on(spec: task_pb2.TaskSpec, path: str) -> tuple[str, ...]:
    if len(spec.depends_on) > limits.DEPENDENCIES:
        problem = f"must have at most {limits.DEPENDENCIES} entries"
        raise InvalidField.at(f"{path}.depends_on", problem)
    return tuple(spec.depends_on)
