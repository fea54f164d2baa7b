"""What codeQ does for itself, a chore a task: each gives what it found, or raises."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from codeq_grpc.broker.pace import rest
from codeq_grpc.core.clock import monotonic
from codeq_grpc.core.findings import KINDS, Severity

if TYPE_CHECKING:
    from collections.abc import Callable

    from codeq_grpc.broker.doctor import Doctor
    from codeq_grpc.broker.trail import Trail
    from codeq_grpc.store.calendars import CalendarStore
    from codeq_grpc.store.registry import Registry
    from codeq_grpc.store.upkeep import Upkeep

_EXAMPLES: Final = 20
"""Findings that are told one by one."""
_STEP: Final = 500


class Wrong(Exception):
    """A check has found errors; the message says what."""


class Chores:
    """All of them. Each goes in bounded steps, and rests after each."""

    def __init__(
        self,
        registry: Registry,
        upkeep: Upkeep,
        calendars: CalendarStore,
        trail: Trail,
        doctor: Callable[[], Doctor],
        *,
        retention_ms: int,
        firing_retention_ms: int,
    ) -> None:
        self._registry = registry
        self._upkeep = upkeep
        self._calendars = calendars
        self._trail = trail
        self._doctor = doctor
        self._retention_ms = retention_ms
        self._firing_retention_ms = firing_retention_ms

    async def prune_tasks(self) -> dict[str, Any]:
        """Deletes ended tasks that are too old."""
        await self._registry.refresh()
        queues, removed = list(self._registry.known()), 0
        for queue in queues:
            more = True
            while more:
                began = monotonic()
                count, more = await self._upkeep.prune_old(queue, self._retention_ms)
                removed += count
                await rest(began)
        return {"queues": len(queues), "removed": removed}

    async def prune_history(self) -> dict[str, Any]:
        """Forgets firings and audit events that are too old."""
        await self._registry.refresh()
        calendars, removed = list(self._registry.calendars()), 0
        for calendar in calendars:
            ((now_ms, _),) = await self._calendars.peek([calendar])
            cursor, first = b"", True
            while first or cursor:
                began, first = monotonic(), False
                before = now_ms - self._firing_retention_ms
                step = await self._calendars.prune(calendar, cursor, most=_STEP, before_ms=before)
                cursor, removed = step.cursor, removed + step.removed
                await rest(began)
        await self._trail.forget()
        return {"calendars": len(calendars), "removed_firings": removed}

    async def check(self) -> dict[str, Any]:
        """The doctor's look at everything. Raises Wrong when there are errors."""
        doctor, kinds, examples = self._doctor(), Counter[str](), list[str]()
        queues, calendars = await doctor.queues(), await doctor.calendars()
        walks = [doctor.examine_registry(), doctor.examine_keys()]
        walks += [doctor.examine(queue) for queue in queues]
        walks += [doctor.examine_calendar(calendar) for calendar in calendars]
        for walk in walks:
            async for look in walk:
                for one in look.findings:
                    kinds[one.kind] += 1
                    if len(examples) < _EXAMPLES and KINDS[one.kind].severity is Severity.ERROR:
                        examples.append(" ".join(filter(None, (one.kind, one.queue, one.where))))
        if examples:
            raise Wrong(f"{kinds.total()} findings: {', '.join(examples)}; see codeq doctor")
        return {"queues": len(queues), "calendars": len(calendars), "findings": dict(kinds)}
