"""Tells in the log of a store that is away."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from codeq_grpc.core.clock import monotonic

if TYPE_CHECKING:
    from codeq_grpc.core.errors import CodeQError
    from codeq_grpc.settings import Settings

_log = logging.getLogger(__name__)
_SILENCE: Final = 10.0
"""Seconds between lines of the log that tell of one outage of the store."""


class LostWakeups:
    """Tells in the log that the store does not answer, where it should be and why, now and then."""

    def __init__(self, settings: Settings) -> None:
        self._store = settings.store_place()
        self._again_at = 0.0

    def log(self, error: CodeQError) -> None:
        """Once in 10 s: the subscription is tried again many times."""
        if (now := monotonic()) < self._again_at:
            return
        self._again_at = now + _SILENCE
        why, cause = str(error), str(error.__cause__ or "")
        if cause not in why:
            why = f"{why} ({cause})"
        _log.warning("no wake-ups from the store: %s", why, extra={"store": self._store})
