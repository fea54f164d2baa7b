"""Brings tasks in: streams whose credits add up to the free slots.

A stream that ends leaves its leases with the worker, and their slots are taken until they are
reported. The next stream therefore asks for the free slots only. As the leases left behind come
to an end, their slots would stay empty, so another stream asks for them: when as many are free
as are still left behind, so that n slots make log2(n) + 1 streams at most.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import grpc

from codeq.v1 import codeq_service_pb2 as pb
from codeq_grpc.client.errors import code_of
from codeq_grpc.core import clock, limits
from codeq_grpc.core.errors import CodeQError
from codeq_grpc.worker.backoff import Backoff
from codeq_grpc.worker.leases import Grant
from codeq_grpc.worker.refusals import FATAL

if TYPE_CHECKING:
    from collections.abc import Callable

    from codeq_grpc.client import Client
    from codeq_grpc.worker.leases import Leases
    from codeq_grpc.worker.outages import Outages
    from codeq_grpc.worker.runner import Runner

logger = logging.getLogger(__name__)

_FATAL: Final = FATAL | {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED}
_IDLE_INTERVAL: Final = limits.IDLE_INTERVAL_DEFAULT_MS / 1000
_GATHER: Final = 0.1
"""Seconds that the first stream waits for more slots than one to come free."""
_QUIET: Final = 0.1
_CLOSE_MAX: Final = 1.0


class Intake:
    """Keeps streams open for the free ones of `slots`. `request` is copied for each."""

    def __init__(
        self,
        client: Client,
        request: pb.StreamClaimRequest,
        leases: Leases,
        runner: Runner,
        outages: Outages,
        *,
        slots: int,
        on_fatal: Callable[[CodeQError], None],
    ) -> None:
        self._client = client
        self._request = request
        self._leases = leases
        self._runner = runner
        self._outages = outages
        self._slots = slots
        self._on_fatal = on_fatal
        self._backoff = Backoff()
        self._open: set[Grant] = set()
        self._closing = False

    async def run(self) -> None:
        """Opens streams, again when they end, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while credit := await self._free():
                grant = Grant(credit)
                self._open.add(grant)
                group.create_task(self._serve(grant))

    async def quiet(self) -> None:
        """Opens no more streams and waits until none has a task on its way to us.

        For this moment nothing may be reported, so that no credit comes back: a stream that
        has delivered all it may is silent then, and one that has been silent for a while has
        nothing to deliver. What is put on the wire in the very moment of closing would wait for
        its lease to end.
        """
        self._closing = True
        self._leases.freed.set()
        started = clock.monotonic()
        while (now := clock.monotonic()) < started + _CLOSE_MAX:
            if all(
                grant.held >= grant.credit or now - max(started, grant.received_at) >= _QUIET
                for grant in self._open
            ):
                return
            await asyncio.sleep(_QUIET / 10)

    async def _free(self) -> int:
        """Waits until a stream is worth opening; returns its credit, 0 when closing."""
        gathered = False
        while not self._closing:
            self._leases.freed.clear()
            left = len(self._leases) - sum(grant.held for grant in self._open)
            free = self._slots - sum(grant.credit for grant in self._open) - left
            if free > 0 and (free >= left or (gathered and not self._open)):
                return free
            gathered = await self._changed(_GATHER if free > 0 and not self._open else None)
        return 0

    async def _changed(self, limit: float | None) -> bool:
        """Waits for a slot to come free; True when `limit` seconds passed first."""
        try:
            async with asyncio.timeout(limit):
                await self._leases.freed.wait()
        except TimeoutError:
            return True
        return False

    async def _serve(self, grant: Grant) -> None:
        """One stream from its opening to its end, and the pause that must follow."""
        try:
            pause = await self._read(grant)
            await asyncio.sleep(self._backoff.next() if pause is None else pause)
        except TimeoutError:
            logger.warning("the stream is silent, opening another")
            await asyncio.sleep(self._backoff.next())
        except CodeQError as error:
            if code_of(error) in _FATAL:
                self._on_fatal(error)
                return
            self._outages.failed("no tasks for now", error)
            await self._outages.rest(max(self._backoff.next(), error.retry_after or 0.0))
        finally:
            grant.open = False
            self._open.discard(grant)
            self._leases.freed.set()

    async def _read(self, grant: Grant) -> float | None:
        """Takes in a stream until it ends; seconds until the next one if the server told so."""
        request = pb.StreamClaimRequest()
        request.CopyFrom(self._request)
        request.max_outstanding = grant.credit
        messages = self._client.stream_claim(request)
        silence = 2 * _IDLE_INTERVAL
        async with aclosing(messages) as stream:
            while True:
                async with asyncio.timeout(silence):
                    message = await anext(stream, None)
                if message is None:
                    return None
                kind = message.WhichOneof("message")
                if kind == "opened":
                    silence = 2 * _interval(message.opened)
                    logger.debug("stream %s: %d", message.opened.stream_id, grant.credit)
                    self._outages.over()
                    continue
                # Not before: a server that opens streams only to break them must not be hurried.
                self._backoff.reset()
                if kind == "batch":
                    self._runner.receive(self._leases.add(message.batch.tasks, grant))
                elif kind == "directive":
                    self._obey(message.directive)
                elif kind == "drain":
                    return message.drain.reconnect_delay.ToTimedelta().total_seconds()

    def _obey(self, directive: pb.Directive) -> None:
        if directive.kind == pb.DIRECTIVE_KIND_LEASE_LOST:
            self._runner.lose(directive.lease, directive.reason)
        elif directive.kind == pb.DIRECTIVE_KIND_CANCEL:
            self._runner.withdraw(directive.lease, directive.reason)


def _interval(opened: pb.StreamOpened) -> float:
    return opened.idle_interval.ToTimedelta().total_seconds() or _IDLE_INTERVAL
