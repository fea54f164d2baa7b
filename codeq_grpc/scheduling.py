"""Builds what schedules need, and runs what fires them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq_grpc.broker.bulk import Cancel
from codeq_grpc.broker.ends import Ends
from codeq_grpc.broker.firing import Firings
from codeq_grpc.broker.schedules import Schedules
from codeq_grpc.broker.triggers import Triggers
from codeq_grpc.core import limits
from codeq_grpc.daemons.scheduler import Scheduler
from codeq_grpc.store.calendars import CalendarStore
from codeq_grpc.wire import problems
from codeq_grpc.wire.firings import Bodies
from codeq_grpc.wire.schedules import ScheduleChecker
from codeq_grpc.wire.specs import SpecChecker

if TYPE_CHECKING:
    from codeq_grpc.broker.bulk import Bulk
    from codeq_grpc.broker.tasks import Tasks
    from codeq_grpc.core.quotas import Tenants
    from codeq_grpc.settings import Settings
    from codeq_grpc.store.connection import Connection
    from codeq_grpc.store.outbox import Outbox
    from codeq_grpc.store.reads import Reads
    from codeq_grpc.store.registry import Registry

_SUPERSEDED = "a later firing of its schedule took its place"


class Scheduling:
    """Of one server."""

    _firings: Firings

    def __init__(
        self,
        settings: Settings,
        connection: Connection,
        registry: Registry,
        reads: Reads,
        outbox: Outbox,
        tenants: Tenants,
    ) -> None:
        self._registry = registry
        self._tenants = tenants
        self.store = CalendarStore(connection, firings_kept=settings.firings_kept)
        most = min(settings.max_payload_bytes, limits.SCHEDULE_BYTES)
        self._bodies = Bodies(SpecChecker(payload_bytes=most))
        self.checker = ScheduleChecker(self._bodies.check)
        self.scheduler = Scheduler(registry, self.store)
        self.ends = Ends(registry, self.store, reads, outbox, self.scheduler.wake)

    def brokers(self, tasks: Tasks, bulk: Bulk) -> tuple[Schedules, Triggers]:
        """What the servicer asks; firings enqueue and cancel as callers do."""
        store, bodies, wake = self.store, self._bodies, self.scheduler.wake
        superseded = Cancel(_SUPERSEDED, problems.cancelled(_SUPERSEDED))
        firings = Firings(store, bodies, tasks, bulk, self.ends, superseded)
        schedules = Schedules(self._registry, store, bodies, self._tenants, wake)
        self._firings = firings
        return schedules, Triggers(self._registry, store, bodies, schedules, firings, self.ends)

    async def run(self) -> None:
        """Fires, for ever, once there are brokers."""
        await self.scheduler.run(self._firings)

    async def tick(self) -> None:
        """One round over what is due."""
        await self.scheduler.tick(self._firings)
