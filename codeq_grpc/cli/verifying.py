"""Tasks that prove themselves: payloads with a number and a hash, and what became of each."""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from typing import Final

_KEY: Final = 8
_NUMBER: Final = 8
_DIGEST: Final = 16
LEAST: Final = _KEY + _NUMBER + _DIGEST
"""Bytes of the smallest payload."""


class Ledger:
    """What was sent, came, and ended in one run. Payloads of other runs are told apart."""

    def __init__(self, size: int) -> None:
        self.duplicates = 0
        self.damaged = 0
        """Came and is not what was sent."""
        self._key = secrets.token_bytes(_KEY)
        self._filler = b"x" * (size - LEAST)
        self._came: Counter[int] = Counter()
        self._sent = 0
        self._open: set[int] = set()

    def payload(self) -> tuple[int, bytes]:
        """The next number, and its payload."""
        number, self._sent = self._sent, self._sent + 1
        self._open.add(number)
        body = self._key + number.to_bytes(_NUMBER, "big") + self._filler
        return number, body + hashlib.blake2b(body, digest_size=_DIGEST).digest()

    def is_ours(self, data: bytes) -> bool:
        """Whether a payload is one of this run."""
        return data.startswith(self._key)

    def came(self, data: bytes) -> int | None:
        """The number of a payload of this run; None for one that was damaged on its way."""
        body, digest = data[:-_DIGEST], data[-_DIGEST:]
        number = int.from_bytes(body[_KEY : _KEY + _NUMBER], "big")
        right = hashlib.blake2b(body, digest_size=_DIGEST).digest() == digest
        if not right or number >= self._sent or len(body) != LEAST - _DIGEST + len(self._filler):
            self.damaged += 1
            return None
        self._came[number] += 1
        self.duplicates += self._came[number] > 1
        return number

    def ended(self, data: bytes) -> None:
        """The server has taken the end of the task with this payload."""
        self._open.discard(int.from_bytes(data[_KEY : _KEY + _NUMBER], "big"))

    @property
    def open(self) -> int:
        """Tasks that were sent and have not ended."""
        return len(self._open)
