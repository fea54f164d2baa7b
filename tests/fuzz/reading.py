"""Values taken from the bytes that a fuzzer makes up, without anything from the fuzzer itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


class Reader:
    """Takes values from the front; zeros when there is nothing left."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._raw)

    def take(self, size: int) -> bytes:
        """Up to so many bytes."""
        taken = self._raw[self._at : self._at + size]
        self._at += size
        return taken

    def number(self, most: int) -> int:
        """0 to `most`."""
        return int.from_bytes(self.take((most.bit_length() + 7) // 8), "big") % (most + 1)

    def pick(self, choices: Sequence[T]) -> T:
        """One of them."""
        return choices[self.number(len(choices) - 1)]

    def some(self, most: int) -> bytes:
        """A length, and up to so many bytes."""
        return self.take(self.number(most))

    def text(self, most: int) -> str:
        """Whatever can be made of some bytes."""
        return self.some(most).decode(errors="replace")

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._raw))
