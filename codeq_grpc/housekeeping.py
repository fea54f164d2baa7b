"""Builds codeQ's own schedules and the worker that does what they enqueue."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from codeq_grpc.broker.chores import Chores
from codeq_grpc.broker.doctor import Doctor
from codeq_grpc.broker.firing import seed_of
from codeq_grpc.core.findings import Mode
from codeq_grpc.core.retry import RetryPolicy
from codeq_grpc.daemons.housekeeper import Housekeeper
from codeq_grpc.store import calendars
from codeq_grpc.store.examining import Examining
from codeq_grpc.wire import chores as messages, problems

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from codeq_grpc.broker.claims import Claims
    from codeq_grpc.broker.reports import Reports
    from codeq_grpc.broker.trail import Trail
    from codeq_grpc.core.schedules import Mark
    from codeq_grpc.scheduling import Scheduling
    from codeq_grpc.settings import Settings
    from codeq_grpc.store.connection import Connection
    from codeq_grpc.store.registry import Registry
    from codeq_grpc.store.upkeep import Upkeep

_DAY_MS = 86_400_000
_WHO = "codeq"


class Housekeeping:
    """Of one server; nothing at all if there is no system tenant."""

    def __init__(
        self,
        settings: Settings,
        worker_id: str,
        stores: tuple[Connection, Registry, Upkeep],
        scheduling: Scheduling,
        trail: Trail,
        health: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._tenant = settings.system_tenant
        self._connection, self._registry, upkeep = stores
        self._scheduling = scheduling
        registry = self._registry
        chores = Chores(
            registry,
            upkeep,
            scheduling.store,
            trail,
            self._doctor,
            retention_ms=settings.retention_ms,
            firing_retention_ms=int(settings.firing_retention_days * _DAY_MS),
        )

        async def note_health() -> Mapping[str, Any]:
            return health()

        self._housekeeper = Housekeeper(
            self._tenant,
            registry,
            {
                messages.PRUNE_TASKS: chores.prune_tasks,
                messages.PRUNE_HISTORY: chores.prune_history,
                messages.CHECK: chores.check,
                messages.HEALTH: note_health,
            },
            self.ensure,
            result=messages.result,
            failure=messages.failure,
            worker_id=worker_id,
        )

    def work(
        self, claims: Claims, reports: Reports
    ) -> tuple[Callable[[], Coroutine[Any, Any, None]], ...]:
        """What is to run for ever."""
        if not self._tenant:
            return ()
        return (lambda: self._housekeeper.run(claims, reports),)

    def _doctor(self) -> Doctor:
        attempts = RetryPolicy().max_attempts
        examining = Examining(
            self._connection, mode=Mode.LOOK, max_attempts=attempts, error=problems.DAMAGED
        )
        return Doctor(self._registry, examining)

    async def ensure(self) -> None:
        """The schedules are there, as this version of codeQ has them, or a later one that is up,
        too. What is paused stays so.
        """
        store, checker = self._scheduling.store, self._scheduling.checker
        calendar = await self._registry.calendar(self._tenant)
        wanted = {
            one.schedule_id: checker.created(one, _WHO) for one in messages.system_schedules()
        }
        now_ms, found = await store.read(calendar, list(wanted))
        for (name, change), stored in zip(wanted.items(), found, strict=True):
            if stored is not None and stored.row.system:
                revision = messages.revision_of(stored.record.body)
                if revision > messages.REVISION or stored.record.body == change.new.body:
                    continue
            expect: Mark | None = None if stored is None else stored.row.mark
            new = replace(change.at(now_ms, seed_of(self._tenant, name)), system=True, paused=None)
            put = await store.put(calendar, name, new, expect=expect)
            if put.word == calendars.OK:
                self._scheduling.scheduler.wake(calendar)
