"""Sends the promoter and the reaper where something is due."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from codeq_grpc.daemons.rounds import Rounds

if TYPE_CHECKING:
    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.registry import Registry
    from codeq_grpc.store.upkeep import Upkeep

_LONGEST = 1.8
"""Seconds between peeks at a queue. A lease lasts at least 1 s, so one that began just after a
peek is found at most 0.8 s after it ran out: promised is 1 s. Only one that expire_time cut
shorter may be found later; reports on it are refused all the same. No scheduled task waits for
this: claims promote too, and who waits knows the next due time."""


class Due(Protocol):
    """What has to be done in a queue when its time has come."""

    async def look(self, queue: Queue) -> float | None:
        """One step; seconds till the next, 0 if there is more to do now, None for no idea."""


class Timekeeper:
    """Peeks at all queues, many in one round trip, which costs an idle queue next to nothing."""

    def __init__(self, registry: Registry, upkeep: Upkeep, *due: Due) -> None:
        self._rounds = Rounds("timekeeper", registry, longest=_LONGEST, peek=upkeep.peek)
        self._due = due

    async def run(self) -> None:
        """For ever."""
        await self._rounds.run(self._look)

    async def tick(self) -> None:
        """One round."""
        await self._rounds.tick(self._look)

    async def _look(self, queue: Queue) -> float | None:
        waits = [await due.look(queue) for due in self._due]
        return min((wait for wait in waits if wait is not None), default=None)
