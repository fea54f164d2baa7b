"""Work that somebody found for a queue, done soon, a step of one queue after a step of another."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from codeq_grpc.core.errors import CodeQError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from codeq_grpc.store.keys import Queue

_log = logging.getLogger(__name__)
_NAP: Final = 1.0
"""Seconds after a failure; the promoter finds again what was left."""


class Errands:
    """Queues that need a visit, each once however often it was named. A visit is a step; one that
    leaves something to do names its queue again, so that the others come first.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._queues: dict[Queue, None] = {}
        self._event = asyncio.Event()

    def add(self, queue: Queue) -> None:
        """Names a queue."""
        self._queues[queue] = None
        self._event.set()

    async def run(self, visit: Callable[[Queue], Awaitable[None]]) -> None:
        """For ever."""
        while True:
            await self._event.wait()
            await self.tick(visit)

    async def tick(self, visit: Callable[[Queue], Awaitable[None]]) -> None:
        """Visits every queue that was named before."""
        self._event.clear()
        queues, self._queues = self._queues, {}
        for queue in queues:
            try:
                await visit(queue)
            except CodeQError as error:
                _log.warning("%s: %s", self._name, error)
                await asyncio.sleep(_NAP)
            except Exception:  # noqa: BLE001 - what is wrong with one queue must not stop the others
                _log.exception("%s broke on queue %s/%s", self._name, queue.tenant, queue.command)
                await asyncio.sleep(_NAP)
