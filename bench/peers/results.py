"""What a measurement gives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Result:
    """One peer's figures: tasks that were enqueued, worked on and acknowledged, a second."""

    name: str
    version: str
    tasks: int
    batch: str
    cycles_per_second: float
    lost: int
    duplicates: int
    notes: str


class NotMeasured(Exception):
    """A peer gave no figure; the text says why."""
