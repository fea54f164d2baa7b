"""Delivers what queues owe each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq_grpc.daemons.errands import Errands

if TYPE_CHECKING:
    from codeq_grpc.broker.dependencies import Dependencies
    from codeq_grpc.store.keys import Queue


class Courier:
    """BLOCKED -> PENDING, SCHEDULED or FAILED, when the tasks depended on have ended."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._errands: Errands[Queue] = Errands("courier")
        self._dependencies = dependencies
        self.owe = self._errands.add

    async def run(self) -> None:
        """For ever."""
        await self._errands.run(self._visit)

    async def tick(self) -> None:
        """One round."""
        await self._errands.tick(self._visit)

    async def _visit(self, queue: Queue) -> None:
        for other in await self._dependencies.deliver(queue):
            self._errands.add(other)
