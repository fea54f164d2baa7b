"""How many unfinished tasks tenants have, of those that may have so many only.

Queues lie in different slots, and no script sees them all: they are counted now and then, and what
this server has added since is added. So it counts too many rather than too few, but for what other
servers have added since; and before it refuses, it counts again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from codeq_grpc.core.clock import monotonic
from codeq_grpc.core.errors import QuotaExceeded

if TYPE_CHECKING:
    from codeq_grpc.core.quotas import Tenants
    from codeq_grpc.store.reads import Reads
    from codeq_grpc.store.registry import Registry

_FRESH: Final = 1.0
"""Seconds for which a count is believed."""
_JUST_NOW: Final = 0.05
"""The same before something is refused, and from when a part of the room is used up."""
_QUEUE: Final = 1e-4
"""Seconds for which a count is believed at least, for each queue: ten times what counting one takes
of the store, of which it takes a tenth at most then, however many there are.
"""
_PARTS: Final = 4
_RETRY: Final = 1.0
_KEPT: Final = 1_024
"""Tenants whose counts are kept before old ones are forgotten."""


class _Backlog:
    """Of one tenant: as counted, added since, and being added now."""

    def __init__(self) -> None:
        self.counted = self.added = self.adding = 0
        self.at = float("-inf")
        self.queues = 0
        self.counting: asyncio.Task[None] | None = None


class Backlogs:
    """Keeps tenants to what they may have unfinished."""

    def __init__(self, registry: Registry, reads: Reads, tenants: Tenants) -> None:
        self._registry = registry
        self._reads = reads
        self._tenants = tenants
        self._backlogs: dict[str, _Backlog] = {}

    async def take(self, tenant: str, want: int, *, atomic: bool) -> int:
        """How many of these tasks may be added; `put` must follow. Raises QuotaExceeded when it is
        not all, if `atomic`.
        """
        most = self._tenants.of(tenant).backlog
        if most is None:
            return want
        backlog = self._backlog(tenant)
        new = backlog.added + backlog.adding + want
        # Other servers may have added as much: the less room, the sooner it is looked at again.
        few = new * _PARTS <= most - backlog.counted
        room = await self._room(tenant, backlog, most, _FRESH if few else _JUST_NOW)
        if room < want:
            room = await self._room(tenant, backlog, most, _JUST_NOW)
        if atomic and room < want:
            raise self.exceeded(tenant)
        taken = min(room, want)
        backlog.adding += taken
        return taken

    def exceeded(self, tenant: str) -> QuotaExceeded:
        """What to answer for those that may not be added."""
        most = self._tenants.of(tenant).backlog or 0
        return QuotaExceeded.of("backlog", most, retry_after=_RETRY)

    def put(self, tenant: str, taken: int, added: int) -> None:
        """So many of those taken were added, or may have been."""
        backlog = self._backlogs.get(tenant)
        if backlog is not None:
            backlog.adding -= taken
            backlog.added += added

    def _backlog(self, tenant: str) -> _Backlog:
        found = self._backlogs.get(tenant)
        if found is None:
            if len(self._backlogs) >= _KEPT:
                old = monotonic() - _FRESH
                self._backlogs = {
                    name: one
                    for name, one in self._backlogs.items()
                    if one.at > old or one.adding or one.counting
                }
            found = self._backlogs[tenant] = _Backlog()
        return found

    async def _room(self, tenant: str, backlog: _Backlog, most: int, age: float) -> int:
        """How many more there may be, by a count that is not older, or than many queues allow."""
        if monotonic() - backlog.at > max(age, backlog.queues * _QUEUE):
            await self._count(tenant, backlog)
        return max(0, most - backlog.counted - backlog.added - backlog.adding)

    async def _count(self, tenant: str, backlog: _Backlog) -> None:
        """One count at a time, which goes on when those who wait for it leave."""
        if backlog.counting is None:
            backlog.counting = asyncio.get_running_loop().create_task(
                self._counted(tenant, backlog)
            )
            backlog.counting.add_done_callback(_told)
        await asyncio.shield(backlog.counting)

    async def _counted(self, tenant: str, backlog: _Backlog) -> None:
        try:
            at, before = monotonic(), backlog.added
            await self._registry.refresh()
            queues = [queue for queue in self._registry.known() if queue.tenant == tenant]
            backlog.counted = await self._reads.unended(queues)
            # What was added meanwhile may have been counted: that is too many, till next time.
            backlog.added -= before
            backlog.at, backlog.queues = at, len(queues)
        finally:
            backlog.counting = None


def _told(counting: asyncio.Task[None]) -> None:
    """Those who waited have its error, if there are any left."""
    if not counting.cancelled():
        counting.exception()
