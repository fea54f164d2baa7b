"""Makes scheduled tasks claimable when they are due."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq_grpc.core import limits
from codeq_grpc.daemons.rounds import Rounds, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.registry import Registry
    from codeq_grpc.store.upkeep import Upkeep

_LONGEST = 2.0
"""Seconds between looks at a queue in which nothing is due. Claims promote too, and who waits
knows the next due time, so no task waits for this."""


class Promoter:
    """SCHEDULED -> PENDING. Sees besides whether a queue owes something to others, or is to be
    swept, which a server that ended may have left undone.
    """

    def __init__(
        self,
        registry: Registry,
        upkeep: Upkeep,
        owed: Callable[[Queue], None],
        sweep: Callable[[Queue], None],
    ) -> None:
        self._rounds = Rounds("promoter", registry, longest=_LONGEST)
        self._upkeep = upkeep
        self._owed = owed
        self._sweep = sweep

    async def run(self) -> None:
        """For ever."""
        await self._rounds.run(self._look)

    async def tick(self) -> None:
        """One round."""
        await self._rounds.tick(self._look)

    async def _look(self, queue: Queue) -> float | None:
        promoted = await self._upkeep.promote(queue, limits.SCRIPT_BATCH)
        if 0 < promoted.next_owed_ms <= promoted.now_ms:
            self._owed(queue)
        if promoted.sweep:
            self._sweep(queue)
        if promoted.promoted == limits.SCRIPT_BATCH:
            return 0.0
        return until(promoted.next_ms, promoted.now_ms)
