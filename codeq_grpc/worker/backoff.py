"""Pauses between repeats."""

from __future__ import annotations

import random


class Backoff:
    """Full jitter: pause n is uniform in [0, min(cap, base * 2**n)] seconds.

    Source: Marc Brooker, "Exponential Backoff And Jitter" (2015).
    """

    def __init__(self, *, base: float = 0.1, cap: float = 5.0) -> None:
        self._base = base
        self._cap = cap
        self._ceiling = base

    def reset(self) -> None:
        """Begins again at `base`: the last try went well."""
        self._ceiling = self._base

    def next(self) -> float:
        """The next pause in seconds."""
        ceiling, self._ceiling = self._ceiling, min(self._cap, self._ceiling * 2)
        return random.uniform(0.0, ceiling)
