"""grpc.health.v1 with Check, Watch and List, and what it reports.

Services are "" (everything), those of codeq.v1 and one a check of the store,
`store.<check>`. List adds the reasons of what is not serving to its trailing metadata, as JSON
under `x-codeq-health`; the HTTP gateway reads them there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import TYPE_CHECKING, Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from codeq.v1 import admin_service_pb2, codeq_service_pb2, schedule_service_pb2
from codeq_grpc import __version__
from codeq_grpc.core.clock import monotonic
from codeq_grpc.core.errors import CodeQError
from codeq_grpc.store.health import CHECKS, HARMLESS, check_store, describe_store
from codeq_grpc.store.skew import MOST_MS, Skew, measure

if TYPE_CHECKING:
    from collections.abc import Callable

    from codeq_grpc.store.connection import Connection
    from codeq_grpc.store.durability import Durability

    Context = grpc.aio.ServicerContext[Any, Any]

_log = logging.getLogger(__name__)
SERVICES: Final = (
    codeq_service_pb2.DESCRIPTOR.services_by_name["CodeQService"].full_name,
    admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name,
    schedule_service_pb2.DESCRIPTOR.services_by_name["ScheduleService"].full_name,
)
DETAILS_KEY: Final = "x-codeq-health"
_SERVING: Final[Any] = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final[Any] = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN: Final[Any] = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
_APART: Final = (
    f"its clock and this server's differ by more than {MOST_MS} ms; tasks go by the store's"
)
_PERIOD: Final = 1.0
"""Seconds between checks of the store."""


class Health:
    """What is fit to serve; checks the store every second, and logs what has become of it."""

    def __init__(
        self,
        connection: Connection,
        durability: Durability,
        under_way: Callable[[], dict[str, int]],
        trail: Callable[[], dict[str, int]],
    ) -> None:
        self._connection = connection
        self._durability = durability
        self._under_way = under_way
        self._trail = trail
        self._problems: dict[str, str] = {"reachable": "not checked yet"}
        self._store: dict[str, str] = {}
        self._skew: Skew | None = None
        self._apart = False
        self._draining = False
        self._began = monotonic()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """For ever."""
        while True:
            await self.check()
            await asyncio.sleep(_PERIOD)

    async def check(self) -> None:
        """One look at the store."""
        # Rights once, and again while something is wrong: an access list seldom changes.
        problems = await check_store(
            self._connection, self._durability, rights=self._rights_unknown()
        )
        if not problems and (self._problems or not self._store):
            with contextlib.suppress(CodeQError):
                self._store = await describe_store(self._connection)
        if problems != self._problems:
            self._log(problems)
            self._problems = problems
            self._tell()
        if "reachable" not in problems:
            await self._compare_clocks()

    async def _compare_clocks(self) -> None:
        with contextlib.suppress(CodeQError):
            self._skew = await measure(self._connection)
            apart = self._skew.apart(before=self._apart)
            if apart != self._apart:
                self._apart = apart
                more = {"check": "clock", "clock_skew_ms": self._skew.ms}
                if apart:
                    _log.warning("about the store: %s", _APART, extra=more)
                else:
                    _log.info("the store's clock and this server's agree again", extra=more)
                self._tell()

    def _rights_unknown(self) -> bool:
        return not self._problems.keys() <= HARMLESS

    def _log(self, problems: dict[str, str]) -> None:
        for check, reason in problems.items():
            if reason != self._problems.get(check):
                what = "the store is not fit" if check not in HARMLESS else "about the store"
                _log.warning("%s: %s", what, reason, extra={"check": check})
        if self._problems and not problems:
            level = self._durability.level
            _log.info("the store is fit", extra={**self._store, "durability": level.value})

    def drain(self) -> None:
        """NOT_SERVING from now on, so that load balancers look elsewhere."""
        self._draining = True
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def draining(self) -> bool:
        """Whether the server is about to end."""
        return self._draining

    @property
    def changed(self) -> asyncio.Event:
        """Set at the next change of a status; take it before looking at the statuses."""
        return self._changed

    @property
    def ready(self) -> bool:
        """Whether the server can do its work."""
        return self._problems.keys() <= HARMLESS and not self._draining

    def statuses(self) -> dict[str, Any]:
        """Status of every service."""
        whole = _SERVING if self.ready else _NOT_SERVING
        found, unknown = self._found(), "reachable" in self._problems
        checks = {
            f"store.{check}": _NOT_SERVING
            if check in found or (unknown and check != "reachable")
            else _SERVING
            for check in CHECKS
        }
        return {"": whole, **dict.fromkeys(SERVICES, whole), **checks}

    def _found(self) -> dict[str, str]:
        return self._problems | ({"clock": _APART} if self._apart else {})

    def details(self) -> dict[str, Any]:
        """For people: version, uptime, store, calls under way, events that are not in the audit
        trail, and what is wrong by service.
        """
        reasons = {f"store.{check}": reason for check, reason in self._found().items()}
        if self._draining:
            reasons["server"] = "the server is draining"
        return {
            "version": __version__,
            "uptime_seconds": round(monotonic() - self._began, 1),
            "durability": self._durability.level.value,
            "store": self._store,
            "clock_skew_ms": self._skew.ms if self._skew else None,
            "under_way": self._under_way(),
            "audit": self._trail(),
            "reasons": reasons,
        }


class HealthServicer(health_pb2_grpc.HealthServicer):
    """Check, Watch and List."""

    def __init__(self, health: Health) -> None:
        self._health = health

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        """The status of one service; NOT_FOUND for an unknown one."""
        status = self._health.statuses().get(request.service)
        if status is None:
            context.set_code(grpc.StatusCode.NOT_FOUND)
            context.set_details("unknown service")
            return health_pb2.HealthCheckResponse()
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:
        """The status of one service and its changes; SERVICE_UNKNOWN for an unknown one. Ends
        when the server drains, after telling so: a watcher must not hold up its shutdown.
        """
        told = None
        while True:
            # Before the status: whatever changes while that is sent is told of, too.
            changed, draining = self._health.changed, self._health.draining
            status = self._health.statuses().get(request.service, _UNKNOWN)
            if status != told:
                told = status
                await context.write(health_pb2.HealthCheckResponse(status=status))
            if draining:
                return
            await changed.wait()

    async def List(
        self, request: health_pb2.HealthListRequest, context: Context
    ) -> health_pb2.HealthListResponse:
        """The status of every service, and reasons in the trailing metadata."""
        details = json.dumps(self._health.details())
        context.set_trailing_metadata((*context.trailing_metadata(), (DETAILS_KEY, details)))
        statuses = {
            name: health_pb2.HealthCheckResponse(status=status)
            for name, status in self._health.statuses().items()
        }
        return health_pb2.HealthListResponse(statuses=statuses)
