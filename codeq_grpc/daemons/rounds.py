"""When which queue or calendar is due for a look."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from codeq_grpc.core import limits
from codeq_grpc.core.clock import monotonic
from codeq_grpc.core.errors import CodeQError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

P = TypeVar("P")
P_co = TypeVar("P_co", covariant=True)
_log = logging.getLogger(__name__)
_AT_ONCE = 0.002
_NAP = 1.0
"""Seconds after which new ones are noticed, and a failed store is tried again."""


class Places(Protocol[P_co]):
    """All there are."""

    async def refresh(self) -> None:
        """Learns of new ones."""

    def known(self) -> Iterable[P_co]:
        """Every one that is known."""


class Rounds(Generic[P]):
    """Looks at each place when something is due in it, and at least every `longest` seconds."""

    def __init__(
        self,
        name: str,
        places: Places[P],
        *,
        longest: float,
        peek: Callable[[Sequence[P]], Awaitable[list[tuple[int, int]]]] | None = None,
    ) -> None:
        """With `peek` it learns cheaply, of many places at once, where a look is worth while: the
        store's time, and that of the next look or 0 for never.
        """
        self._name = name
        self._places = places
        self._longest = longest
        self._peek = peek
        self._looks: dict[P, float] = {}

    async def run(self, look: Callable[[P], Awaitable[float | None]]) -> None:
        """For ever. `look` is a step; it gives the seconds till the next one, 0 if there is more to
        do and only others come first, None for no idea.
        """
        told = ""
        while True:
            try:
                nap = await self.tick(look)
                if told:
                    _log.info("%s goes on", self._name)
                told = ""
            except CodeQError as error:
                # Once, however long it lasts: a round a second would fill the log.
                if told != str(error):
                    _log.warning("%s: %s", self._name, error)
                told = str(error)
                nap = _NAP
            except Exception:  # noqa: BLE001 - a bug in one round must not end all
                _log.exception("%s broke; it goes on", self._name)
                nap = _NAP
            await asyncio.sleep(nap)

    async def tick(self, look: Callable[[P], Awaitable[float | None]]) -> float:
        """One round over the places that are due; gives the seconds till the next."""
        await self._places.refresh()
        known = list(self._places.known())
        turn = [place for place in known if self._looks.get(place, 0.0) <= monotonic()]
        waits: list[float | None] = [0.0] * len(turn)
        if self._peek is not None and turn:
            waits = [until(due, now) for now, due in await self._peek(turn)]
        for place, wait in zip(turn, waits, strict=True):
            if wait is not None and wait <= _AT_ONCE:
                wait = await self._look(look, place)  # noqa: PLW2901 - what it knows now
            self._looks[place] = monotonic() + min(
                self._longest if wait is None else wait, self._longest
            )
        return min([_NAP, *(max(0.0, self._looks[place] - monotonic()) for place in known)])

    async def _look(self, look: Callable[[P], Awaitable[float | None]], place: P) -> float | None:
        try:
            return await look(place)
        except StoreUnavailable:
            raise
        except Exception:  # noqa: BLE001 - what is wrong with one must not stop the others
            _log.exception("%s broke on %s", self._name, place)
            return None


def until(due_ms: int, now_ms: int) -> float | None:
    """Seconds from now to a time of the store, a moment later for its milliseconds; None for 0."""
    return max(0.0, (due_ms - now_ms) / limits.SECOND) + 0.002 if due_ms else None
