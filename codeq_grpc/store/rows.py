"""Rows, policies and histories as the scripts pack them; see `lua/lib/rows.lua`.

A meta row is a head `>BHBBBBIIIQQQ`: state, flags, priority, attempt, max_attempts, ending, size of
the spec, of it without payload, lease_ms of the task, fence, time (claimable since, due, lease
expiry or end), last change; then what the producer fixed, with its length; then the latest claim.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from codeq_grpc.core.records import Attempt
from codeq_grpc.core.task import Ending, TaskState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codeq_grpc.core.queues import QueueSettings
    from codeq_grpc.core.records import NewTask
    from codeq_grpc.core.retry import RetryPolicy, RetryWishes

HEAD: Final = struct.Struct(">BHBBBBIIIQQQ")
HAS_POLICY, HAS_EXPIRY, HAS_TIMEOUT, HAS_IDEMPOTENCY, HAS_KEY, HAS_TYPES, HAS_LABELS = (
    *(1, 2, 4, 8, 16, 32),
    64,
)
HAS_CLAIM, CANCELLING = 256, 512
_INVALID: Final = 32768
"""Of a head only."""
_FIXED: Final = 255
_CLAIM: Final = struct.Struct(">IQQB")
_POLICY: Final = struct.Struct(">IIdd")
_UNSET: Final = 0xFFFFFFFF
_SETTINGS: Final = struct.Struct(">BBBIIIdQQ")
_ATTEMPT: Final = struct.Struct(">BBQQQH")
_NEW: Final = struct.Struct(">HBBIIq")


class Row(NamedTuple):
    """One task's meta. Times in Unix ms, owner empty unless a stream claimed it."""

    state: int
    attempt: int
    max_attempts: int
    ending: int
    fence: int
    time_ms: int
    changed_ms: int
    cancel_requested: bool
    start_ms: int
    owner: str
    worker_id: str


def read_row(raw: bytes) -> Row:
    """Unpacks a whole row."""
    state, flags, _, attempt, most, ending, _, _, _, fence, time_ms, changed = HEAD.unpack_from(raw)
    at = HEAD.size
    if flags & _FIXED:
        at += 2 + int.from_bytes(raw[at : at + 2], "big")
    start, owner, worker = 0, "", ""
    if flags & HAS_CLAIM:
        _, _, start, length = _CLAIM.unpack_from(raw, at)
        at += _CLAIM.size
        owner = raw[at : at + length].decode()
        worker = raw[at + length :].decode()
    cancelling = bool(flags & CANCELLING)
    return Row(
        *(state, attempt, most, ending, fence, time_ms, changed, cancelling, start, owner, worker)
    )


def lease_of(raw: bytes) -> tuple[int, int, int, int]:
    """Fence, attempt, max_attempts and end in ms of the lease in a row."""
    _, _, _, attempt, most, _, _, _, _, fence, time_ms, _ = HEAD.unpack_from(raw)
    return fence, attempt, most, time_ms


def pack_policy(policy: RetryPolicy) -> bytes:
    """The server's policy as the report script has it."""
    return _POLICY.pack(
        policy.initial_backoff_ms, policy.max_backoff_ms, policy.multiplier, policy.jitter
    )


def _pack_wishes(wishes: RetryWishes) -> bytes:
    """Empty when nothing is said of back-off; what is unset is out of range."""
    first, cap, growth, jitter = (
        *(wishes.initial_backoff_ms, wishes.max_backoff_ms),
        *(wishes.multiplier, wishes.jitter),
    )
    if first is cap is growth is jitter is None:
        return b""
    return _POLICY.pack(
        _UNSET if first is None else first,
        _UNSET if cap is None else cap,
        -1.0 if growth is None else growth,
        -1.0 if jitter is None else jitter,
    )


def _pack_types(types: tuple[str, ...]) -> bytes:
    return "\0".join(("", *types, "")).encode() if types else b""


def _sized(raw: bytes) -> bytes:
    return len(raw).to_bytes(2, "big") + raw


def pack_settings(settings: QueueSettings) -> bytes:
    """Settings of a queue as `lua/lib/queue.lua` reads them."""
    retry, priority = settings.retry, settings.default_priority
    head = _SETTINGS.pack(
        settings.paused + 2 * settings.retain_payload,
        255 if priority is None else priority,
        retry.max_attempts or 0,
        settings.lease_ms,
        settings.max_in_progress,
        settings.max_in_progress_per_key,
        settings.max_claims_per_second,
        settings.max_backlog,
        settings.retention_ms,
    )
    policy = _pack_wishes(retry) or _POLICY.pack(_UNSET, _UNSET, -1.0, -1.0)
    return head + policy + _pack_types(retry.non_retryable)


def pack_new(task: NewTask) -> tuple[bytes, bytes, bytes]:
    """Head, body and more of a task, as the enqueue script has them."""
    flags, fixed, retry = 0, [], task.retry
    most = 0
    if retry is not None:
        most = retry.max_attempts or 0
        if policy := _pack_wishes(retry):
            flags |= HAS_POLICY
            fixed.append(policy)
    if task.expire_ms:
        flags |= HAS_EXPIRY
        fixed.append(task.expire_ms.to_bytes(8, "big"))
    if task.timeout_ms:
        flags |= HAS_TIMEOUT
        fixed.append(task.timeout_ms.to_bytes(4, "big"))
    if task.idempotency:
        flags |= HAS_IDEMPOTENCY
        fixed.append(_sized(task.idempotency.key.encode()))
    if task.concurrency_key:
        flags |= HAS_KEY
        fixed.append(_sized(task.concurrency_key.encode()))
    if retry is not None and retry.non_retryable:
        flags |= HAS_TYPES
        fixed.append(_sized(_pack_types(retry.non_retryable)))
    if task.labels:
        flags |= HAS_LABELS
    head = _NEW.pack(
        flags,
        255 if task.priority is None else task.priority,
        most,
        task.lease_ms,
        len(task.spec),
        task.when,
    )
    return head + b"".join(fixed), task.spec + task.payload, _pack_more(task)


def pack_invalid(task: NewTask) -> tuple[bytes, bytes, bytes]:
    """A task that must not be added, as its payload is not valid; if its idempotency key has one
    already, that is found.
    """
    head, _, more = pack_new(task)
    flags = int.from_bytes(head[:2], "big") | _INVALID
    return flags.to_bytes(2, "big") + head[2:], b"", more


def pack_label(key: str, value: str) -> bytes:
    """A label as the index has it, in front of an id."""
    return f"{key}\0{value}\0".encode()


def _pack_more(task: NewTask) -> bytes:
    more = b""
    if task.idempotency:
        _, digest, ttl_ms, conflict = task.idempotency
        more = digest + ttl_ms.to_bytes(8, "big") + bytes((conflict,))
    if task.labels:
        more += _sized(b"".join(_sized(pack_label(*label)) for label in task.labels))
    return more + "".join(task.depends_on).encode()


def pack_claimant(owner: str, worker_id: str) -> bytes:
    """Owner stream (empty for a unary claim) and worker as the claim script has them."""
    raw = owner.encode()
    return bytes((len(raw),)) + raw + worker_id.encode()


def attempts_of(row: Row, history: bytes) -> list[Attempt]:
    """Attempts of a task, oldest first: those kept, and the latest, which the row still tells
    while it runs and when it ended well.
    """
    attempts = list(_read_history(history))
    running = row.state == TaskState.IN_PROGRESS
    if running or (row.state == TaskState.COMPLETED and row.ending == Ending.COMPLETE):
        end_ms = 0 if running else row.time_ms
        latest = Attempt(row.attempt, row.fence, row.worker_id, row.start_ms, end_ms, b"")
        attempts = [*attempts[-19:], latest]
    return attempts


def _read_history(history: bytes) -> Iterator[Attempt]:
    at = 0
    while at < len(history):
        end = at + 2 + int.from_bytes(history[at : at + 2], "big")
        number, _, fence, start, ended, length = _ATTEMPT.unpack_from(history, at + 2)
        at += 2 + _ATTEMPT.size
        worker = history[at : at + length].decode()
        yield Attempt(number, fence, worker, start, ended, history[at + length : end])
        at = end
