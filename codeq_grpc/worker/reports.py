"""Reports ends in batches, until the server has taken each or its lease is over."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from codeq_grpc.client.errors import code_of
from codeq_grpc.core import clock, limits
from codeq_grpc.core.errors import CodeQError, LeaseLost, TaskNotFound
from codeq_grpc.wire.errors import from_item
from codeq_grpc.worker import outcomes
from codeq_grpc.worker.backoff import Backoff
from codeq_grpc.worker.refusals import FATAL, refuses

if TYPE_CHECKING:
    from collections.abc import Callable

    from codeq.v1.codeq_service_pb2 import Outcome
    from codeq_grpc.client import Client
    from codeq_grpc.worker.context import TaskContext
    from codeq_grpc.worker.leases import Lease, Leases
    from codeq_grpc.worker.outages import Outages
    from codeq_grpc.worker.progress import Teller

    Batch = list[tuple[Lease, Outcome]]

logger = logging.getLogger(__name__)

_ENOUGH: Final = 100
"""So many ends are worth a call at once, or half as many as the worker has slots ..."""
_DELAY: Final = 0.002
"""... and fewer this many seconds after the first of them."""
_CALLS: Final = 4
"""Calls at a time; what ends meanwhile makes the next call larger."""
_TIMEOUT: Final = 10.0
_FRAMING: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An attempt that the worker is through with."""

    context: TaskContext
    """The attempt."""
    outcome: Outcome | None
    """What the server has taken; None when the lease was lost."""
    seconds: float
    """From the start of the handler to now."""


class Reports:
    """Ends to report. `on_ended` hears of each that is through, `on_fatal` of the last error."""

    def __init__(
        self,
        client: Client,
        teller: Teller,
        leases: Leases,
        outages: Outages,
        *,
        slots: int,
        on_ended: Callable[[Ended], None] | None,
        on_fatal: Callable[[CodeQError], None],
    ) -> None:
        self._client = client
        self._teller = teller
        self._leases = leases
        self._outages = outages
        self._on_ended = on_ended
        self._on_fatal = on_fatal
        self._loop = asyncio.get_running_loop()
        self._many = min(_ENOUGH, max(1, slots // 2))
        self._pending: deque[tuple[Lease, Outcome]] = deque()
        self._calls: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Handle | None = None
        self._on_hold = False

    def add(self, lease: Lease, outcome: Outcome) -> None:
        """Reports the end of an attempt, soon."""
        lease.reporting = True
        self._pending.append((lease, outcome))
        count = len(self._pending)
        if count >= _ENOUGH:
            self._flush()
        elif count == self._many:
            # Half of the slots: to keep them waiting would starve a worker of few. Not at once, as
            # those that end in the same turn of the loop share the call.
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_soon(self._flush)
        elif self._timer is None:
            self._timer = self._loop.call_later(_DELAY, self._flush)

    def flush_soon(self) -> None:
        """Nothing more is about to end: reports what there is without the usual delay."""
        if self._pending:
            self._flush()

    def forget(self, lease: Lease) -> None:
        """The lease is lost: there is nothing to report."""
        self._through(lease, None)

    def hold(self) -> None:
        """Keeps ends to itself until `release`; calls under way go on."""
        self._on_hold = True

    def release(self) -> None:
        """Goes on after `hold`."""
        self._on_hold = False
        self._flush()

    async def drained(self) -> None:
        """Waits until everything is reported."""
        while self._pending or self._calls:
            self._flush()
            await asyncio.wait(self._calls, return_when=asyncio.FIRST_COMPLETED)

    def close(self) -> None:
        """Stops reporting."""
        self._on_hold = True
        if self._timer is not None:
            self._timer.cancel()
        for call in self._calls:
            call.cancel()

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._pending and len(self._calls) < _CALLS and not self._on_hold:
            call = asyncio.create_task(self._report(self._take()))
            self._calls.add(call)
            call.add_done_callback(self._called)

    def _called(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if not call.cancelled() and (error := call.exception()) is not None:
            logger.error("reporting failed", exc_info=error)
        self._flush()

    def _take(self) -> Batch:
        batch: Batch = []
        size = 0
        while self._pending and len(batch) < limits.BATCH_TASKS:
            size += self._pending[0][1].ByteSize() + _FRAMING
            if batch and size > limits.BATCH_BYTES:
                break
            batch.append(self._pending.popleft())
        return batch

    async def _report(self, batch: Batch) -> None:
        """Reports a batch, again and again until nothing of it is left."""
        backoff = Backoff()
        while batch:
            try:
                # Before its end, or the next attempt would begin without the checkpoint.
                await self._teller.flush(
                    [lease for lease, outcome in batch if not outcome.HasField("complete")]
                )
                response = await self._client.report(
                    [outcome for _, outcome in batch], timeout=_TIMEOUT
                )
            except CodeQError as error:
                if refuses(error) and len(batch) > 1:
                    # One of them is at fault; which one, halving finds out.
                    middle = len(batch) // 2
                    await self._report(batch[:middle])
                    batch = batch[middle:]
                    continue
                self._outages.failed("cannot report", error)
                batch = self._after(batch, [(at, error) for at in range(len(batch))])
            else:
                self._outages.over()
                batch = self._after(
                    batch, [(item.index, from_item(item)) for item in response.failures]
                )
            if batch:
                await self._outages.rest(backoff.next())
                batch = self._in_time(batch)

    def _after(self, batch: Batch, failures: list[tuple[int, CodeQError]]) -> Batch:
        """Lets go what the server took, or will never take; returns what to repeat."""
        if not failures:
            for lease, outcome in batch:
                self._through(lease, outcome)
            return []
        again: Batch = []
        errors = dict(failures)
        for at, (lease, outcome) in enumerate(batch):
            error = errors.get(at)
            if error is None:
                self._through(lease, outcome)
            elif isinstance(error, LeaseLost | TaskNotFound):
                logger.warning("too late, lease lost: %s", lease.context)
                self._through(lease, None)
            elif code_of(error) in FATAL:
                self._on_fatal(error)
                self._through(lease, None)
            elif not refuses(error):
                again.append((lease, outcome))
            elif outcome.WhichOneof("outcome") == "complete":
                # The attempt would end the same way next time, so it fails for good.
                logger.warning("result refused: %s: %s", lease.context, error)
                again.append((lease, outcomes.refused(lease.ref, error.reason, error.message)))
            else:
                logger.error("end refused: %s: %s", lease.context, error)
                self._through(lease, None)
        return again

    def _in_time(self, batch: Batch) -> Batch:
        now = clock.monotonic()
        for lease, _ in batch:
            if lease.deadline <= now:
                logger.warning("not reported before the lease was over: %s", lease.context)
                self._through(lease, None)
        return [(lease, outcome) for lease, outcome in batch if lease.held]

    def _through(self, lease: Lease, outcome: Outcome | None) -> None:
        self._leases.release(lease)
        if self._on_ended is None:
            return
        seconds = clock.monotonic() - lease.started_at
        try:
            self._on_ended(Ended(context=lease.context, outcome=outcome, seconds=seconds))
        except Exception:  # an observer must not cost the rest of the batch its answer
            logger.exception("on_ended failed")
