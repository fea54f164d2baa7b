"""Keeps the leases of a worker alive and hears which are lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from codeq.v1.codeq_service_pb2 import DIRECTIVE_KIND_CANCEL, DIRECTIVE_KIND_LEASE_LOST
from codeq_grpc.client.errors import code_of
from codeq_grpc.core import clock
from codeq_grpc.core.errors import CodeQError
from codeq_grpc.worker import progress
from codeq_grpc.worker.leases import key_of
from codeq_grpc.worker.refusals import FATAL

if TYPE_CHECKING:
    from collections.abc import Callable

    from codeq.v1.codeq_service_pb2 import HeartbeatResponse
    from codeq_grpc.worker.leases import Lease, Leases
    from codeq_grpc.worker.outages import Outages
    from codeq_grpc.worker.progress import Teller
    from codeq_grpc.worker.runner import Runner

_TIMEOUT_MAX: Final = 10.0
_TIMEOUT_MIN: Final = 0.5
_REPEAT_MAX: Final = 2.0


class Heartbeats:
    """One loop for all leases: a call for those past a third of their time or with progress."""

    def __init__(
        self,
        teller: Teller,
        leases: Leases,
        runner: Runner,
        outages: Outages,
        *,
        on_fatal: Callable[[CodeQError], None],
    ) -> None:
        self._teller = teller
        self._leases = leases
        self._runner = runner
        self._outages = outages
        self._on_fatal = on_fatal

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            await self._leases.until_due()
            if not await self.tick():
                shortest = min((lease.length for lease in self._leases), default=_REPEAT_MAX)
                await self._outages.rest(min(_REPEAT_MAX, shortest / 10))

    async def tick(self) -> bool:
        """Ends leases whose time is over and extends those that are due; whether all went well."""
        now = clock.monotonic()
        for lease in self._leases:
            if lease.deadline <= now:
                self._end(lease, now)
        due = [lease for lease in self._leases if lease.due_at <= now or lease.comes_along(now)]
        for batch in progress.cut(due):
            if not await self._beat(batch):
                return False
        return True

    def _end(self, lease: Lease, now: float) -> None:
        if lease.reporting:
            # The report decides: it may have been applied, only its answer is missing.
            lease.beat_at = now + lease.length / 3
        else:
            self._runner.lose(lease.ref, "its time was over before a heartbeat got through")

    async def _beat(self, leases: list[Lease]) -> bool:
        sent = clock.monotonic()
        shortest = min(lease.length for lease in leases)
        timeout = min(_TIMEOUT_MAX, max(_TIMEOUT_MIN, shortest / 4))
        try:
            response = await self._teller.beat(leases, timeout=timeout)
        except CodeQError as error:
            if code_of(error) in FATAL:
                self._on_fatal(error)
            self._outages.failed("cannot extend leases", error)
            return False
        self._outages.over()
        self._obey(response, leases, sent)
        return True

    def _obey(self, response: HeartbeatResponse, leases: list[Lease], sent: float) -> None:
        orders = {key_of(order.lease): order for order in response.directives}
        for lease in leases:
            order = orders.get(lease.key)
            if order is not None and order.kind == DIRECTIVE_KIND_LEASE_LOST:
                lease.beat_at = sent + lease.length / 3
                self._runner.lose(lease.ref, order.reason)
                continue
            # From the moment of sending: the server's extension began no earlier.
            lease.extend(sent)
            if order is not None and order.kind == DIRECTIVE_KIND_CANCEL:
                self._runner.withdraw(lease.ref, order.reason)
