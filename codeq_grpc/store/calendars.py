"""Schedules of a tenant: its calendar. What is to be fired is decided and written down in one step,
and owed from then on until its task is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from codeq_grpc.core import limits
from codeq_grpc.core.errors import CodeQError
from codeq_grpc.core.schedules import ANY, Due, Fired, Owed, Pruned, Put, Taken
from codeq_grpc.store import scripts
from codeq_grpc.store.calendar_rows import (
    creator_term,
    pack_fire,
    pack_new,
    read_firing,
    read_firings,
    read_made,
    read_record,
    read_row,
    read_stored,
    term_of,
)
from codeq_grpc.store.calls import Calls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codeq_grpc.core.schedules import (
        Ended,
        Fire,
        Firing,
        Mark,
        NewSchedule,
        Pause,
        Record,
        Settled,
        Stored,
    )
    from codeq_grpc.store.connection import Connection
    from codeq_grpc.store.keys import Calendar

OK, EXISTS, MISSING, CHANGED, SYSTEM = b"OK", b"EXISTS", b"MISSING", b"CHANGED", b"SYSTEM"
FULL, FULL_OF_CREATOR, ENDED, BUSY, FIRED = b"FULL", b"CREATOR", b"ENDED", b"BUSY", b"FIRED"
VERSIONS: Final = 20
"""Of a schedule that are kept, the current one among them."""
_LOOKED_AT: Final = 2_000
"""Entries that a page is made of at most."""


class CalendarStore(Calls):
    """Each method is one script call, and one of its words is the verdict. Whatever is repeated
    after a lost reply changes nothing more; `firings_kept` of each schedule are, and open ones.
    """

    def __init__(self, connection: Connection, *, firings_kept: int = 100) -> None:
        super().__init__(connection)
        self._kept = firings_kept

    async def put(
        self,
        calendar: Calendar,
        schedule_id: str,
        new: NewSchedule,
        *,
        expect: Mark | None,
        most: int = 0,
        most_of_creator: int = 0,
    ) -> Put:
        """Makes a schedule (`expect` None) or gives it a new version (`expect` what it must be, or
        ANY). OK; EXISTS; MISSING; CHANGED; SYSTEM: it is one of codeQ's own and `new` is not; FULL
        or FULL_OF_CREATOR if it were one more than the tenant or its creator may have (0: any
        number; codeQ's own do not count). The row is that after it, or else as it is, and None if
        there is none.
        """
        args = (
            *(schedule_id, "NEW" if expect is None else "CHANGE", *_mark(expect or ANY)),
            *(most, most_of_creator, VERSIONS, creator_term(new), *pack_new(new)),
        )
        word, *rest = await self._run(scripts.PUT_SCHEDULE, calendar, args)
        return Put(word, read_row(rest[0]) if rest else None)

    async def delete(
        self, calendar: Calendar, schedule_id: str, *, expect: Mark = ANY, system: bool = False
    ) -> bytes:
        """OK, MISSING, CHANGED, or SYSTEM unless those may be, too. Firings whose task is not there
        yet are dropped; the others' tasks go on and are nobody's.
        """
        args = (schedule_id, *_mark(expect), int(system))
        return bytes((await self._run(scripts.DELETE_SCHEDULE, calendar, args))[0])

    async def read(
        self, calendar: Calendar, schedule_ids: Sequence[str]
    ) -> tuple[int, list[Stored | None]]:
        """The store's time, and each, up to 1000; as many as fit into a message, one at least."""
        args = (limits.BATCH_BYTES, *schedule_ids)
        _, now, *told = await self._run(scripts.READ_SCHEDULES, calendar, args)
        it = iter(told)
        return now, [
            read_stored(row, record, count) if row else None
            for row, record, count in zip(it, it, it, strict=True)
        ]

    async def page(
        self,
        calendar: Calendar,
        *,
        prefix: str = "",
        after: str = "",
        labels: Sequence[tuple[str, str]] = (),
        command: str = "",
        most: int = 50,
    ) -> tuple[list[str], str]:
        """Ids in order, behind `after`, that begin with `prefix`, have all of the labels and
        enqueue the command, if one is given; and behind which to go on, '' at the end. It may be
        fewer than `most`, even none, and yet not the end: a call looks at a bounded number.
        """
        terms = [term_of("l", *label) for label in labels]
        terms += [term_of("c", command)] if command else []
        args = (
            after if after >= prefix else "",
            prefix,
            most,
            _LOOKED_AT,
            *(terms or [term_of("i")]),
        )
        _, place, *found = await self._run(scripts.LIST_SCHEDULES, calendar, args)
        return [one.decode() for one in found], place.decode()

    async def versions(self, calendar: Calendar, schedule_id: str) -> list[Record]:
        """The newest first; empty if there is no such schedule."""
        return await self._versions(calendar, schedule_id, 0)

    async def version(self, calendar: Calendar, schedule_id: str, version: int) -> Record | None:
        """One that is kept, or the current one."""
        found = await self._versions(calendar, schedule_id, version)
        return found[0] if found else None

    async def _versions(self, calendar: Calendar, schedule_id: str, version: int) -> list[Record]:
        args = (schedule_id, version, VERSIONS, limits.BATCH_BYTES)
        reply = await self._run(scripts.SCHEDULE_VERSIONS, calendar, args)
        return [read_record(raw) for raw in reply[1:]]

    async def pause(
        self, calendar: Calendar, pauses: Sequence[Pause], *, paused: bool, reason: str = ""
    ) -> list[bytes]:
        """Of each OK, MISSING or CHANGED. Makes no new version. Resuming needs the next times. A
        fire time that waits for a task is skipped for overlap if that ends while it is paused.
        """
        args: list[Any] = [int(paused), reason]
        for one in pauses:
            args += (one.schedule_id, *_mark(one.expect), one.next_ms, one.act_ms)
        words: list[bytes] = (await self._run(scripts.PAUSE_SCHEDULES, calendar, args))[1:]
        return words

    async def due(self, calendar: Calendar, most: int, *, for_ms: int) -> Due:
        """Schedules to look at now, kept from others for a while."""
        args = (most, for_ms, limits.BATCH_BYTES)
        _, now, next_ms, *told = await self._run(scripts.DUE_SCHEDULES, calendar, args)
        it = iter(told)
        return Due(
            now,
            next_ms,
            [
                Taken(schedule_id.decode(), read_stored(row, record, count))
                for schedule_id, row, record, count in zip(it, it, it, it, strict=True)
            ],
        )

    async def fire(
        self, calendar: Calendar, fires: Sequence[Fire], *, for_ms: int = 0
    ) -> list[Fired]:
        """Of each FIRED, CHANGED, MISSING, ENDED or BUSY; see `Fired`. At most 200, and at
        most 1000 fire times and misfires in all. What is owed of that is kept from others for a
        while: the caller has it.
        """
        args: list[Any] = [self._kept, for_ms]
        for one in fires:
            args += pack_fire(one)
        it = iter((await self._run(scripts.FIRE_SCHEDULES, calendar, args))[1:])
        return [
            Fired(word, read_made(made), read_firings(busy), waiting)
            for word, made, busy, waiting in zip(it, it, it, it, strict=True)
        ]

    async def owed(self, calendar: Calendar, most: int, *, for_ms: int) -> tuple[int, list[Owed]]:
        """The store's time, and what is to be done now for firings, kept from others for a while;
        the longest due first.
        """
        args = (most, for_ms, limits.BATCH_BYTES)
        _, now, *told = await self._run(scripts.OWED_FIRINGS, calendar, args)
        it = iter(told)
        return now, [
            Owed(name.decode(), read_firing(place, raw), read_row(row), read_record(record), till)
            for name, place, raw, row, record in zip(it, it, it, it, it, strict=True)
            for till in (now + for_ms,)
        ]

    async def settle(self, calendar: Calendar, settled: Sequence[Settled]) -> int:
        """What came of what was owed. Gives how many buffered fire times are owed now."""
        args: list[bytes | str | int] = []
        for one in settled:
            args.append(one.name)
            if one.task_id:
                args += ("MADE", one.task_id)
            elif one.reason:
                args += ("SKIPPED", one.reason)
            else:
                args += ("AGAIN", one.again_ms) if one.again_ms else ("CANCELLED", "")
        return int((await self._run(scripts.SETTLE_FIRINGS, calendar, args))[1])

    async def conclude(self, calendar: Calendar, ended: Sequence[Ended]) -> int:
        """Tasks have ended: counts them, once each; pauses schedules that fail too often. Gives how
        many buffered fire times are owed now.
        """
        args: list[Any] = []
        for name, task_id, state, start_ms, end_ms in ended:
            args += (name, task_id, int(state), start_ms, end_ms)
        return int((await self._run(scripts.CONCLUDE_FIRINGS, calendar, args))[1])

    async def firings(
        self, calendar: Calendar, schedule_id: str, *, before: bytes = b"", most: int = 50
    ) -> list[Firing] | None:
        """The newest first, from before the `place` of one; None if there is no such schedule."""
        reply = await self._run(scripts.LIST_FIRINGS, calendar, (schedule_id, before, most))
        return read_firings(reply[1:]) if reply[0] == OK else None

    async def prune(
        self, calendar: Calendar, cursor: bytes, *, most: int, before_ms: int
    ) -> Pruned:
        """A step over the calendar (the first one from b""): forgets firings whose fire time is
        before that, unless they are open, and what deleted schedules left: of one of them at most,
        so that there may be more as long as something was removed.
        """
        args = (cursor, most, before_ms)
        _, removed, cursor = await self._run(scripts.PRUNE_CALENDAR, calendar, args)
        return Pruned(removed, cursor)

    async def peek(self, calendars: Sequence[Calendar]) -> list[tuple[int, int]]:
        """The store's time, and when each calendar must be looked at next, 0 for never; at once if
        something is wrong with it.
        """
        script, replies = scripts.PEEK_CALENDAR, list[Any]()
        for at in range(0, len(calendars), limits.SCRIPT_BATCH):
            part = calendars[at : at + limits.SCRIPT_BATCH]
            calls = [([one.keys[s] for s in script.suffixes], ()) for one in part]
            replies += await self._connection.run_each(script, calls)
        return [(1, 1) if isinstance(told, CodeQError) else (told[1], told[2]) for told in replies]


def _mark(mark: Mark) -> tuple[bytes, int]:
    return mark.number or bytes(7), mark.version
