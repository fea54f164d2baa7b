"""How safe a change must be before its caller is told OK."""

from __future__ import annotations

import enum


class Level(enum.StrEnum):
    """D0 snapshots only; D1 an append-only file, written to the disc every second; D2 at every
    change; D3 waits until the change is on the disc; D4 on a replica's, too.
    """

    D0 = "D0"
    D1 = "D1"
    D2 = "D2"
    D3 = "D3"
    D4 = "D4"

    @property
    def waits(self) -> bool:
        """Whether codeQ asks the store before it says OK; below, the store is set up so."""
        return self >= Level.D3

    @property
    def replicas(self) -> int:
        """How many replicas must have a change."""
        return 1 if self is Level.D4 else 0
