"""Runs handlers: never more at once than there are slots, each to exactly one end."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from codeq_grpc.core import clock
from codeq_grpc.worker import outcomes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from codeq.v1.codeq_service_pb2 import Outcome
    from codeq.v1.task_pb2 import LeaseRef
    from codeq_grpc.worker.handlers import Handlers
    from codeq_grpc.worker.leases import Lease, Leases
    from codeq_grpc.worker.reports import Reports

logger = logging.getLogger(__name__)


class Runner:
    """Takes received leases, starts their handlers, hands their ends to `reports`."""

    def __init__(
        self, handlers: Handlers, leases: Leases, reports: Reports, *, concurrency: int
    ) -> None:
        self._handlers = handlers
        self._leases = leases
        self._reports = reports
        self._concurrency = concurrency
        self._waiting: deque[Lease] = deque()
        self._running: set[Lease] = set()
        self._loop = asyncio.get_running_loop()
        self._accepting = True
        self._cancelled = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def running(self) -> int:
        """Handlers that run now."""
        return len(self._running)

    def receive(self, leases: Iterable[Lease]) -> None:
        """Starts what was received, as far as slots are free; gives it back while draining."""
        if self._accepting:
            self._waiting.extend(leases)
            self._fill()
            return
        for lease in leases:
            self._reports.add(lease, outcomes.abandoned(lease.ref))

    def lose(self, ref: LeaseRef, reason: str) -> None:
        """The lease is lost: stops its handler, reports nothing.

        Not so for one whose report is under way, as the server forgets a lease the moment it
        applies the report: the answer to the report tells which of both it was.
        """
        lease = self._leases.find(ref)
        if lease is None or lease.reporting:
            return
        logger.warning("lease lost: %s (%s)", lease.context, reason or "no reason given")
        lease.context.lost.set()
        self._reports.forget(lease)
        self._stop(lease)

    def withdraw(self, ref: LeaseRef, reason: str) -> None:
        """The task is to be cancelled: tells its handler and reports how it takes that.

        Not so for one whose report is under way: that decides.
        """
        lease = self._leases.find(ref)
        if lease is None or lease.reporting or lease.context.cancelled.is_set():
            return
        logger.info("to be cancelled: %s (%s)", lease.context, reason or "no reason given")
        lease.context.cancelled.set(reason)
        if lease.runner is None:
            self._reports.add(lease, outcomes.cancelled(ref, reason))
        elif not self._handlers.runs_in_thread(lease.context.command):
            self._stop(lease)

    def stop(self) -> None:
        """Starts nothing more and gives back what waits; what runs goes on."""
        self._accepting = False
        waiting, self._waiting = self._waiting, deque()
        self.receive(lease for lease in waiting if lease.held and not lease.reporting)

    def cancel(self) -> None:
        """Cancels what runs; it is given back unless a handler ends all the same."""
        self._cancelled = True
        for lease in list(self._running):
            self._stop(lease)

    def give_up(self) -> None:
        """Gives back what runs even now; its handlers have ignored their cancellation."""
        for lease in self._running:
            if lease.held and not lease.reporting:
                logger.warning("still running, given back: %s", lease.context)
                self._reports.add(lease, outcomes.abandoned(lease.ref))

    async def until_idle(self) -> None:
        """Waits until no handler runs."""
        await self._idle.wait()

    def _fill(self) -> None:
        now = clock.monotonic()
        while self._waiting and len(self._running) < self._concurrency:
            lease = self._waiting.popleft()
            if lease.held and not lease.reporting:
                lease.started_at = now
                lease.runner = self._loop.create_task(self._run(lease), name=lease.key[0])
                self._running.add(lease)
                self._idle.clear()

    def _stop(self, lease: Lease) -> None:
        """Cancels the handler of a lease, if it runs."""
        if lease.runner is None:
            return
        lease.runner.cancel()
        if not lease.begun and lease in self._running:
            # A task that is cancelled before its first step never gets to `_run`.
            self._ended(lease, self._cut_short(lease))

    async def _run(self, lease: Lease) -> None:
        """One attempt, which hands in its end itself: a callback would cost a turn of the loop."""
        lease.begun = True
        context, outcome = lease.context, None
        try:
            outcome = outcomes.completed(lease.ref, await self._handlers.call(context))
        except asyncio.CancelledError as error:
            if context.lost.is_set() or context.cancelled.is_set() or self._cancelled:
                outcome = self._cut_short(lease)
            else:
                # Something inside the handler was cancelled, not the handler: an error like others.
                outcome = outcomes.failed(lease.ref, error)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is gets reported
            outcome = outcomes.failed(lease.ref, error)
        finally:
            self._ended(lease, outcome)

    def _ended(self, lease: Lease, outcome: Outcome | None) -> None:
        """An attempt is through; it is not reported if its lease is lost."""
        self._running.discard(lease)
        if outcome is not None and lease.held and not lease.reporting:
            self._reports.add(lease, outcome)
        if self._waiting:
            self._fill()
        if not self._running:
            self._idle.set()
            self._reports.flush_soon()

    @staticmethod
    def _cut_short(lease: Lease) -> Outcome:
        """The end of an attempt that was cancelled from here."""
        if lease.context.cancelled.is_set():
            return outcomes.cancelled(lease.ref, lease.context.cancelled.reason)
        return outcomes.abandoned(lease.ref)
