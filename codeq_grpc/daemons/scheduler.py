"""Fires schedules."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from codeq_grpc.daemons.errands import Errands
from codeq_grpc.daemons.rounds import Rounds

if TYPE_CHECKING:
    from codeq_grpc.broker.firing import Firings
    from codeq_grpc.store.calendars import CalendarStore
    from codeq_grpc.store.keys import Calendar
    from codeq_grpc.store.registry import Registry

_LONGEST: Final = 1.0
"""Seconds between peeks at a calendar: so long at most it takes to notice what another server has
made due sooner."""
_PRUNE_EVERY: Final = 60.0
_PRUNED: Final = 500
_REST: Final = 0.02
"""Seconds between its steps: callers come first."""


class _Calendars:
    """Where to look."""

    def __init__(self, registry: Registry) -> None:
        self.refresh = registry.refresh
        self.known = registry.calendars


class Scheduler:
    """Due -> fired -> enqueued. `wake` has a calendar looked at soon."""

    def __init__(self, registry: Registry, store: CalendarStore) -> None:
        self._store = store
        self._errands: Errands[Calendar] = Errands("scheduler")
        self._rounds = Rounds("scheduler", _Calendars(registry), longest=_LONGEST, peek=store.peek)
        self._cleanings = Rounds("cleaner of calendars", _Calendars(registry), longest=_PRUNE_EVERY)
        self.wake = self._errands.add

    async def run(self, firings: Firings) -> None:
        """For ever."""

        async def look(calendar: Calendar) -> float:
            await firings.step(calendar)
            return 0.0  # the next peek tells when

        async with asyncio.TaskGroup() as group:
            group.create_task(self._rounds.run(look))
            group.create_task(self._errands.run(firings.step))
            group.create_task(self._cleanings.run(self._clean))

    async def tick(self, firings: Firings) -> None:
        """One round over what is due."""

        async def look(calendar: Calendar) -> None:
            await firings.step(calendar)

        await self._rounds.tick(look)

    async def _clean(self, calendar: Calendar) -> float | None:
        """Forgets what deleted schedules left and request keys, a step at a time."""
        pruned = await self._store.prune(calendar, b"", most=_PRUNED, before_ms=0)
        return _REST if pruned.removed else None
