"""Fires: takes schedules that are due, has the calendar decide and write down, and enqueues what it
owes from then on. Every server does, any step of any calendar; what one leaves another takes up.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from codeq_grpc.core import limits
from codeq_grpc.core.errors import (
    CodeQError,
    QueueFull,
    QuotaExceeded,
    SchemaUnavailable,
    StoreFull,
    StoreUnavailable,
)
from codeq_grpc.core.firing import Moment, plan
from codeq_grpc.core.principal import Reach
from codeq_grpc.core.schedules import TO_ENQUEUE, Fire, Misfire, Settled
from codeq_grpc.store.calendars import BUSY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from codeq_grpc.broker.bulk import Bulk, Cancel
    from codeq_grpc.broker.ends import Ends
    from codeq_grpc.broker.tasks import Enqueued, Tasks
    from codeq_grpc.core.firing import FireTimes
    from codeq_grpc.core.records import NewTask
    from codeq_grpc.core.schedules import Due, Fired, Firing, Row, Taken
    from codeq_grpc.store.calendars import CalendarStore
    from codeq_grpc.store.keys import Calendar

_log = logging.getLogger(__name__)
_STEP: Final = 200
"""Schedules, or firings that are owed, of one step."""
_STEPS: Final = 5
"""So often at once, before other calendars have their turn."""
_TIMES: Final = 1_000
"""Fire times in one call of the store, those that are told as misfires among them."""
_EACH: Final = 500
"""Fire times of one schedule in one step."""
_AT_ONCE: Final = 4
"""Portions of one calendar that are carried out side by side."""
_KEPT_MS: Final = 5_000
"""How long what was taken is kept from other servers."""
_LATER: Final = (QuotaExceeded, QueueFull, SchemaUnavailable, StoreFull, StoreUnavailable)
"""What may be otherwise soon."""
_FIRST_MS: Final = 1_000
_LONGEST_MS: Final = 30_000
"""Between tries."""


class Bodies(Protocol):
    """Opens stored schedules."""

    def rule(self, body: bytes) -> FireTimes:
        """When a schedule fires."""

    def command(self, body: bytes) -> str:
        """What it enqueues."""

    def task(self, body: bytes, schedule_id: str, firing: Firing) -> NewTask:
        """The task of a firing, always the same."""


class Job(NamedTuple):
    """A firing that has to be carried out, and what of its schedule that needs."""

    schedule_id: str
    row: Row
    body: bytes
    firing: Firing


def seed_of(tenant: str, schedule_id: str) -> bytes:
    """What the offsets of a schedule depend on."""
    return f"{tenant}/{schedule_id}".encode()


class Firings:
    """Fires the schedules of all tenants. `superseded` is the error that a task keeps which a later
    firing of its schedule cancelled.
    """

    def __init__(
        self,
        store: CalendarStore,
        bodies: Bodies,
        tasks: Tasks,
        bulk: Bulk,
        ends: Ends,
        superseded: Cancel,
    ) -> None:
        self._store = store
        self._bodies = bodies
        self._tasks = tasks
        self._bulk = bulk
        self._ends = ends
        self._superseded = superseded

    async def step(self, calendar: Calendar) -> None:
        """Fires some of what is due, and carries out some of what is owed."""
        carrying: list[asyncio.Task[Any]] = []
        try:
            for _ in range(_STEPS):
                due = await self._store.due(calendar, _STEP, for_ms=_KEPT_MS)
                if due.taken:
                    await self._fire_due(calendar, due, carrying)
                if len(due.taken) < _STEP:
                    break
        finally:
            await _all(carrying)
        await self.deliver(calendar)

    async def deliver(self, calendar: Calendar) -> None:
        """Carries out some of what other steps left: of servers that died, or were refused."""
        now_ms, owed = await self._store.owed(calendar, _STEP, for_ms=_KEPT_MS)
        jobs = [Job(one.schedule_id, one.row, one.record.body, one.firing) for one in owed]
        await self.carry_out(calendar, now_ms, jobs)

    async def _fire_due(
        self, calendar: Calendar, due: Due, carrying: list[asyncio.Task[Any]]
    ) -> None:
        """Has the calendar write down what fires; it is carried out while more is written down."""
        wanted: list[tuple[Taken, Fire]] = []
        for taken in due.taken:
            try:
                wanted.append((taken, self._planned(calendar, taken, due.now_ms)))
            except Exception:  # noqa: BLE001 - a schedule that cannot be read must not stop others
                _log.exception("the schedule %s cannot be fired", taken.schedule_id)
        for part in _parts(wanted):
            fired = await self.fire(calendar, [fire for _, fire in part])
            jobs = [
                Job(taken.schedule_id, taken.stored.row, taken.stored.record.body, made.firing)
                for (taken, _), one in zip(part, fired, strict=True)
                for made in one.made
                if made.new
            ]
            work = self.carry_out(calendar, due.now_ms, jobs)
            carrying.append(asyncio.get_running_loop().create_task(work))
            await _fewer(carrying)

    def _planned(self, calendar: Calendar, taken: Taken, now_ms: int) -> Fire:
        row, seed = taken.stored.row, seed_of(calendar.tenant, taken.schedule_id)
        rule = self._bodies.rule(taken.stored.record.body)
        policy = Misfire(row.misfire), row.grace_ms, seed
        found = plan(rule, Moment(now_ms, row.next_ms, row.last_ms, *policy), _EACH)
        return Fire(
            schedule_id=taken.schedule_id,
            expect=row.mark,
            times=found.times,
            missed=found.misfired,
            misfires=found.misfired_count,
            expected_next_ms=row.next_ms,
            next_ms=found.next_ms,
            act_ms=found.act_ms,
        )

    async def fire(self, calendar: Calendar, fires: Sequence[Fire]) -> list[Fired]:
        """What came of each. Where tasks that run decide, their queues are asked first: that they
        have ended may not have been told yet.
        """
        fired = await self._store.fire(calendar, fires, for_ms=_KEPT_MS)
        busy = [i for i, one in enumerate(fired) if one.word == BUSY]
        if busy:
            await self._ends.ask(calendar, [f for i in busy for f in fired[i].open])
            again = [_checked(fires[i]) for i in busy]
            told = await self._store.fire(calendar, again, for_ms=_KEPT_MS)
            for i, one in zip(busy, told, strict=True):
                fired[i] = one
        return fired

    async def carry_out(
        self, calendar: Calendar, now_ms: int, jobs: Sequence[Job]
    ) -> dict[bytes, Settled]:
        """Enqueues what is owed, and cancels what is not to go on; gives what came of firings, by
        name. What a server that dies leaves is carried out again: each task is there once.
        """
        done: dict[bytes, Settled] = {}
        for portion in _portions(jobs):
            done |= await self._carry_out(calendar, now_ms, portion)
        return done

    async def _carry_out(
        self, calendar: Calendar, now_ms: int, jobs: Sequence[Job]
    ) -> dict[bytes, Settled]:
        owed = [job for job in jobs if job.firing.state == TO_ENQUEUE]
        settled: list[Settled] = []
        ready: list[tuple[Job, NewTask]] = []
        for job in owed:
            try:
                ready.append((job, self._bodies.task(job.body, job.schedule_id, job.firing)))
            except CodeQError as error:
                settled.append(Settled(job.firing.name, reason=error.reason))
        enqueued: list[tuple[bytes, str]] = []
        results = await self._enqueue(calendar, [task for _, task in ready])
        for (job, _), result in zip(ready, results, strict=True):
            if isinstance(result, CodeQError):
                settled += _refused(job, result, now_ms)
            else:
                settled.append(Settled(job.firing.name, result.task_id))
                enqueued.append((job.firing.name, result.task_id))
        # Nobody else tells of those that have ended by now: they are owed until that is done, and
        # one that goes on after all, redriven, until it is followed.
        going_on = set[bytes]()
        for queue, ends in (await self._ends.follow(calendar, enqueued)).items():
            going_on |= {end.firing for end in await self._ends.tell(queue, ends)}
        if over := [one for one in settled if one.name not in going_on]:
            await self._store.settle(calendar, over)
        done = {one.name: one.task_id for one in settled}
        superseded = [job.firing for job in jobs if job.firing.cancel]
        await self._cancel(
            calendar,
            [f._replace(task_id=done.get(f.name, "")) if f.name in done else f for f in superseded],
        )
        return {one.name: one for one in settled}

    async def _enqueue(
        self, calendar: Calendar, tasks: Sequence[NewTask]
    ) -> Sequence[Enqueued | CodeQError]:
        if not tasks:
            return []
        try:
            return await self._tasks.enqueue(Reach(calendar.tenant), tasks, atomic=False)
        except CodeQError as error:
            return [error] * len(tasks)

    async def _cancel(self, calendar: Calendar, firings: Sequence[Firing]) -> None:
        """A later firing takes the place of these."""
        with_task = [firing for firing in firings if firing.task_id]
        if not with_task:
            return
        task_ids = [firing.task_id for firing in with_task]
        await self._bulk.cancel(Reach(calendar.tenant), task_ids, self._superseded)
        await self._store.settle(calendar, [Settled(firing.name) for firing in with_task])


async def _fewer(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Returns when few of these go on."""
    while len(going := [task for task in tasks if not task.done()]) >= _AT_ONCE:
        await asyncio.wait(going, return_when=asyncio.FIRST_COMPLETED)


async def _all(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Returns when all are over; raises what the first of them raised."""
    if tasks:
        await asyncio.wait(tasks)
    errors = [task.exception() for task in tasks if not task.cancelled()]
    for error in errors:
        if error is not None:
            raise error


def _parts(wanted: list[tuple[Taken, Fire]]) -> Iterable[list[tuple[Taken, Fire]]]:
    """As many as fit into one call."""
    part: list[tuple[Taken, Fire]] = []
    room = _TIMES
    for one in wanted:
        size = len(one[1].times) + len(one[1].missed)
        if part and size > room:
            yield part
            part, room = [], _TIMES
        part.append(one)
        room -= size
    if part:
        yield part


def _portions(jobs: Sequence[Job]) -> Iterable[list[Job]]:
    """As many as a message may hold: every task is made of its schedule anew."""
    portion: list[Job] = []
    room = limits.BATCH_BYTES
    for job in jobs:
        if portion and len(job.body) > room:
            yield portion
            portion, room = [], limits.BATCH_BYTES
        portion.append(job)
        room -= len(job.body)
    if portion:
        yield portion


def _checked(fire: Fire) -> Fire:
    return Fire(**{name: getattr(fire, name) for name in fire.__slots__} | {"checked": True})


def _refused(job: Job, error: CodeQError, now_ms: int) -> list[Settled]:
    """Later again, within the grace; else it is skipped."""
    firing = job.firing
    if isinstance(error, StoreUnavailable):
        return []  # it is owed still, and is taken again after a while
    if isinstance(error, _LATER):
        age = max(now_ms - firing.actual_ms, 0)
        again_ms = now_ms + min(max(age, _FIRST_MS), _LONGEST_MS)
        if again_ms <= firing.actual_ms + max(job.row.grace_ms, limits.SECOND):
            return [Settled(firing.name, again_ms=again_ms)]
    return [Settled(firing.name, reason=error.reason)]
