"""Payloads that carry a number and its hash, and the book of what became of each."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE: Final = 100
WARM: Final = 1 << 40
"""Numbers from here on are no part of the measurement."""
FAULTS: Final = ("drop", "double", "damage", "hang")
"""What a driver can do wrong on purpose, to see whether the table tells of it: leave out a task,
enqueue one twice, change one on its way, never end one.
"""
_NUMBER: Final = 8
_DIGEST: Final = 16
LEAST: Final = _NUMBER + _DIGEST


class Damaged(Exception):
    """A payload is not what was sent."""


def payload(number: int, size: int = SIZE) -> bytes:
    """Number, filler, and the hash of both."""
    body = number.to_bytes(_NUMBER, "big").ljust(size - _DIGEST, b"x")
    return body + hashlib.blake2b(body, digest_size=_DIGEST).digest()


def check(data: bytes) -> int:
    """The number in a payload.

    Raises:
        Damaged: It is not one that `payload` has made.
    """
    body, digest = data[:-_DIGEST], data[-_DIGEST:]
    if len(data) < LEAST or hashlib.blake2b(body, digest_size=_DIGEST).digest() != digest:
        raise Damaged(f"{len(data)} bytes that do not fit their hash")
    return int.from_bytes(body[:_NUMBER], "big")


def payloads(first: int, count: int, size: int = SIZE, fault: str = "") -> Iterator[bytes]:
    """As many payloads, with a fault in the middle if that is wanted."""
    wrong = first + count // 2 if fault else -1
    for number in range(first, first + count):
        data = payload(number, size)
        if number == wrong and fault == "drop":
            continue
        if number == wrong and fault == "double":
            yield data
        if number == wrong and fault == "damage":
            data = data[:-1] + bytes((data[-1] ^ 1,))
        yield data


class Book:
    """What became of the numbers below `count`."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.acknowledged = 0
        """Different numbers whose end the server has taken."""
        self.warm = 0
        self.damaged = 0
        self.strange = 0
        """Numbers that nobody sent."""
        self.handled = bytearray(count)
        self._ended = bytearray(count)

    def handle(self, data: bytes) -> int:
        """A task has arrived; its number."""
        try:
            number = check(data)
        except Damaged:
            self.damaged += 1
            raise
        if number < self.count:
            self.handled[number] = min(255, self.handled[number] + 1)
        elif number < WARM:
            self.strange += 1
        return number

    def end(self, number: int) -> None:
        """The server has taken the end of a task."""
        if number >= WARM:
            self.warm += 1
        elif number < self.count and not self._ended[number]:
            self._ended[number] = 1
            self.acknowledged += 1

    @property
    def whole(self) -> bool:
        """Whether every number came to its end."""
        return self.acknowledged == self.count

    def verdict(self) -> dict[str, Any]:
        """What was lost, doubled and damaged."""
        return {
            "acknowledged": self.acknowledged,
            "lost": self.count - self.acknowledged,
            "duplicates": sum(self.handled) - (self.count - self.handled.count(0)),
            "damaged": self.damaged,
            "strange": self.strange,
        }
