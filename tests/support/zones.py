"""Time zones as the pinned package has them, read by the standard library."""

from __future__ import annotations

from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo


@cache
def pinned(name: str) -> ZoneInfo:
    """A zone, whatever the system knows of it."""
    path = resources.files("tzdata").joinpath("zoneinfo", *name.split("/"))
    with path.open("rb") as file:
        return ZoneInfo.from_file(file, key=name)
