"""Claims by call, such that nothing leased stays with a caller who left."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from codeq_grpc.broker.lines import Wish
from codeq_grpc.core import limits
from codeq_grpc.core.clock import monotonic
from codeq_grpc.core.errors import Draining
from codeq_grpc.store.rows import pack_claimant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codeq_grpc.broker.lines import Lines
    from codeq_grpc.broker.wakeups import Waiters
    from codeq_grpc.core.records import Lease
    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.registry import Registry


class Claims:
    """Claims tasks of one or more queues."""

    def __init__(self, registry: Registry, lines: Lines, waiters: Waiters) -> None:
        self._registry = registry
        self._lines = lines
        self._waiters = waiters

    async def claim(
        self,
        tenant: str,
        commands: Sequence[str],
        worker_id: str,
        *,
        want: int,
        lease_ms: int,
        wait: float,
    ) -> list[Lease]:
        """Leases up to `want` tasks, waiting up to `wait` seconds for the first one. Raises
        Draining rather than answer at once that there is nothing, which would be asked again.
        """
        if self._waiters.draining:
            raise Draining
        queues = await self._registry.find_all(tenant, commands)
        wish = Wish(pack_claimant("", worker_id), lease_ms, asyncio.Event())
        try:
            return await self._gather(wish, queues, want, wait)
        finally:
            self._lines.close(wish)

    async def _gather(
        self, wish: Wish, queues: Sequence[Queue], want: int, wait: float
    ) -> list[Lease]:
        deadline, room = monotonic() + wait, limits.MORE_BYTES
        taken: list[Lease] = []
        self._lines.ask(wish, queues, want, patient=wait > 0, fresh=wait <= 0)
        while True:
            wish.event.clear()
            new = [lease for given in wish.take() for lease in given.leases]
            taken += new
            room -= sum(len(lease.spec) + len(lease.checkpoint) for lease in new)
            # The next claim gives a task whatever its size; the reply must hold that too.
            if len(taken) >= want or room < 0:
                return taken
            if new:
                # More at once, if there is more; but no more waiting.
                self._lines.ask(wish, queues, want - len(taken), patient=False)
            error = wish.fail()
            if error is not None and not taken:
                raise error
            left = deadline - monotonic() if wish.patient else None
            over = wish.through or (left is not None and left <= 0)
            if over or error is not None or self._waiters.draining:
                return taken
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await wish.event.wait()
