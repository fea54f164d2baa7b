"""Time zones as pieces of constant offset: what a clock on the wall shows, second by second.

The data is that of the pinned tzdata package, whatever the system has, so that all servers of one
version agree. Times are Unix seconds; *local* is what the clock shows, as seconds from 1970 there.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache, lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Final, NamedTuple
from zoneinfo import ZoneInfo

from codeq_grpc.rules.spec import LAST_S, RuleError

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY: Final = 86_400
_CHUNK: Final = 25
"""Pieces are found 2**25 s at a time, which is a little more than a year."""
_BACK: Final = 2 * DAY
"""No clock is ever set back further."""


class Piece(NamedTuple):
    """The offset to UTC within [start, end). The clock has shown all local times before `reached`
    by then: after a gap `reached` is less than what it shows at the start, and more where it
    repeats itself.
    """

    start: int
    end: int
    offset: int
    reached: int


class Zone:
    """One zone; `zone_of` has it."""

    __slots__ = ("_chunk", "name")

    def __init__(self, name: str) -> None:
        path = resources.files("tzdata").joinpath("zoneinfo", *name.split("/"))
        with path.open("rb") as file:
            info = ZoneInfo.from_file(file, key=name)
        self.name = name
        self._chunk = lru_cache(maxsize=64)(lambda at: tuple(_pieces(info, at)))

    def pieces(self, at: int) -> Iterator[Piece]:
        """From the one that `at` lies in; they may be cut anywhere."""
        chunk = at >> _CHUNK
        while chunk << _CHUNK <= LAST_S:
            for piece in self._chunk(chunk):
                if piece.end > at:
                    yield piece
            chunk += 1


@cache
def _names() -> frozenset[str]:
    return frozenset(resources.files("tzdata").joinpath("zones").read_text("utf-8").split())


@lru_cache(maxsize=1024)
def zone_of(name: str) -> Zone:
    """By its IANA name; none is UTC. Raises RuleError."""
    if name and name not in _names():
        raise RuleError("time_zone", "is not a time zone of the IANA database, as Europe/Berlin is")
    return Zone(name or "UTC")


def _offset(info: ZoneInfo, at: int) -> int:
    offset = datetime.fromtimestamp(min(at, LAST_S), info).utcoffset()
    return 0 if offset is None else offset.days * DAY + offset.seconds


def _changes(info: ZoneInfo, start: int, end: int) -> Iterator[tuple[int, int]]:
    """When another offset begins, and which; the first one at `start`."""
    offset = _offset(info, start)
    yield start, offset
    for day in range(start, end, DAY):
        until = min(day + DAY, end)
        while (after := _offset(info, until)) != offset:
            low, high = day, until
            while high - low > 1:
                middle = (low + high) // 2
                if _offset(info, middle) == offset:
                    low = middle
                else:
                    high, after = middle, _offset(info, middle)
            day, offset = high, after  # noqa: PLW2901 - the rest of this day
            yield high, offset


def _pieces(info: ZoneInfo, chunk: int) -> Iterator[Piece]:
    first, last = chunk << _CHUNK, chunk + 1 << _CHUNK
    changes = list(_changes(info, first - _BACK, last))
    reached = changes[0][0] + changes[0][1]
    for at, (start, offset) in enumerate(changes):
        end = changes[at + 1][0] if at + 1 < len(changes) else last
        if end > first:
            begin = max(start, first)
            if begin > start:
                reached = max(reached, begin + offset)
            yield Piece(begin, end, offset, reached)
        reached = max(reached, end + offset)
