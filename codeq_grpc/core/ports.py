"""Where a server listens."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports, as they were chosen if 0 was asked for."""

    grpc: int
    http: int
