"""Checks what producers ask for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from codeq_grpc.core import limits
from codeq_grpc.core.errors import InvalidField, PayloadTooLarge
from codeq_grpc.core.records import NewTask
from codeq_grpc.core.retry import RetryPolicy
from codeq_grpc.wire.checks import check_command, check_text, duration_ms, timestamp_ms

if TYPE_CHECKING:
    from codeq.v1 import task_pb2


_OVERHEAD: Final = 1 << 10
"""Bytes of a payload besides its data; more of them are fields unknown to this server."""


def _too_large(path: str, size: int, most: int) -> PayloadTooLarge:
    problem = f"has {size} bytes, at most {most} are allowed"
    return PayloadTooLarge(
        f"{path}: {problem}",
        fields={path: problem},
        metadata={"field": path, "limit": str(most), "actual": str(size)},
    )


def check_payload(payload: task_pb2.Payload, path: str, most: int) -> None:
    """Size and media type of opaque data."""
    if len(payload.data) > most:
        raise _too_large(f"{path}.data", len(payload.data), most)
    if payload.ByteSize() > most + _OVERHEAD:
        raise _too_large(path, payload.ByteSize(), most + _OVERHEAD)
    check_text(payload.content_type, f"{path}.content_type", limits.CONTENT_TYPE_CHARS)
    if not payload.content_type.isprintable():
        raise InvalidField.at(f"{path}.content_type", "must be printable")


def _check_number(value: float, path: str, least: float, most: float) -> float:
    if not (math.isfinite(value) and least <= value <= most):
        raise InvalidField.at(path, f"must be {least:g} to {most:g}")
    return value


class SpecChecker:
    """Checks specs against the limits and fills in the server's defaults."""

    def __init__(self, *, payload_bytes: int, retry: RetryPolicy) -> None:
        self.payload_bytes = payload_bytes
        # With a result and an error a task must still fit into one message.
        room = limits.MESSAGE_BYTES - payload_bytes - limits.ERROR_BYTES - (64 << 10)
        self.spec_bytes = min(limits.BATCH_BYTES, room)
        self._retry = retry

    def check(self, spec: task_pb2.TaskSpec, path: str) -> NewTask:
        """What the store needs of a spec; raises InvalidField or PayloadTooLarge."""
        check_command(spec.command, f"{path}.command")
        check_payload(spec.payload, f"{path}.payload", self.payload_bytes)
        priority = spec.priority if spec.HasField("priority") else limits.PRIORITY_DEFAULT
        if not 0 <= priority <= limits.PRIORITY_MAX:
            raise InvalidField.at(f"{path}.priority", f"must be 0 to {limits.PRIORITY_MAX}")
        lease_ms = 0
        if spec.HasField("lease_duration"):
            lease_ms = duration_ms(
                spec.lease_duration,
                f"{path}.lease_duration",
                limits.LEASE_MIN_MS,
                limits.LEASE_MAX_MS,
            )
        self._check_headers(spec, path)
        retry = None
        if spec.HasField("retry_policy"):
            retry = self._policy(spec.retry_policy, f"{path}.retry_policy")
        raw = spec.SerializeToString()
        if len(raw) > self.spec_bytes:
            raise _too_large(path, len(raw), self.spec_bytes)
        return NewTask(spec.command, priority, lease_ms, self._when(spec, path), retry, raw)

    def _when(self, spec: task_pb2.TaskSpec, path: str) -> int:
        has_delay = spec.HasField("delay")
        if not spec.HasField("run_time"):
            if not has_delay:
                return 0
            return -duration_ms(spec.delay, f"{path}.delay", 0, limits.DELAY_MAX_MS)
        if has_delay:
            raise InvalidField.at(f"{path}.delay", "must not be set together with run_time")
        return max(1, timestamp_ms(spec.run_time, f"{path}.run_time"))

    @staticmethod
    def _check_headers(spec: task_pb2.TaskSpec, path: str) -> None:
        if len(spec.headers) > limits.HEADERS:
            raise InvalidField.at(f"{path}.headers", f"must have at most {limits.HEADERS} entries")
        for key, value in spec.headers.items():
            check_text(key, f"{path}.headers", limits.HEADER_KEY_CHARS, 1)
            check_text(value, f"{path}.headers[{key}]", limits.HEADER_VALUE_CHARS)

    def _policy(self, policy: task_pb2.RetryPolicy, path: str) -> RetryPolicy:
        default = self._retry

        def backoff(name: str, unset: int) -> int:
            if not policy.HasField(name):
                return unset
            return duration_ms(getattr(policy, name), f"{path}.{name}", 0, limits.BACKOFF_MAX_MS)

        def number(name: str, unset: float, least: float, most: float) -> float:
            if not policy.HasField(name):
                return unset
            return _check_number(getattr(policy, name), f"{path}.{name}", least, most)

        return RetryPolicy(
            max_attempts=int(number("max_attempts", default.max_attempts, 1, limits.ATTEMPTS_MAX)),
            initial_backoff_ms=backoff("initial_backoff", default.initial_backoff_ms),
            max_backoff_ms=backoff("max_backoff", default.max_backoff_ms),
            multiplier=number("backoff_multiplier", default.multiplier, 1, limits.MULTIPLIER_MAX),
            jitter=number("jitter", default.jitter, 0, 1),
        )
