"""The keys of the old programs.

A queue's key is not taken apart: commands have colons, too. Its end tells what the queue holds;
of what command and tenant that is, each task tells itself.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

PREFIXES: Final = ("legacy:", "codeq:")
_END: Final = re.compile(rb":(?:pending(?::[0-9])?|(inprog|delayed|dlq))\Z")


class Place(enum.IntFlag):
    """Where an id stands. The store of codeQ's own keys (`codeq:{`) is none of these."""

    NOWHERE = 0
    PENDING = 1
    DELAYED = 2
    IN_PROGRESS = 4
    DEAD = 8


_PLACES: Final = {
    None: Place.PENDING,
    b"delayed": Place.DELAYED,
    b"inprog": Place.IN_PROGRESS,
    b"dlq": Place.DEAD,
}


@dataclass(frozen=True, slots=True)
class Queue:
    """One key with ids."""

    key: bytes
    place: Place

    @property
    def order(self) -> tuple[int, int, bytes]:
        """Pending ones first, by falling priority; the rest then."""
        last = self.key[-1:]
        return self.place, -int(last) if last.isdigit() else 0, self.key


@dataclass(frozen=True, slots=True)
class Keyspace:
    """All keys with one prefix."""

    prefix: str

    def key(self, name: str) -> str:
        """A key that there is once."""
        return self.prefix + name

    @property
    def tasks(self) -> str:
        """Hash: id -> task."""
        return self.key("tasks")

    @property
    def results(self) -> str:
        """Hash: id -> result."""
        return self.key("results")

    @property
    def ends(self) -> str:
        """Sorted set: when a task is to be forgotten."""
        return self.key("tasks:ttl")

    @property
    def keys_prefix(self) -> bytes:
        """Before an idempotency key."""
        return self.key("idempo:").encode()

    def lease(self, task_id: bytes) -> bytes:
        """Text with the worker's name, which lives as long as the lease."""
        return self.key("lease:").encode() + task_id

    def queue(self, key: bytes) -> Queue | None:
        """What a key with ids holds; None if it is not known."""
        end = _END.search(key)
        return end and Queue(key, _PLACES[end.group(1)])
