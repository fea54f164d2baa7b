"""How far the store's clock is ahead of this server's.

Nothing hangs on it: tasks go by the store's clock alone. But times in logs do not match those of
tasks then, and of two clocks that differ one is wrong, perhaps the store's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from codeq_grpc.core.clock import monotonic, now

if TYPE_CHECKING:
    from codeq_grpc.store.connection import Connection

MOST_MS: Final = 1_000
"""That clocks may differ by; more is worth a warning."""


class Skew(NamedTuple):
    """The store's clock is `ms` ahead of ours, behind if negative, give or take `error_ms`."""

    ms: int
    error_ms: int

    def apart(self, *, before: bool) -> bool:
        """Whether that is more than clocks may differ by; as `before` where it cannot be told."""
        if abs(self.ms) - self.error_ms > MOST_MS:
            return True
        return before and abs(self.ms) + self.error_ms > MOST_MS


async def measure(connection: Connection) -> Skew:
    """The store looked at its clock at some time between the question and the answer."""
    asked, ours = monotonic(), now()
    theirs = await connection.time_ms()
    half_ms = (monotonic() - asked) * 500
    return Skew(round(theirs - ours.timestamp() * 1_000 - half_ms), round(half_ms))
