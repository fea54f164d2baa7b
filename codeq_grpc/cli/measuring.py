"""Enqueues, works and verifies in one process, against a server that runs."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from codeq_grpc.cli.connection import Failure, describe
from codeq_grpc.cli.verifying import Ledger
from codeq_grpc.client import Client
from codeq_grpc.core import clock, limits
from codeq_grpc.core.errors import CodeQError, QueueNotFound
from codeq_grpc.worker import Reject, Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from codeq.v1.task_pb2 import TaskSpec
    from codeq_grpc.cli.progress import Advance
    from codeq_grpc.worker import Ended, TaskContext

STALLED: Final = 10.0
"""Seconds without any end after which what is missing counts as lost."""
_PICKED: Final = 200
"""Tasks that are sent one by one."""
_PAUSE: Final = 0.002
RETENTION: Final = 1.0
"""Seconds for which the server keeps what has ended in a queue that a measurement has made."""
_UNENDED: Final = ("pending", "scheduled", "blocked", "in_progress")
_HELD: Final = {
    True: _UNENDED,
    False: (*_UNENDED, "failed", "completed", "cancelled", "expired"),
}
"""The tasks for the sake of which a queue is left alone; of our own ones and of others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done."""

    queue: str
    tasks: int
    batch: int
    size: int
    concurrency: int
    keep: bool
    force: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was measured. Rates a second, times in ms."""

    enqueue_rate: float
    cycle_rate: float
    p50: float
    p99: float
    lost: int
    duplicates: int
    damaged: int


class Measuring:
    """One measurement. `say` takes remarks, `advance` how many tasks have ended."""

    def __init__(self, plan: Plan, say: Callable[[str], None], advance: Advance) -> None:
        self._plan = plan
        self._say = say
        self._advance = advance
        self._ledger = Ledger(plan.size)
        self._arrivals: dict[int, float] = {}
        self._foreign = 0
        self._ended_at = 0.0
        self._news = asyncio.Event()
        self._stopped = False
        """The worker has ended by itself."""
        self._counting = False

    async def run(self, client: Client) -> Found:
        """Measures, and clears away what it has made.

        Raises:
            Failure: The queue holds tasks, or other tasks keep the worker from ours.
            CodeQError: The server refuses something, or does not answer.
        """
        own = await self._is_own(client)
        stats = (await client.queues([self._plan.queue])).queues
        held = sum(getattr(queue, state) for queue in stats for state in _HELD[own])
        if held and not self._plan.force:
            raise Failure(
                f"the queue {self._plan.queue} holds {held:,} tasks; --queue names another one,"
                " --force runs all the same"
            )
        try:
            async with self._working(client):
                waits = await self._pick_up(client)
                return await self._throughput(client, waits)
        finally:
            await self._clear(client, own=own)

    async def _is_own(self, client: Client) -> bool:
        """Whether the queue is not there yet, or was made by a measurement, as its retention
        tells: what has ended in it is about to be deleted.
        """
        try:
            queue = await client.get_queue(self._plan.queue)
        except QueueNotFound:
            return True
        return queue.retention.ToTimedelta().total_seconds() == RETENTION

    @contextlib.asynccontextmanager
    async def _working(self, client: Client) -> AsyncIterator[None]:
        """The worker; what ends it ends the measurement."""
        concurrency = self._plan.concurrency
        worker = Worker(
            client,
            {self._plan.queue: self._handle},
            concurrency=concurrency,
            prefetch=min(3 * concurrency, limits.MAX_OUTSTANDING - concurrency),
            on_ended=self._on_ended,
        )
        running = asyncio.create_task(worker.run())
        running.add_done_callback(self._on_stopped)
        try:
            yield
        finally:
            worker.abort()
            await asyncio.wait({running})
            if not running.cancelled() and (error := running.exception()) is not None:
                raise error

    def _on_stopped(self, _: object) -> None:
        self._stopped = True
        self._news.set()

    async def _handle(self, task: TaskContext) -> None:
        now = clock.monotonic()
        if not self._ledger.is_ours(task.payload):
            # Somebody else's: it is held until the end and then given back, as it was.
            self._foreign += 1
            self._news.set()
            await asyncio.Event().wait()
        number = self._ledger.came(task.payload)
        if number is None:
            raise Reject("damaged on its way")
        self._arrivals[number] = now

    def _on_ended(self, end: Ended) -> None:
        payload, outcome = end.context.payload, end.outcome
        completed = outcome is not None and outcome.WhichOneof("outcome") == "complete"
        if completed and self._ledger.is_ours(payload):
            self._ledger.ended(payload)
            self._ended_at = clock.monotonic()
            if self._counting:
                self._advance(1)
            self._news.set()

    async def _rest(self) -> None:
        """Until everything has ended, or nothing comes any more."""
        began = clock.monotonic()
        while self._ledger.open and not self._stopped:
            if self._foreign >= self._plan.concurrency:
                raise Failure(
                    f"{self._foreign} other tasks of {self._plan.queue} keep the worker from"
                    " those of the bench; --queue names another one"
                )
            left = max(self._ended_at, began) + STALLED - clock.monotonic()
            if left <= 0:
                return
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._news.wait()

    def _spec(self) -> TaskSpec:
        return Client.spec(self._plan.queue, self._ledger.payload()[1])

    async def _pick_up(self, client: Client) -> list[float]:
        """Milliseconds from the call to the handler, one task after the other."""
        waits = []
        for _ in range(min(_PICKED, self._plan.tasks)):
            number, payload = self._ledger.payload()
            spec = Client.spec(self._plan.queue, payload)
            began = clock.monotonic()
            await client.enqueue_spec(spec)
            await self._rest()
            if number not in self._arrivals or self._ledger.open:
                break  # lost, or the worker has ended; what follows would only wait again
            waits.append((self._arrivals.pop(number) - began) * 1_000)
            await asyncio.sleep(_PAUSE)
        return sorted(waits)

    async def _throughput(self, client: Client, waits: list[float]) -> Found:
        """All at once, unless the worker has got into trouble before."""
        plan = self._plan
        count = 0 if self._ledger.open else plan.tasks
        self._counting = True
        specs = (self._spec() for _ in range(count))
        began = clock.monotonic()
        async for result in client.enqueue_many(specs, batch_size=plan.batch):
            if isinstance(result, CodeQError):
                raise result
        enqueued = clock.monotonic()
        await self._rest()
        ended, lost = max(self._ended_at, enqueued), self._ledger.open
        return Found(
            enqueue_rate=count / (enqueued - began),
            cycle_rate=max(0, count - lost) / (ended - began),
            p50=_quantile(waits, 0.5),
            p99=_quantile(waits, 0.99),
            lost=lost,
            duplicates=self._ledger.duplicates,
            damaged=self._ledger.damaged,
        )

    async def _clear(self, client: Client, *, own: bool) -> None:
        """Cancels what is left and lets all of it go, if the queue is ours."""
        plan = self._plan
        if not own:
            self._say(f"the tasks are kept in {plan.queue}, which was there before")
            return
        try:
            if plan.keep:
                # A measurement before this one may have shortened it.
                await client.update_queue(plan.queue, retention=None)
                self._say(f"the tasks are kept in {plan.queue}")
                return
            # Not AdminCleanup, which would delete what ended in other queues, too.
            await client.update_queue(plan.queue, retention=RETENTION)
            if not plan.force:
                await client.purge_queue(plan.queue)
        except CodeQError as error:
            self._say(f"the tasks are kept in {plan.queue}: {describe(error)}")
        else:
            self._say(f"the server deletes the tasks of {plan.queue} within a minute")


def _quantile(ordered: list[float], share: float) -> float:
    """The value below which this share lies; 0 for none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
