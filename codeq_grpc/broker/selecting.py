"""Finds the tasks of a queue that match a filter, page by page, with a bounded look a page.

A page token has the number of the place where the search stands and the store's cursor in it, and
is bound to the tenant and the filter. It holds no secret.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from codeq_grpc.broker.pace import unhurried
from codeq_grpc.broker.page_tokens import page_token, place_of
from codeq_grpc.broker.tasks import as_record
from codeq_grpc.core import limits
from codeq_grpc.core.errors import InvalidField
from codeq_grpc.core.task import TaskState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from codeq_grpc.core.records import Filter, Record
    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.reads import Reads
    from codeq_grpc.store.registry import Registry

_ORDER: Final = (
    TaskState.IN_PROGRESS,
    TaskState.PENDING,
    TaskState.SCHEDULED,
    TaskState.BLOCKED,
    TaskState.FAILED,
    TaskState.CANCELLED,
    TaskState.EXPIRED,
    TaskState.COMPLETED,
)
_BY_LABEL: Final = (0,)
_LABEL_CURSOR: Final = re.compile(rb".{7}", re.DOTALL)
_LIST_CURSOR: Final = re.compile(rb"[0-9].{7}[0-9]{1,12}|k.*", re.DOTALL)
_TIME_CURSOR: Final = re.compile(rb".{7}[0-9]{1,16}", re.DOTALL)
"""What the scan script gives: who makes up a token is not to make it stumble."""
_LOOK: Final = 10_000
"""Tasks that a call looks at, at most."""
_READ: Final = 100
"""Tasks read in one call."""


class Place(NamedTuple):
    """Where a search stands: which of its places, and the store's cursor there."""

    at: int = 0
    cursor: bytes = b""


class Found(NamedTuple):
    """Names of tasks that match, where to go on, None at the end, and how many more the call may
    look at.
    """

    names: list[bytes]
    next: Place | None
    left: int


class Search:
    """One filter on one queue of one tenant."""

    def __init__(self, reads: Reads, tenant: str, queue: Queue, wanted: Filter) -> None:
        self.queue = queue
        self._reads = reads
        self._wanted = wanted
        if not wanted.states:
            self._wanted = wanted._replace(states=frozenset(map(int, _ORDER)))
        states = self._wanted.states
        self._places = _BY_LABEL if wanted.labels else tuple(int(s) for s in _ORDER if s in states)
        self._bound_to = repr((tenant, queue.command, _canonical(wanted))).encode()

    def token(self, place: Place | None) -> str:
        """Text for callers; empty at the end."""
        if place is None:
            return ""
        return page_token(self._bound_to, bytes((place.at,)) + place.cursor)

    def place(self, token: str, path: str) -> Place:
        """What `token` made; raises InvalidField for anything else."""
        if not token:
            return Place()
        where = place_of(self._bound_to, token)
        if where is None or not self._is_place(where[0], where[1:]):
            raise InvalidField.at(path, "is not a token that this request gave")
        return Place(where[0], where[1:])

    def _is_place(self, index: int, cursor: bytes) -> bool:
        if index >= len(self._places):
            return False
        return not cursor or _cursors(self._places[index]).fullmatch(cursor) is not None

    async def look(
        self, place: Place, most: int, left: int = _LOOK, step: int = limits.SCRIPT_BATCH
    ) -> Found:
        """Up to `most` names from there on; fewer, even none, does not mean the end. Looks at up to
        `left` tasks, a script call at `step`.
        """
        names: list[bytes] = []
        if not self.queue.number:
            return Found(names, None, left)
        index, cursor = place
        while left > 0 and len(names) < most:
            found, cursor, looked = await self._reads.scan(
                self.queue,
                self._places[index],
                self._wanted,
                cursor,
                most=min(most - len(names), step),
                budget=min(left, step),
            )
            names += found
            left -= looked
            if not cursor:
                index += 1
            if index == len(self._places):
                return Found(names, None, left)
        return Found(names, Place(index, cursor), left)

    async def read(
        self, place: Place, most: int, *, full: bool
    ) -> tuple[list[Record], Place | None]:
        """Up to `most` tasks from there on, as many as a message holds."""
        records: list[Record] = []
        room, left, at = limits.BATCH_BYTES, _LOOK, place
        while len(records) < most and left > 0:
            names, following, left = await self.look(at, min(_READ, most - len(records)), left)
            if names:
                stored = await self._reads.read(self.queue, names, full=full, max_bytes=room)
                while len(stored) < len(names):
                    # What did not fit is for the next page. Others may have come or gone by now.
                    names, following, _ = await self.look(at, len(stored))
                    stored = await self._reads.read(self.queue, names, full=full, max_bytes=room)
                taken = [
                    as_record(self.queue, name, one)
                    for name, one in zip(names, stored, strict=False)
                    if one is not None
                ]
                size = sum(_size(record) for record in taken)
                if records and size > room:
                    return records, at
                records += taken
                room -= size
            if following is None or room < limits.BATCH_BYTES // 8:
                return records, following
            at = following
        return records, at


def _cursors(place: int) -> re.Pattern[bytes]:
    if place == _BY_LABEL[0]:
        return _LABEL_CURSOR
    return _LIST_CURSOR if place == TaskState.PENDING else _TIME_CURSOR


def _size(record: Record) -> int:
    return sum(len(part) for part in record if isinstance(part, bytes)) + 256


def _canonical(wanted: Filter) -> tuple[object, ...]:
    return (*wanted[0:1], sorted(wanted.states), sorted(wanted.labels), *wanted[3:])


class Searches:
    """Begins searches."""

    def __init__(self, registry: Registry, reads: Reads) -> None:
        self._registry = registry
        self._reads = reads

    async def begin(self, tenant: str, wanted: Filter) -> Search:
        """A search; of a queue that does not exist it finds nothing."""
        queue = await self._registry.find(tenant, wanted.command)
        return Search(self._reads, tenant, queue, wanted)

    async def pages(
        self, tenant: str, wanted: Filter, token: str, path: str, most: int
    ) -> AsyncIterator[tuple[Search, list[bytes], str]]:
        """Pages of up to a bulk script's batch, till `most` names were given or a call's look is
        over; with each the token of where to go on.
        """
        search = await self.begin(tenant, wanted)
        place: Place | None = search.place(token, path)
        size, left = limits.BULK_BATCH, _LOOK
        async for _ in unhurried(range(most)):
            if most <= 0 or left <= 0 or place is None:
                return
            names, place, left = await search.look(place, min(most, size), left, size)
            most -= len(names)
            yield search, names, search.token(place)
