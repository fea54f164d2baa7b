"""A bounded memory: things are known for a while, and the oldest go first when there are many."""

from __future__ import annotations

from typing import Generic, TypeVar

from codeq_grpc.core import clock

_K = TypeVar("_K")
_V = TypeVar("_V")


class Remembered(Generic[_K, _V]):
    """At most `most` things."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._things: dict[_K, tuple[float, _V]] = {}

    def get(self, key: _K) -> _V | None:
        """The thing, if its time is not over."""
        found = self._things.get(key)
        if found is None:
            return None
        if found[0] > clock.monotonic():
            return found[1]
        del self._things[key]
        return None

    def put(self, key: _K, thing: _V, seconds: float) -> None:
        """Known from now on for so long."""
        self._things.pop(key, None)
        if len(self._things) >= self._most:
            del self._things[next(iter(self._things))]
        self._things[key] = (clock.monotonic() + seconds, thing)

    def __len__(self) -> int:
        return len(self._things)
