"""Does what a purge and a change of settings left to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq_grpc.broker.pace import rest
from codeq_grpc.core import limits
from codeq_grpc.core.clock import monotonic
from codeq_grpc.daemons.errands import Errands

if TYPE_CHECKING:
    from collections.abc import Callable

    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.upkeep import Errors, Upkeep


class Sweeper:
    """Purged tasks -> CANCELLED. `owed` is told of queues whose outbox got entries."""

    def __init__(self, upkeep: Upkeep, errors: Errors, owed: Callable[[Queue], None]) -> None:
        self._errands: Errands[Queue] = Errands("sweeper")
        self._upkeep = upkeep
        self._errors = errors
        self._owed = owed
        self.sweep = self._errands.add

    async def run(self) -> None:
        """For ever."""
        await self._errands.run(self._visit)

    async def tick(self) -> None:
        """One round."""
        await self._errands.tick(self._visit)

    async def _visit(self, queue: Queue) -> None:
        began = monotonic()
        owed, more = await self._upkeep.sweep(queue, limits.BULK_BATCH, self._errors)
        if owed:
            self._owed(queue)
        if more:
            self._errands.add(queue)  # behind the others
            await rest(began)
