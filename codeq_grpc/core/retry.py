"""Retry policy: how long after a failed attempt the next one may start.

The delay after attempt n (1-based) is

    d = min(max_backoff, initial_backoff * multiplier ** (n - 1))
    delay = d * (1 - jitter * u),   u uniform in [0, 1)

so jitter 1 is the "full jitter" of Marc Brooker, "Exponential Backoff And Jitter" (2015).
`store/lua/lib/backoff.lua` computes it inside the transition, so that no second round trip
separates the decision from the state it was made on; this module is what it is tested against.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Retries of a task. Times in milliseconds."""

    max_attempts: int = 5
    initial_backoff_ms: int = 1_000
    max_backoff_ms: int = 300_000
    multiplier: float = 2.0
    jitter: float = 0.5

    def delay_ms(self, attempt: int, u: float) -> int:
        """Delay after `attempt` (from 1) failed, with the random number `u` in [0, 1)."""
        grown = self.initial_backoff_ms * self.multiplier ** (attempt - 1)
        return int(min(float(self.max_backoff_ms), grown) * (1 - self.jitter * u))


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryWishes:
    """What a task or a queue says of retries; None and no types: nothing. What a task leaves
    open its queue decides, and what that leaves open the server's policy.
    """

    max_attempts: int | None = None
    initial_backoff_ms: int | None = None
    max_backoff_ms: int | None = None
    multiplier: float | None = None
    jitter: float | None = None
    non_retryable: tuple[str, ...] = ()


NO_WISHES = RetryWishes()
