"""When which queue is due for a look."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from codeq_grpc.core import limits
from codeq_grpc.core.clock import monotonic
from codeq_grpc.core.errors import CodeQError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.registry import Registry

_log = logging.getLogger(__name__)
_AT_ONCE = 0.002
_NAP = 1.0
"""Seconds after which new queues are noticed, and a failed store is tried again."""


class Rounds:
    """Looks at each queue when something is due in it, and at least every `longest` seconds."""

    def __init__(
        self,
        name: str,
        registry: Registry,
        *,
        longest: float,
        peek: Callable[[Sequence[Queue]], Awaitable[list[tuple[int, int]]]] | None = None,
    ) -> None:
        """With `peek` it learns cheaply, of many queues at once, where a look is worth while: the
        store's time, and that of the next look or 0 for never.
        """
        self._name = name
        self._registry = registry
        self._longest = longest
        self._peek = peek
        self._looks: dict[Queue, float] = {}

    async def run(self, look: Callable[[Queue], Awaitable[float | None]]) -> None:
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

    async def tick(self, look: Callable[[Queue], Awaitable[float | None]]) -> float:
        """One round over the queues that are due; gives the seconds till the next."""
        await self._registry.refresh()
        known = list(self._registry.known())
        turn = [queue for queue in known if self._looks.get(queue, 0.0) <= monotonic()]
        waits: list[float | None] = [0.0] * len(turn)
        if self._peek is not None and turn:
            waits = [until(due, now) for now, due in await self._peek(turn)]
        for queue, wait in zip(turn, waits, strict=True):
            if wait is not None and wait <= _AT_ONCE:
                wait = await self._look(look, queue)  # noqa: PLW2901 - what it knows now
            self._looks[queue] = monotonic() + min(
                self._longest if wait is None else wait, self._longest
            )
        return min([_NAP, *(max(0.0, self._looks[queue] - monotonic()) for queue in known)])

    async def _look(
        self, look: Callable[[Queue], Awaitable[float | None]], queue: Queue
    ) -> float | None:
        try:
            return await look(queue)
        except StoreUnavailable:
            raise
        except Exception:  # noqa: BLE001 - what is wrong with one queue must not stop the others
            _log.exception("%s broke on queue %s/%s", self._name, queue.tenant, queue.command)
            return None


def until(due_ms: int, now_ms: int) -> float | None:
    """Seconds from now to a time of the store, a moment later for its milliseconds; None for 0."""
    return max(0.0, (due_ms - now_ms) / limits.SECOND) + 0.002 if due_ms else None
