"""Claims whose reply is lost: what they have leased goes back when the store answers again."""

from __future__ import annotations

import asyncio
import logging
from itertools import count
from typing import TYPE_CHECKING, Final

from codeq_grpc.core import limits
from codeq_grpc.core.errors import CodeQError, StoreUnavailable
from codeq_grpc.core.task import Ending
from codeq_grpc.store.tasks import Report
from codeq_grpc.store.wakeups import work_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codeq_grpc.broker.background import Background
    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.tasks import Claimant, Claimed, TaskStore

_log = logging.getLogger(__name__)
_PERIOD: Final = 1.0
_TRIES: Final = 300
"""Of one recall, a second apart; leases that are not over by then end by themselves."""


class Recalls:
    """Claims of this server, one at a time in each queue."""

    def __init__(self, server: str, store: TaskStore, background: Background) -> None:
        self._server = server
        self._store = store
        self._background = background
        self._numbers = count(1)
        self._lost: dict[bytes, int] = {}

    async def claim(self, queue: Queue, claimants: Sequence[Claimant], *, wake: bool) -> Claimed:
        """One claim for several; `wake` notes that this server waits when there is no more. Raises
        StoreUnavailable also while it is not known what became of the claim before.
        """
        if self._lost:
            await self._recall(queue)
        server = self._server if wake else ""
        number = next(self._numbers)
        try:
            return await self._store.claim(
                *(queue, claimants),
                max_bytes=limits.BATCH_BYTES,
                wake=server,
                receipt=(self._server, number),
            )
        except StoreUnavailable:
            self._lost[work_key(queue)] = number
            self._background.spawn(self._recall_later(queue, number))
            raise

    def abandon(self, queue: Queue, leases: Sequence[tuple[bytes, int]]) -> None:
        """Ends leases (name, fence) in the background, uncounted."""
        for at in range(0, len(leases), limits.SCRIPT_BATCH):
            part = leases[at : at + limits.SCRIPT_BATCH]
            reports = [Report(name, fence, Ending.ABANDON, delay_ms=0) for name, fence in part]
            self._background.spawn(self._store.report(queue, reports))

    async def _recall(self, queue: Queue) -> None:
        claim = self._lost.get(work_key(queue))
        if claim is None:
            return
        leases = await self._store.recall(queue, self._server, claim, next(self._numbers))
        if self._lost.get(work_key(queue)) == claim:
            del self._lost[work_key(queue)]
        if leases:
            _log.info("%d tasks of a claim whose reply was lost go back", len(leases))
            self.abandon(queue, leases)

    async def _recall_later(self, queue: Queue, claim: int) -> None:
        for _ in range(_TRIES):
            await asyncio.sleep(_PERIOD)
            if self._lost.get(work_key(queue)) != claim:
                return
            try:
                await self._recall(queue)
            except CodeQError:
                continue
        self._lost.pop(work_key(queue), None)
