"""Meta rows as `lua/lib/rows.lua` packs them.

Head `>BBBBBBIIQQQ`: state, flags, priority, attempt, max_attempts, ending, size of the spec,
lease_ms of the task, fence, time (claimable since, due, lease expiry or end), last change.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

HEAD: Final = struct.Struct(">BBBBBBIIQQQ")
_HAS_POLICY: Final = 1
_HAS_CLAIM: Final = 2
_POLICY: Final = struct.Struct(">IIdd")
_CLAIM: Final = struct.Struct(">IQB")


class Row(NamedTuple):
    """One task's meta. Times in Unix ms, owner empty unless a stream claimed it."""

    state: int
    attempt: int
    max_attempts: int
    fence: int
    time_ms: int
    changed_ms: int
    owner: str
    worker_id: str


def read_row(raw: bytes) -> Row:
    """Unpacks a whole row."""
    state, flags, _, attempt, most, _, _, _, fence, time_ms, changed = HEAD.unpack_from(raw)
    at = HEAD.size + (_POLICY.size if flags & _HAS_POLICY else 0)
    owner = worker = ""
    if flags & _HAS_CLAIM:
        length = _CLAIM.unpack_from(raw, at)[2]
        at += _CLAIM.size
        owner = raw[at : at + length].decode()
        worker = raw[at + length :].decode()
    return Row(state, attempt, most, fence, time_ms, changed, owner, worker)


def pack_policy(initial_ms: int, cap_ms: int, multiplier: float, jitter: float) -> bytes:
    """A retry policy as rows and the report script have it."""
    return _POLICY.pack(initial_ms, cap_ms, multiplier, jitter)


def pack_claimant(owner: str, worker_id: str) -> bytes:
    """Owner stream (empty for a unary claim) and worker as the claim script has them."""
    raw = owner.encode()
    return bytes((len(raw),)) + raw + worker_id.encode()
