"""What the benches of one run are told, and what they tell each other."""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class NotMeasured(Exception):
    """There is no figure; the text says why."""


@dataclass(slots=True)
class Session:
    """One run. `figures` are those that other benches compare themselves with."""

    runs: int = 5
    scale: float = 1.0
    minutes: float = 1.0
    fault: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    store: str = ""
    began: float = field(default_factory=time.monotonic)

    def count(self, usual: int, least: int = 1) -> int:
        """So many of `usual`, by the scale."""
        return max(least, round(usual * self.scale))

    def say(self, line: str) -> None:
        """A line of progress, which is no part of the results."""
        print(f"[{time.monotonic() - self.began:5.0f} s] {line}", file=sys.stderr, flush=True)


def median(values: Iterable[float]) -> float:
    """The median."""
    return statistics.median(values)


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all does not exceed; 0 for none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, -int(-share * len(ordered) // 1) - 1))]
