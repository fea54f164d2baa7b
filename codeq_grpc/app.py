"""The composition root: builds every room, runs a server, and ends it in the right order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from codeq_grpc.auth.credentials import hash_token
from codeq_grpc.broker.background import Background
from codeq_grpc.broker.backlogs import Backlogs
from codeq_grpc.broker.bulk import Bulk
from codeq_grpc.broker.claims import Claims
from codeq_grpc.broker.dependencies import Dependencies
from codeq_grpc.broker.doctor import Doctor
from codeq_grpc.broker.lines import Lines
from codeq_grpc.broker.queues import Queues
from codeq_grpc.broker.reports import Reports
from codeq_grpc.broker.schemas import Schemas
from codeq_grpc.broker.selecting import Searches
from codeq_grpc.broker.streams import Streams
from codeq_grpc.broker.tasks import Rules, Tasks
from codeq_grpc.broker.wakeups import Waiters
from codeq_grpc.broker.watches import Watches
from codeq_grpc.broker.workers import Presence
from codeq_grpc.callers import Callers
from codeq_grpc.core.clock import monotonic
from codeq_grpc.core.errors import CodeQError
from codeq_grpc.core.ports import Ports
from codeq_grpc.core.retry import RetryPolicy
from codeq_grpc.daemons.courier import Courier
from codeq_grpc.daemons.promoter import Promoter
from codeq_grpc.daemons.pruner import Pruner
from codeq_grpc.daemons.reaper import Reaper
from codeq_grpc.daemons.sweeper import Sweeper
from codeq_grpc.daemons.timekeeper import Timekeeper
from codeq_grpc.entrances import Entrances
from codeq_grpc.gateway.app import Gateway
from codeq_grpc.housekeeping import Housekeeping
from codeq_grpc.outages import LostWakeups
from codeq_grpc.rpc import engines
from codeq_grpc.rpc.admin_service import AdminServicer
from codeq_grpc.rpc.audit import audited
from codeq_grpc.rpc.brokers import Brokers
from codeq_grpc.rpc.budgets import Budgets, Failures, Places
from codeq_grpc.rpc.call import Concerns
from codeq_grpc.rpc.codeq_service import CodeQServicer
from codeq_grpc.rpc.durability import DurabilityInterceptor
from codeq_grpc.rpc.health import SERVICES, Health, HealthServicer
from codeq_grpc.rpc.interceptors import ErrorInterceptor
from codeq_grpc.rpc.schedule_service import ScheduleServicer
from codeq_grpc.rpc.server import Servicers, build_server
from codeq_grpc.rpc.turns import Work
from codeq_grpc.scheduling import Scheduling
from codeq_grpc.store.connection import Connection, Tls
from codeq_grpc.store.durability import WAITS, Durability
from codeq_grpc.store.embedded import StateInUse, StoreDidNotStart, embedded_store
from codeq_grpc.store.examining import Examining
from codeq_grpc.store.outbox import Outbox
from codeq_grpc.store.presence import PresenceStore
from codeq_grpc.store.queues import QueueStore
from codeq_grpc.store.reads import Reads
from codeq_grpc.store.registry import Registry
from codeq_grpc.store.tasks import TaskStore
from codeq_grpc.store.upkeep import Errors, Upkeep
from codeq_grpc.store.wakeups import Wakeups
from codeq_grpc.transport.certificates import BadCertificate, check_client
from codeq_grpc.wire import problems
from codeq_grpc.wire.queues import payload_schema
from codeq_grpc.wire.specs import SpecChecker, opened

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    import grpc

    from codeq_grpc.core.findings import Mode
    from codeq_grpc.settings import Settings

__all__ = (
    "App",
    "BadCertificate",
    "Ports",
    "Shared",
    "StateInUse",
    "StoreDidNotStart",
    "doctor",
    "embedded_store",
    "hash_token",
    "run",
)

_log = logging.getLogger(__name__)
_CLOSING: Final = 0.15
"""Seconds of refusing calls before gRPC stops. It answers those that it has received and not yet
begun with CANCELLED, which no client repeats. Less than the retry_after of Draining, so that who is
refused does not come again in the very moment of stopping."""
_TURNS: Final = 15
"""Of the loop within these, however busy it is: it takes up calls in each."""
_ERRORS: Final = Errors(
    problems.LEASE_EXPIRED, problems.ATTEMPT_TIMEOUT, problems.EXPIRED, problems.PURGED
)
_LAST_WORDS: Final = 2.0
"""Seconds for what must still reach the store after the last call has ended."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What a server has as one of several processes: the name that its parent knows, the sockets
    that HTTP comes to, and what is known of all processes.
    """

    server_id: str
    listeners: Sequence[socket.socket]
    processes: Callable[[], Sequence[dict[str, Any]]]


class App:
    """One server. `async with` starts and drains it."""

    def __init__(self, settings: Settings, shared: Shared | None = None) -> None:
        self._settings = settings
        self._shared = shared
        self.server_id = shared.server_id if shared else secrets.token_hex(4)
        self.connection = _connection(
            settings,
            size=settings.store_connections,
            settling=WAITS if settings.durability.waits else 0,
        )
        self._durability = Durability(self.connection, settings.durability)
        self._tenants = settings.tenant_rules()
        self._registry = Registry(self.connection, self._tenants)
        retry, lease_ms = RetryPolicy(), settings.default_lease_seconds * 1000
        self._store = TaskStore(self.connection, retry=retry, lease_ms=lease_ms)
        self._reads = Reads(self.connection)
        self._upkeep = Upkeep(self.connection)
        queue_store = QueueStore(self.connection)
        self._schemas = Schemas(queue_store, payload_schema, opened)
        self._background = Background()
        self._wakeups = Wakeups(self.connection, self.server_id, LostWakeups(settings).log)
        lines = Lines(self.server_id, self._registry, self._store, self._background)
        self._waiters = Waiters(self.server_id, lines, self._wakeups, self._background)
        self._claims = Claims(self._registry, lines, self._waiters)
        self._streams = Streams(
            self._registry,
            lines,
            self._store,
            self._waiters,
            max_age=settings.max_stream_age_seconds,
        )
        self._watches = Watches(self._registry, self._reads, self._waiters, self._background)
        self._presence = Presence(
            PresenceStore(self.connection), self.server_id, self._streams.open
        )
        outbox = Outbox(self.connection)
        stores = self.connection, self._registry, self._reads, outbox
        self._scheduling = Scheduling(settings, *stores, self._tenants)
        followers = problems.dependency, self._scheduling.ends
        self._courier = Courier(Dependencies(self._registry, outbox, *followers))
        self._sweeper = Sweeper(self._upkeep, _ERRORS, self._courier.owe)
        self._budgets = Budgets(
            calls=Places(*settings.places("max_calls")),
            streams=Places(*settings.places("max_streams")),
            watches=Places(*settings.places("max_watches")),
            requests=(settings.max_request_bytes, settings.max_request_bytes_per_principal),
            tenants=self._tenants,
        )
        self._work = Work(settings.max_working)
        self._callers = Callers(
            settings, self.connection, self._registry, self._background, self._tenants
        )
        self.health = Health(
            self.connection, self._durability, self._budgets.under_way, self._callers.trail.facts
        )
        self._housekeeping = Housekeeping(
            settings,
            f"codeq {self.server_id}",
            (self.connection, self._registry, self._upkeep),
            self._scheduling,
            self._callers.trail,
            self.health.details,
        )
        self._entrances = Entrances(settings)
        self.engine = engines.choose(
            settings.grpc_engine, settings.grpc_host, tls=settings.grpc_tls
        )
        self._server = self._build_server(retry, lease_ms, queue_store)

    def _build_server(
        self, retry: RetryPolicy, lease_ms: int, queue_store: QueueStore
    ) -> grpc.aio.Server:
        settings = self._settings
        admin = AdminServicer(
            brokers := self._brokers(queue_store),
            retry=retry,
            lease_ms=lease_ms,
            retention_ms=settings.retention_ms,
            roles=settings.all_roles(),
        )
        checker = SpecChecker(payload_bytes=settings.max_payload_bytes)
        servicer = CodeQServicer(checker, brokers, self._tenants)
        callers = self._callers
        concerns = Concerns(
            self._budgets,
            Failures(settings.max_failures_per_second),
            callers.sessions,
            callers.auditor,
            self._work,
        )
        errors = ErrorInterceptor(concerns, eager=self.engine.eager)
        schedules = ScheduleServicer(self._scheduling.checker, brokers)
        three = zip((servicer, admin, schedules), SERVICES, strict=True)
        wrapped: Any = (audited(one, service, callers.auditor) for one, service in three)
        return build_server(
            Servicers._make((*wrapped, HealthServicer(self.health))),
            (errors, *self._gates()),
            engine=self.engine,
            reflect=settings.reflection,
            reuse_port=settings.reuse_port,
        )

    def _gates(self) -> list[grpc.aio.ServerInterceptor]:
        waits = self._durability.level.waits
        return [self._callers.gate, *([DurabilityInterceptor(self._durability)] if waits else [])]

    def _brokers(self, queue_store: QueueStore) -> Brokers:
        registry, store, reads, waiters = (
            *(self._registry, self._store),
            *(self._reads, self._waiters),
        )
        owe, sweep = self._courier.owe, self._sweeper.sweep
        searches, self._reports = Searches(registry, reads), Reports(registry, store, waiters, owe)
        rules = Rules(self._schemas, Backlogs(registry, reads, self._tenants))
        tasks = Tasks(registry, store, reads, self._upkeep, waiters, rules, owe)
        bulk = Bulk(registry, store, searches, waiters, owe)
        schedules, triggers = self._scheduling.brokers(tasks, bulk)
        return Brokers(
            tasks=tasks,
            claims=self._claims,
            reports=self._reports,
            streams=self._streams,
            searches=searches,
            bulk=bulk,
            watches=self._watches,
            queues=Queues(registry, queue_store, reads, self._presence, self._schemas, sweep),
            presence=self._presence,
            api_keys=self._callers.api_keys,
            trail=self._callers.trail,
            schedules=schedules,
            triggers=triggers,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Ports]:
        """Serves while the block runs, then drains. Raises OSError when a port is taken."""
        settings = self._settings
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self.connection.close)
            stack.callback(self._durability.close)
            stack.push_async_callback(self._schemas.close)
            await stack.enter_async_context(self._daemons())
            grpc_port, target = stack.enter_context(self._entrances.grpc(self._server))
            # It outlives the draining, to tell of it.
            gateway = Gateway(target, self._shared.processes if self._shared else None)
            http_port = await stack.enter_async_context(
                self._entrances.http(gateway, self._shared.listeners if self._shared else ())
            )
            await self.health.check()
            if self.engine.name == "native":
                readers = engines.readers(settings.max_streams + settings.max_watches)
                asyncio.get_running_loop().set_default_executor(readers)
            await self._server.start()
            stack.push_async_callback(self._drain)
            ports = Ports(grpc_port, http_port)
            _log.info(
                "serving",
                extra={
                    "server": self.server_id,
                    **self._entrances.shown(grpc_port, http_port),
                    "engine": self.engine.name,
                    "store": settings.store_place(),
                },
            )
            yield ports

    @contextlib.asynccontextmanager
    async def _daemons(self) -> AsyncIterator[None]:
        settings, registry, owe = self._settings, self._registry, self._courier.owe
        limit = settings.requeue_inspect_limit
        promoter = Promoter(self._upkeep, owe, self._sweeper.sweep)
        reaper = Reaper(self._upkeep, self._waiters, owe, limit=limit, errors=_ERRORS)
        pruner = Pruner(registry, self._upkeep, retention_ms=settings.retention_ms)
        work = (
            lambda: self._wakeups.run(self._waiters),
            self.health.run,
            Timekeeper(registry, self._upkeep, promoter, reaper).run,
            pruner.run,
            self._courier.run,
            self._sweeper.run,
            self._watches.run,
            self._presence.run,
            self._scheduling.run,
            *self._housekeeping.work(self._claims, self._reports),
            *self._callers.work(),
            *self._entrances.work(),
        )
        tasks = [asyncio.get_running_loop().create_task(_for_ever(one)) for one in work]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _drain(self) -> None:
        """NOT_SERVING, streams told, waiting claims answered, calls finished, leases returned."""
        _log.info("draining")
        ends_at = monotonic() + self._settings.drain_seconds
        self.health.drain()
        self._waiters.drain()
        self._watches.drain()
        await self._streams.drain(self._settings.drain_seconds)
        self._callers.gate.close()
        for _ in range(_TURNS):
            await asyncio.sleep(_CLOSING / _TURNS)
        await self._server.stop(max(_LAST_WORDS, ends_at - monotonic()))
        await self._background.drain(_LAST_WORDS)
        await self._callers.leave()
        with contextlib.suppress(CodeQError):
            await self._presence.leave()
        _log.info("stopped")


def _connection(settings: Settings, *, size: int, settling: int = 0) -> Connection:
    """To the store. Raises BadCertificate."""
    files = {
        name: getattr(settings, name)
        for name in ("redis_ca_file", "redis_cert_file", "redis_key_file")
    }
    check_client(files)
    return Connection(
        settings.store_url(),
        timeout=settings.store_timeout_seconds,
        size=size,
        settling=settling,
        tls=Tls(*files.values()),
    )


async def _for_ever(work: Callable[[], Awaitable[None]]) -> None:
    """A daemon that breaks has a bug; the server goes on, and the daemon too."""
    while True:
        try:
            await work()
        except Exception:  # noqa: BLE001 - logged in full
            _log.exception("a daemon broke; it is started again")
        await asyncio.sleep(1.0)


@contextlib.asynccontextmanager
async def doctor(settings: Settings, mode: Mode) -> AsyncIterator[Doctor]:
    """Looks at the store itself, whether a server runs or not."""
    connection = _connection(settings, size=4)
    attempts = RetryPolicy().max_attempts
    try:
        yield Doctor(
            Registry(connection),
            Examining(
                connection,
                mode=mode,
                max_attempts=attempts,
                error=problems.DAMAGED,
            ),
        )
    finally:
        await connection.close()


async def run(settings: Settings, stop: asyncio.Event, ready: Callable[[Ports], None]) -> None:
    """Serves until `stop` is set; calls `ready` with the ports once calls are answered."""
    app = App(settings)
    async with app.running() as ports:
        ready(ports)
        await stop.wait()
