"""Work that somebody found for a queue or a calendar, done soon, a step of one after a step of
another.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from codeq_grpc.core.errors import CodeQError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

P = TypeVar("P")
_log = logging.getLogger(__name__)
_NAP: Final = 1.0
"""Seconds after a failure; the promoter finds again what was left."""


class Errands(Generic[P]):
    """Places that need a visit, each once however often it was named. A visit is a step; one that
    leaves something to do names its place again, so that the others come first.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._places: dict[P, None] = {}
        self._event = asyncio.Event()

    def add(self, place: P) -> None:
        """Names a place."""
        self._places[place] = None
        self._event.set()

    async def run(self, visit: Callable[[P], Awaitable[None]]) -> None:
        """For ever."""
        while True:
            await self._event.wait()
            await self.tick(visit)

    async def tick(self, visit: Callable[[P], Awaitable[None]]) -> None:
        """Visits every place that was named before."""
        self._event.clear()
        places, self._places = self._places, {}
        for place in places:
            try:
                await visit(place)
            except CodeQError as error:
                _log.warning("%s: %s", self._name, error)
                await asyncio.sleep(_NAP)
            except Exception:  # noqa: BLE001 - what is wrong with one must not stop the others
                _log.exception("%s broke on %s", self._name, place)
                await asyncio.sleep(_NAP)
