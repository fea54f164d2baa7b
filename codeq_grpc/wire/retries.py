"""Retry policies of tasks and queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq_grpc.core import limits
from codeq_grpc.core.errors import InvalidField
from codeq_grpc.core.retry import RetryPolicy, RetryWishes
from codeq_grpc.wire.checks import check_number, check_text, duration_ms

if TYPE_CHECKING:
    from codeq.v1 import task_pb2


def retry_wishes(policy: task_pb2.RetryPolicy, path: str) -> RetryWishes:
    """What a checked policy says; what it leaves unset stays so."""
    attempts = None
    if policy.HasField("max_attempts"):
        most = limits.ATTEMPTS_MAX
        attempts = int(check_number(policy.max_attempts, f"{path}.max_attempts", 1, most))
    growth = None
    if policy.HasField("backoff_multiplier"):
        at = f"{path}.backoff_multiplier"
        growth = check_number(policy.backoff_multiplier, at, 1, limits.MULTIPLIER_MAX)
    jitter = None
    if policy.HasField("jitter"):
        jitter = check_number(policy.jitter, f"{path}.jitter", 0, 1)
    first = cap = None
    if policy.HasField("initial_backoff"):
        at = f"{path}.initial_backoff"
        first = duration_ms(policy.initial_backoff, at, 0, limits.BACKOFF_MAX_MS)
    if policy.HasField("max_backoff"):
        cap = duration_ms(policy.max_backoff, f"{path}.max_backoff", 0, limits.BACKOFF_MAX_MS)
    return RetryWishes(
        max_attempts=attempts,
        initial_backoff_ms=first,
        max_backoff_ms=cap,
        multiplier=growth,
        jitter=jitter,
        non_retryable=_types(policy, f"{path}.non_retryable_error_types"),
    )


def _types(policy: task_pb2.RetryPolicy, path: str) -> tuple[str, ...]:
    types = policy.non_retryable_error_types
    if len(types) > limits.ERROR_TYPES:
        raise InvalidField.at(path, f"must have at most {limits.ERROR_TYPES} entries")
    for i, kind in enumerate(types):
        check_text(kind, f"{path}[{i}]", limits.ERROR_TYPE_CHARS, 1)
        if "\0" in kind:
            raise InvalidField.at(f"{path}[{i}]", "must not have a NUL character")
    return tuple(types)


def fill_defaults(policy: task_pb2.RetryPolicy, default: RetryPolicy) -> None:
    """Sets what is not set to what holds instead."""
    if not policy.HasField("max_attempts"):
        policy.max_attempts = default.max_attempts
    if not policy.HasField("initial_backoff"):
        policy.initial_backoff.FromMilliseconds(default.initial_backoff_ms)
    if not policy.HasField("max_backoff"):
        policy.max_backoff.FromMilliseconds(default.max_backoff_ms)
    if not policy.HasField("backoff_multiplier"):
        policy.backoff_multiplier = default.multiplier
    if not policy.HasField("jitter"):
        policy.jitter = default.jitter
