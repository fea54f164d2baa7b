"""What every producer makes and every handler does, so that peers differ in the queue only.

A payload has 100 characters: its number in 8 digits, 28 of filler, and the SHA-256 of these 36 in
hex. A handler recomputes the hash and appends the number to a file of its process; from these files
the measuring process sees what was lost, doubled or damaged, without asking the peer.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

FILLER: Final = "-" * 28
DAMAGED: Final = 0xFFFFFFFF
WARM: Final = 90_000_000  # tasks from this number on make workers ready, and do not count
WIDTH: Final = 4  # bytes a number has in the file


def payload(number: int) -> str:
    """The payload of a task."""
    body = f"{number:08d}{FILLER}"
    return body + hashlib.sha256(body.encode()).hexdigest()


class _Journal:
    """The file of this process; a fork opens its own, and threads share it as writes append."""

    def __init__(self) -> None:
        self._pid = 0
        self._file = -1

    def write(self, number: int) -> None:
        """Appends a number."""
        if self._pid != os.getpid():
            path = Path(os.environ["BENCH_FOLDER"]) / f"seen.{os.getpid()}"
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._pid = os.getpid()  # last: other threads go by it
        os.write(self._file, number.to_bytes(WIDTH, "little"))


_journal = _Journal()


def handle(text: str) -> None:
    """The work of a task: checks the payload and notes its number."""
    whole = len(text) == 100 and hashlib.sha256(text[:36].encode()).hexdigest() == text[36:]
    _journal.write(int(text[:8]) if whole else DAMAGED)
