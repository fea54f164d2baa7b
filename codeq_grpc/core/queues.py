"""Settings of a queue, as the store keeps to them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from codeq_grpc.core.retry import NO_WISHES, RetryWishes

_LABEL_BYTES: Final = 16


def schema_label(schema: str) -> bytes:
    """What stands for a payload schema: the same for the same text; empty without one."""
    return hashlib.blake2b(schema.encode(), digest_size=_LABEL_BYTES).digest() if schema else b""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """Times in milliseconds. None and 0 take the server's default; of limits 0 is none."""

    default_priority: int | None = None
    retry: RetryWishes = NO_WISHES
    lease_ms: int = 0
    max_claims_per_second: float = 0.0
    max_in_progress: int = 0
    max_in_progress_per_key: int = 0
    max_backlog: int = 0
    retention_ms: int = 0
    retain_payload: bool = False
    paused: bool = False
    payload_schema: str = ""
    """Empty: any payload."""
