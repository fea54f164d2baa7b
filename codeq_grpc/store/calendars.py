"""Schedules of a tenant: its calendar. What is to be fired is decided and written down in one step,
and owed from then on until its task is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from codeq_grpc.core.schedules import ANY
from codeq_grpc.store.calls import Calls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codeq_grpc.core.schedules import (
        Due,
        Ended,
        Fire,
        Fired,
        Firing,
        Mark,
        NewSchedule,
        Owed,
        Pause,
        Pruned,
        Put,
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
REQUEST_KEY_MS: Final = 86_400_000
"""How long a repeat of TriggerSchedule is known."""


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
        raise NotImplementedError

    async def delete(
        self, calendar: Calendar, schedule_id: str, *, expect: Mark = ANY, system: bool = False
    ) -> bytes:
        """OK, MISSING, CHANGED, or SYSTEM unless those may be, too. Firings whose task is not there
        yet are dropped; the others' tasks go on and are nobody's.
        """
        raise NotImplementedError

    async def read(
        self, calendar: Calendar, schedule_ids: Sequence[str]
    ) -> tuple[int, list[Stored | None]]:
        """The store's time, and each; at most 1000."""
        raise NotImplementedError

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
        raise NotImplementedError

    async def versions(self, calendar: Calendar, schedule_id: str) -> list[Record]:
        """The newest first; empty if there is no such schedule."""
        raise NotImplementedError

    async def version(self, calendar: Calendar, schedule_id: str, version: int) -> Record | None:
        """One that is kept, or the current one."""
        raise NotImplementedError

    async def pause(
        self, calendar: Calendar, pauses: Sequence[Pause], *, paused: bool, reason: str = ""
    ) -> list[bytes]:
        """Of each OK, MISSING or CHANGED. Makes no new version. Resuming needs the next times;
        pausing drops a fire time that waits for a task to end, as skipped for overlap.
        """
        raise NotImplementedError

    async def due(self, calendar: Calendar, most: int, *, for_ms: int) -> Due:
        """Schedules to look at now, kept from others for a while."""
        raise NotImplementedError

    async def fire(self, calendar: Calendar, fires: Sequence[Fire]) -> list[Fired]:
        """Of each FIRED, CHANGED, MISSING, ENDED or BUSY; see `Fired`. At most 200, and at
        most 1000 fire times and misfires in all.
        """
        raise NotImplementedError

    async def owed(self, calendar: Calendar, most: int, *, for_ms: int) -> tuple[int, list[Owed]]:
        """The store's time, and what is to be done now for firings, kept from others for a while;
        the longest due first.
        """
        raise NotImplementedError

    async def settle(self, calendar: Calendar, settled: Sequence[Settled]) -> int:
        """What came of what was owed. Gives how many buffered fire times are owed now."""
        raise NotImplementedError

    async def conclude(self, calendar: Calendar, ended: Sequence[Ended]) -> int:
        """Tasks have ended: counts them, once each; pauses schedules that fail too often. Gives how
        many buffered fire times are owed now.
        """
        raise NotImplementedError

    async def firings(
        self, calendar: Calendar, schedule_id: str, *, before: bytes = b"", most: int = 50
    ) -> list[Firing] | None:
        """The newest first, from before the `place` of one; None if there is no such schedule."""
        raise NotImplementedError

    async def prune(
        self, calendar: Calendar, cursor: bytes, *, most: int, before_ms: int
    ) -> Pruned:
        """A step over the calendar (the first one from b""): forgets firings whose fire time is
        before that, unless they are open, and what deleted schedules left.
        """
        raise NotImplementedError

    async def peek(self, calendars: Sequence[Calendar]) -> list[tuple[int, int]]:
        """The store's time, and when each calendar must be looked at next, 0 for never; at once if
        something is wrong with it.
        """
        raise NotImplementedError
