"""Schedules as people make, see and steer them."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

from codeq_grpc.broker.firing import seed_of
from codeq_grpc.broker.pace import unhurried
from codeq_grpc.broker.page_tokens import page_token, place_of
from codeq_grpc.core import limits
from codeq_grpc.core.errors import (
    CodeQError,
    InvalidField,
    QuotaExceeded,
    ScheduleChanged,
    ScheduleExists,
    ScheduleNotFound,
    ScheduleProtected,
    StoreUnavailable,
    VersionNotFound,
)
from codeq_grpc.core.firing import following, start
from codeq_grpc.core.schedules import ANY, Pause
from codeq_grpc.store import calendars
from codeq_grpc.store.keys import Calendar, created_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from codeq_grpc.broker.firing import Bodies
    from codeq_grpc.core.firing import Change
    from codeq_grpc.core.principal import Reach
    from codeq_grpc.core.quotas import Tenants
    from codeq_grpc.core.schedules import Mark, Record, Stored
    from codeq_grpc.store.calendars import CalendarStore
    from codeq_grpc.store.registry import Registry

_TRIES: Final = 20
"""Changes of one schedule that may come between."""
_READ: Final = 50
"""Schedules read in one call: each may be as large as SCHEDULE_BYTES."""
_ID_BYTES: Final = 10


class Found(NamedTuple):
    """A schedule, its next fire times, and when it was made."""

    schedule_id: str
    stored: Stored
    next_times: list[int]
    created_ms: int


class Wanted(NamedTuple):
    """Which schedules: all must hold, empty is no condition."""

    labels: tuple[tuple[str, str], ...] = ()
    command: str = ""
    prefix: str = ""


class Schedules:
    """Schedules of tenants. A caller sees and changes those that enqueue what is within its reach.
    `wake` is told of calendars of which something may be due sooner than before.
    """

    def __init__(
        self,
        registry: Registry,
        store: CalendarStore,
        bodies: Bodies,
        tenants: Tenants,
        wake: Callable[[Calendar], None],
    ) -> None:
        self._registry = registry
        self._store = store
        self._bodies = bodies
        self._tenants = tenants
        self._wake = wake

    async def create(self, reach: Reach, schedule_id: str, change: Change) -> Found:
        """A new schedule. Raises ScheduleExists or QuotaExceeded."""
        calendar = await self._registry.calendar(reach.tenant)
        schedule_id = schedule_id or secrets.token_hex(_ID_BYTES)
        now_ms, _ = await self._store.read(calendar, [])
        word = await self._put(calendar, schedule_id, change, now_ms, None)
        if word == calendars.EXISTS:
            raise ScheduleExists(metadata={"schedule_id": schedule_id})
        return await self.get(reach, schedule_id)

    async def _put(
        self,
        calendar: Calendar,
        schedule_id: str,
        change: Change,
        now_ms: int,
        expect: Mark | None,
    ) -> bytes:
        """OK, EXISTS, MISSING or CHANGED."""
        quotas = self._tenants.of(calendar.tenant)
        most, most_of_creator = quotas.schedules or 0, quotas.schedules_per_creator or 0
        put = await self._store.put(
            calendar,
            schedule_id,
            change.at(now_ms, seed_of(calendar.tenant, schedule_id)),
            expect=expect,
            most=most,
            most_of_creator=most_of_creator,
        )
        if put.word == calendars.FULL:
            raise QuotaExceeded.of("schedules", most)
        if put.word == calendars.FULL_OF_CREATOR:
            raise QuotaExceeded.of("schedules_per_creator", most_of_creator)
        if put.word == calendars.SYSTEM:
            raise ScheduleProtected(metadata={"schedule_id": schedule_id})
        self._wake(calendar)
        return put.word

    async def now_ms(self, reach: Reach) -> int:
        """The time that fire times are held against: the store's."""
        now_ms, _ = await self._store.read(Calendar(reach.tenant), [])
        return now_ms

    async def get(self, reach: Reach, schedule_id: str) -> Found:
        """One schedule. Raises ScheduleNotFound."""
        _, stored = await self.read(reach, schedule_id)
        return self._found(schedule_id, stored)

    async def read(self, reach: Reach, schedule_id: str) -> tuple[int, Stored]:
        """The store's time, and what is stored. Raises ScheduleNotFound."""
        now_ms, (stored,) = await self._store.read(Calendar(reach.tenant), [schedule_id])
        if stored is None or not self._visible(reach, stored):
            raise not_found(schedule_id)
        return now_ms, stored

    async def _read_all(
        self, calendar: Calendar, ids: Sequence[str]
    ) -> tuple[int, list[Stored | None]]:
        """The store's time, and each; a reply may have only some."""
        now_ms, found = await self._store.read(calendar, ids)
        while len(found) < len(ids):
            _, more = await self._store.read(calendar, ids[len(found) :])
            found += more
        return now_ms, found

    def _visible(self, reach: Reach, stored: Stored) -> bool:
        return not reach.patterns or reach.has(self._bodies.command(stored.record.body))

    def _found(self, schedule_id: str, stored: Stored) -> Found:
        rule = self._bodies.rule(stored.record.body)
        times = following(rule, stored.row, limits.NEXT_TIMES)
        return Found(schedule_id, stored, times, created_ms(stored.row.number))

    async def page(
        self, reach: Reach, wanted: Wanted, token: str, path: str, most: int
    ) -> tuple[list[Found], str]:
        """Some schedules, in the order of their ids, as many as a message holds, and the token of
        where to go on, empty at the end. There may be fewer than `most`, even none.
        """
        bound_to = repr(("schedules", reach.tenant, wanted)).encode()
        place = place_of(bound_to, token) if token else b""
        if place is None or (place and not place.isascii()):
            raise InvalidField.at(path, "is not a token that this request gave")
        calendar = Calendar(reach.tenant)
        ids, after = await self._store.page(
            calendar,
            prefix=wanted.prefix,
            after=place.decode(),
            labels=wanted.labels,
            command=wanted.command,
            most=most,
        )
        found, room = list[Found](), limits.BATCH_BYTES
        async for at in unhurried(range(0, len(ids), _READ)):
            part = ids[at : at + _READ]
            _, stored_ones = await self._read_all(calendar, part)
            for schedule_id, stored in zip(part, stored_ones, strict=True):
                if stored is None or not self._visible(reach, stored):
                    continue
                size = len(stored.record.body) + 1_024
                if found and size > room:
                    return found, page_token(bound_to, found[-1].schedule_id.encode())
                found.append(self._found(schedule_id, stored))
                room -= size
        return found, page_token(bound_to, after.encode()) if after else ""

    async def update(
        self,
        reach: Reach,
        schedule_id: str,
        etag: Callable[[Mark], bool],
        change: Callable[[Stored | None], Change | None],
    ) -> Found:
        """Changes a schedule: `change` makes the new one of what is stored, and may be called
        again; of None, if there is none and there may be one. Raises ScheduleNotFound,
        ScheduleChanged if `etag` refuses the current one, and ScheduleProtected.
        """
        calendar = await self._registry.calendar(reach.tenant)
        for _ in range(_TRIES):
            now_ms, (stored,) = await self._store.read(calendar, [schedule_id])
            if stored is not None and not self._visible(reach, stored):
                raise not_found(schedule_id)
            if stored is not None and not etag(stored.row.mark):
                raise ScheduleChanged(metadata={"schedule_id": schedule_id})
            wanted = change(stored)
            if wanted is None:
                raise not_found(schedule_id)
            expect = stored.row.mark if stored is not None else None
            word = await self._put(calendar, schedule_id, wanted, now_ms, expect)
            if word == calendars.OK:
                return await self.get(reach, schedule_id)
        raise StoreUnavailable("too many changes of this schedule at once")

    async def versions(self, reach: Reach, schedule_id: str) -> list[Record]:
        """Those within reach, the newest first. Raises ScheduleNotFound."""
        await self.read(reach, schedule_id)
        found = await self._store.versions(Calendar(reach.tenant), schedule_id)
        return [one for one in found if reach.has(self._bodies.command(one.body))]

    async def version(self, reach: Reach, schedule_id: str, version: int) -> Record:
        """An earlier version. Raises ScheduleNotFound and VersionNotFound."""
        await self.read(reach, schedule_id)
        record = await self._store.version(Calendar(reach.tenant), schedule_id, version)
        # Within reach is what it would enqueue as well.
        if record is None or not reach.has(self._bodies.command(record.body)):
            raise VersionNotFound(metadata={"schedule_id": schedule_id, "version": str(version)})
        return record

    async def delete(self, reach: Reach, schedule_id: str) -> None:
        """Raises ScheduleNotFound and ScheduleProtected."""
        failures = await self.delete_all(reach, [schedule_id])
        for error in failures.values():
            raise error

    async def delete_all(self, reach: Reach, schedule_ids: Sequence[str]) -> dict[int, CodeQError]:
        """Deletes these; what could not be, by place."""
        calendar, failures = Calendar(reach.tenant), dict[int, CodeQError]()
        members = list(enumerate(schedule_ids))
        async for at in unhurried(range(0, len(members), _READ)):
            _, found = await self._members(reach, members[at : at + _READ], failures)
            for i, schedule_id, stored in found:
                # Who is limited to commands deletes what it saw.
                expect = stored.row.mark if reach.patterns else ANY
                word = await self._store.delete(calendar, schedule_id, expect=expect)
                if word != calendars.OK:
                    failures[i] = _REFUSALS[word](metadata={"schedule_id": schedule_id})
        return failures

    async def pause_all(
        self, reach: Reach, schedule_ids: Sequence[str], *, paused: bool, reason: str
    ) -> dict[int, CodeQError]:
        """Pauses these, or lets them go on with the next fire time; what could not be, by place."""
        failures: dict[int, CodeQError] = {}
        members = list(enumerate(schedule_ids))
        async for at in unhurried(range(0, len(members), _READ)):
            left = members[at : at + _READ]
            for _ in range(_TRIES):
                now_ms, found = await self._members(reach, left, failures)
                # One that goes on already is not to lose a fire time.
                found = [one for one in found if paused or one[2].row.paused]
                pauses = [self._pause(reach, one, now_ms, paused=paused) for one in found]
                calendar = Calendar(reach.tenant)
                words = await self._store.pause(calendar, pauses, paused=paused, reason=reason)
                left = []
                for (i, schedule_id, _), word in zip(found, words, strict=True):
                    if word == calendars.CHANGED:
                        left.append((i, schedule_id))
                    elif word != calendars.OK:
                        failures[i] = _REFUSALS[word](metadata={"schedule_id": schedule_id})
                if not left:
                    break
        self._wake(await self._registry.calendar(reach.tenant))
        return failures

    def _pause(self, reach: Reach, member: _Member, now_ms: int, *, paused: bool) -> Pause:
        _, schedule_id, stored = member
        if paused:
            return Pause(schedule_id, stored.row.mark)
        rule = self._bodies.rule(stored.record.body)
        times = start(rule, seed_of(reach.tenant, schedule_id), now_ms)
        return Pause(schedule_id, stored.row.mark, *times)

    async def _members(
        self, reach: Reach, members: Sequence[tuple[int, str]], failures: dict[int, CodeQError]
    ) -> tuple[int, list[_Member]]:
        """Those that there are; the others are failures."""
        ids = [schedule_id for _, schedule_id in members]
        now_ms, found = await self._read_all(Calendar(reach.tenant), ids)
        seen = []
        for (i, schedule_id), stored in zip(members, found, strict=True):
            if stored is None or not self._visible(reach, stored):
                failures[i] = not_found(schedule_id)
            else:
                seen.append((i, schedule_id, stored))
        return now_ms, seen


_Member = tuple[int, str, "Stored"]
_REFUSALS: Final[dict[bytes, type[CodeQError]]] = {
    calendars.MISSING: ScheduleNotFound,
    calendars.CHANGED: ScheduleChanged,
    calendars.SYSTEM: ScheduleProtected,
}


def not_found(schedule_id: str) -> ScheduleNotFound:
    """Also of one that is beyond the caller's reach."""
    return ScheduleNotFound(metadata={"schedule_id": schedule_id})
