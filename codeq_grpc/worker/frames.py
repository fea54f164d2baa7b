"""What a worker and its processes say to each other: kind, length, and so many bytes."""

from __future__ import annotations

import enum
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

PROCESS_NAME: Final = "codeq-handler"
"""Of every process that runs handlers, known there before any code of the user is imported."""
_HEAD: Final = struct.Struct("!BI")


class Kind(enum.IntEnum):
    """The messages. To the process go the first three, from it come the others."""

    HANDLER = 1
    """The handler of the next task, pickled."""
    TASK = 2
    """A `ClaimedTask` to begin with."""
    CANCEL = 3
    """The task is to be cancelled; the reason in UTF-8."""
    BEGUN = 4
    """The task was received, and what happens from here on is its doing."""
    PROGRESS = 5
    """A `Progress` of the task."""
    OUTCOME = 6
    """The `Outcome` of the task, which leaves the process free for the next one."""


def frame(kind: Kind, body: bytes = b"") -> bytes:
    """A message as bytes."""
    return _HEAD.pack(kind, len(body)) + body


class Unframer:
    """Messages from bytes that come in pieces of any size."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Kind, bytes]]:
        """The messages that are whole by now."""
        self._rest += data
        while len(self._rest) >= _HEAD.size:
            kind, length = _HEAD.unpack_from(self._rest)
            end = _HEAD.size + length
            if len(self._rest) < end:
                return
            body = bytes(self._rest[_HEAD.size : end])
            del self._rest[:end]
            yield Kind(kind), body
