"""Firings that people ask for, and those there were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from codeq_grpc.broker.firing import Job
from codeq_grpc.broker.pace import unhurried
from codeq_grpc.broker.page_tokens import page_token, place_of
from codeq_grpc.broker.schedules import not_found
from codeq_grpc.core import limits
from codeq_grpc.core.errors import InvalidField, InvalidState, StoreUnavailable
from codeq_grpc.core.schedules import SKIPPED, TO_ENQUEUE, Cause, Fire, FireTime, Firing, Overlap
from codeq_grpc.core.task import TERMINAL
from codeq_grpc.store import calendars
from codeq_grpc.store.keys import Calendar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codeq_grpc.broker.ends import Ends
    from codeq_grpc.broker.firing import Bodies, Firings
    from codeq_grpc.broker.schedules import Schedules
    from codeq_grpc.core.principal import Reach
    from codeq_grpc.core.schedules import Fired, Settled, Stored
    from codeq_grpc.store.calendars import CalendarStore
    from codeq_grpc.store.registry import Registry

_TRIES: Final = 20
_PART: Final = 200
"""Fire times of a backfill in one step."""


class Told(NamedTuple):
    """A firing, and the state of its task, 0 if there is none or it is gone."""

    firing: Firing
    state: int


class Triggers:
    """Firings of schedules that a caller sees."""

    def __init__(
        self,
        registry: Registry,
        store: CalendarStore,
        bodies: Bodies,
        schedules: Schedules,
        firings: Firings,
        ends: Ends,
    ) -> None:
        self._registry = registry
        self._store = store
        self._bodies = bodies
        self._schedules = schedules
        self._firings = firings
        self._ends = ends

    async def trigger(self, reach: Reach, schedule_id: str, request_key: str) -> Told:
        """Fires now. Raises ScheduleNotFound, and InvalidState if it fired as often as it may."""
        calendar = await self._registry.calendar(reach.tenant)
        for _ in range(_TRIES):
            now_ms, stored = await self._schedules.read(reach, schedule_id)
            times = (FireTime(0, stored.row.last_ms),)
            fire = _fire(schedule_id, stored, Cause.TRIGGER, times, request_key)
            fired = await self._fire(calendar, fire)
            if fired is None:
                continue
            made = [one.firing for one in fired.made]
            settled = await self._carry_out(calendar, now_ms, (schedule_id, stored), made)
            if stored.row.overlap == Overlap.CANCEL_PREVIOUS:
                await self._firings.deliver(calendar)
            told = await self._told(reach, [_settled(one, settled) for one in made])
            return told[0] if told else _waiting(fired.buffered_ms, stored)
        raise StoreUnavailable("too many changes of this schedule at once")

    async def backfill(self, reach: Reach, schedule_id: str, start_ms: int, end_ms: int) -> int:
        """Fires every fire time within [start, end) that has no task; how many tasks that makes.
        Raises ScheduleNotFound and InvalidField.
        """
        now_ms, stored = await self._schedules.read(reach, schedule_id)
        if end_ms > now_ms:
            raise InvalidField.at("end_time", "must not be after now")
        rule = self._bodies.rule(stored.record.body)
        times = rule.between(start_ms, end_ms, limits.BACKFILLED + 1)
        if len(times) > limits.BACKFILLED:
            problem = f"must be sooner: more than {limits.BACKFILLED} fire times lie between"
            raise InvalidField.at("end_time", problem)
        first = rule.latest(-1, times[0] - 1) if times else None
        before = [first or 0, *times]
        wanted = [FireTime(ms, before[i]) for i, ms in enumerate(times)]
        calendar = await self._registry.calendar(reach.tenant)
        count = 0
        async for at in unhurried(range(0, len(wanted), _PART)):
            part = tuple(wanted[at : at + _PART])
            made = await self._backfill(calendar, reach, schedule_id, part)
            count += made
        return count

    async def _backfill(
        self, calendar: Calendar, reach: Reach, schedule_id: str, times: tuple[FireTime, ...]
    ) -> int:
        for _ in range(_TRIES):
            now_ms, stored = await self._schedules.read(reach, schedule_id)
            fired = await self._fire(calendar, _fire(schedule_id, stored, Cause.BACKFILL, times))
            if fired is None:
                continue
            new = [one.firing for one in fired.made if one.new and one.firing.state != SKIPPED]
            settled = await self._carry_out(calendar, now_ms, (schedule_id, stored), new)
            refused = sum(1 for one in new if (s := settled.get(one.name)) and s.reason)
            return len(new) - refused
        raise StoreUnavailable("too many changes of this schedule at once")

    async def _fire(self, calendar: Calendar, fire: Fire) -> Fired | None:
        """None if the schedule changed meanwhile."""
        (fired,) = await self._firings.fire(calendar, [fire])
        if fired.word == calendars.CHANGED:
            return None
        if fired.word == calendars.MISSING:
            raise not_found(fire.schedule_id)
        if fired.word == calendars.ENDED:
            raise InvalidState(
                "the schedule has fired as often as max_firings allows",
                metadata={"schedule_id": fire.schedule_id},
            )
        return fired

    async def _carry_out(
        self,
        calendar: Calendar,
        now_ms: int,
        schedule: tuple[str, Stored],
        firings: Sequence[Firing],
    ) -> dict[bytes, Settled]:
        schedule_id, stored = schedule
        jobs = [
            Job(schedule_id, stored.row, stored.record.body, firing)
            for firing in firings
            if firing.state == TO_ENQUEUE
        ]
        return await self._firings.carry_out(calendar, now_ms, jobs)

    async def page(
        self, reach: Reach, schedule_id: str, token: str, path: str, most: int
    ) -> tuple[list[Told], str]:
        """Some firings, the newest first, and the token of where to go on, empty at the end.
        Raises ScheduleNotFound.
        """
        bound_to = repr(("firings", reach.tenant, schedule_id)).encode()
        before = place_of(bound_to, token) if token else b""
        if before is None or (before and len(before) != limits.FIRING_PLACE_BYTES):
            raise InvalidField.at(path, "is not a token that this request gave")
        await self._schedules.read(reach, schedule_id)
        calendar = Calendar(reach.tenant)
        found = await self._store.firings(calendar, schedule_id, before=before, most=most)
        if found is None:
            raise not_found(schedule_id)
        following = page_token(bound_to, found[-1].place) if len(found) == most else ""
        return await self._told(reach, found), following

    async def _told(self, reach: Reach, firings: Sequence[Firing]) -> list[Told]:
        states = await self._ends.states(
            reach.tenant, [one.task_id for one in firings if one.task_id]
        )
        return [Told(one, states.get(one.task_id, 0) or _as_ended(one)) for one in firings]


def _fire(
    schedule_id: str,
    stored: Stored,
    cause: Cause,
    times: tuple[FireTime, ...],
    request_key: str = "",
) -> Fire:
    return Fire(
        schedule_id=schedule_id,
        expect=stored.row.mark,
        cause=cause,
        times=times,
        request_key=request_key,
    )


def _waiting(fire_ms: int, stored: Stored) -> Told:
    """Of a fire time that waits for a task to end."""
    row = stored.row
    times = fire_ms, fire_ms, row.last_ms
    return Told(Firing(b"", b"", *times, Cause.TRIGGER, 0, False, row.version, "", "", 0, 0), 0)


def _as_ended(firing: Firing) -> int:
    """State of a task that is gone, as the calendar knows it."""
    return firing.state if firing.state in TERMINAL else 0


def _settled(firing: Firing, settled: dict[bytes, Settled]) -> Firing:
    """As it is by now."""
    one = settled.get(firing.name)
    return firing if one is None else firing._replace(task_id=one.task_id, reason=one.reason)
