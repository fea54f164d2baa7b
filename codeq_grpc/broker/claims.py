"""Claims by call, such that nothing leased stays with a caller who left."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from codeq_grpc.broker.wishes import Wish
from codeq_grpc.core import limits
from codeq_grpc.core.clock import monotonic
from codeq_grpc.core.errors import Draining
from codeq_grpc.store.rows import pack_claimant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codeq_grpc.broker.lines import Lines
    from codeq_grpc.broker.wakeups import Waiters
    from codeq_grpc.broker.wishes import Given
    from codeq_grpc.core.records import Lease
    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.registry import Registry


_MORE: Final = 0.1
"""Seconds for which a caller who has tasks is kept waiting for the rest of what it asked for."""


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
        claimant = pack_claimant("", worker_id)
        wish = Wish(claimant, asyncio.Event(), lease_ms=lease_ms, most=want)
        taken: list[Given] = []
        try:
            await self._gather(wish, queues, want, wait, taken)
        except BaseException:
            self._lines.give_back(taken)
            raise
        finally:
            self._lines.close(wish)
        return [lease for given in taken for lease in given.leases]

    async def _gather(
        self, wish: Wish, queues: Sequence[Queue], want: int, wait: float, taken: list[Given]
    ) -> None:
        """Takes what there is into `taken`. An error after the first tasks ends it without one."""
        deadline, room = monotonic() + wait, limits.MORE_BYTES
        self._lines.ask(wish, queues, want, patient=wait > 0, fresh=wait <= 0)
        while True:
            wish.event.clear()
            new = wish.take()
            taken += new
            for lease in (lease for given in new for lease in given.leases):
                want -= 1
                room -= len(lease.spec) + len(lease.checkpoint)
            # The next claim gives a task whatever its size; the reply must hold that too.
            if want <= 0 or room < 0:
                return
            if new:
                # More at once, if there is more; but no more waiting.
                self._lines.ask(wish, queues, want, patient=False)
                deadline = monotonic() + _MORE
            error = wish.fail()
            if error is not None and not taken:
                raise error
            left = deadline - monotonic() if wish.patient or taken else None
            over = wish.through or (left is not None and left <= 0)
            if over or error is not None or self._waiters.draining:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await wish.event.wait()
