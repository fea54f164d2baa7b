"""Makes scheduled tasks claimable when they are due."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq_grpc.core import limits
from codeq_grpc.daemons.rounds import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.upkeep import Upkeep


class Promoter:
    """SCHEDULED -> PENDING. Sees besides whether a queue owes something to others, or is to be
    swept, which a server that ended may have left undone.
    """

    def __init__(
        self, upkeep: Upkeep, owed: Callable[[Queue], None], sweep: Callable[[Queue], None]
    ) -> None:
        self._upkeep = upkeep
        self._owed = owed
        self._sweep = sweep

    async def look(self, queue: Queue) -> float | None:
        """One step; seconds till the next."""
        promoted = await self._upkeep.promote(queue, limits.SCRIPT_BATCH)
        if 0 < promoted.next_owed_ms <= promoted.now_ms:
            self._owed(queue)
        if promoted.sweep:
            self._sweep(queue)
        if promoted.promoted == limits.SCRIPT_BATCH:
            return 0.0
        return until(promoted.next_ms, promoted.now_ms)
