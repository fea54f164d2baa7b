"""Checks every index of every queue against the rows of its tasks, and back, in bounded steps.

A script sees all that it needs of a task at one moment, so that what it tells is so. Two things
take several looks, since no script may go through a whole list, or see two queues:

- A pending task is in no list. Nothing in a list moves but towards its head, so that a walk from
  the tail meets whatever stays. A task that has not changed since the walk began was to be met.
- A blocked task is unknown to one that it waits for. It was to be told first, and only then what
  waited in the outbox was taken out; so it is unknown for good if it still waits afterwards.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final

from codeq_grpc.broker.pace import rest
from codeq_grpc.core import limits
from codeq_grpc.core.clock import monotonic
from codeq_grpc.core.findings import Look
from codeq_grpc.core.principal import Reach
from codeq_grpc.store.examining import CALENDAR_PARTS, ENTRIES, PARTS, Suspect
from codeq_grpc.store.keys import API_KEYS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from codeq_grpc.core.findings import Finding
    from codeq_grpc.store.examining import Blocked, Examining, Pending
    from codeq_grpc.store.keys import Calendar, Queue
    from codeq_grpc.store.registry import Registry

_PASSES: Final = 3
"""Over a queue in which something was mended: what mends one may bring another to light."""


class _Lists:
    """Which tasks stand in the lists of a queue, by a walk from the tail of each."""

    def __init__(self) -> None:
        self._began_ms = self._latest_ms = 0
        self.missed: list[Suspect] = []
        self._met: list[set[bytes]] = [set() for _ in range(limits.PRIORITY_MAX + 1)]
        self._twice: set[bytes] = set()

    def clock(self, now_ms: int) -> None:
        """When a look was. If time went back, "since the walk began" means nothing any more."""
        self._began_ms = self._began_ms or now_ms
        self._latest_ms, went_back = max(now_ms, self._latest_ms), now_ms < self._latest_ms
        if went_back:
            self._began_ms, self.missed = -1, []

    async def walk(self, examining: Examining, queue: Queue) -> AsyncIterator[int]:
        """Gives how many entries each step met."""
        for priority, met in enumerate(self._met):
            skip, edge = 0, b""
            while True:
                now, names = await examining.entries(queue, priority, skip)
                self.clock(now)
                skip += len(names)
                # Newer ones at the tail have moved some of the last step's into this one.
                fresh = names[: names.index(edge)] if edge in names else names
                self._twice.update(met.intersection(fresh))
                self._twice.update(name for name, times in Counter(fresh).items() if times > 1)
                met.update(names)
                yield len(names)
                if len(names) < ENTRIES:
                    break
                edge = names[0]

    def compare(self, pending: Sequence[Pending]) -> list[Suspect]:
        """Notes which of these were not met; gives those that were met twice, and may not."""
        self.missed += [
            Suspect(one.name, one.changed_ms)
            for one in pending
            if one.changed_ms < self._began_ms and one.name not in self._met[one.priority]
        ]
        return [
            Suspect(one.name, one.changed_ms)
            for one in pending
            if one.name in self._twice and not one.twice
        ]


def _breaks_scripts(one: Finding) -> bool:
    return one.kind in {"wrong_type", "bad_field"} and not one.mended


class Doctor:
    """Looks at everything, and rests after each step as `pace` has it, given when that began."""

    def __init__(
        self,
        registry: Registry,
        examining: Examining,
        pace: Callable[[float], Awaitable[None]] = rest,
    ) -> None:
        self._registry = registry
        self._examining = examining
        self._rest = pace
        self.reads_queues = True
        """Unless the registry, when it was looked at last, did not tell which there are."""

    async def queues(self) -> list[Queue]:
        """Every queue that is registered."""
        return await self._examining.queues()

    async def examine_registry(self) -> AsyncIterator[Look]:
        """Steps over the names and numbers of queues, for queues that have none, and over what
        there is of each tenant.
        """
        self.reads_queues = True
        async for look in self._till_none_is_mended(Doctor._registry_pass):
            left = {one.where for one in look.findings if _breaks_scripts(one)}
            self.reads_queues = self.reads_queues and "numbers" not in left
            yield look

    async def examine_keys(self) -> AsyncIterator[Look]:
        """Steps over API keys, in an order in which what mends one is seen in the next."""
        async for look in self._till_none_is_mended(Doctor._keys_pass):
            yield look

    async def calendars(self) -> list[Calendar]:
        """Every calendar that is registered."""
        return await self._examining.calendars()

    async def examine_calendar(self, calendar: Calendar) -> AsyncIterator[Look]:
        """Steps over the schedules of a tenant and their firings."""
        walk = partial(Doctor._calendar_pass, calendar=calendar)
        async for look in self._till_none_is_mended(walk):
            yield look

    async def examine(self, queue: Queue) -> AsyncIterator[Look]:
        """Steps over one queue."""
        async for look in self._till_none_is_mended(partial(Doctor._pass, queue=queue)):
            yield look

    async def _till_none_is_mended(
        self, walk: Callable[[Doctor], AsyncIterator[Look]]
    ) -> AsyncIterator[Look]:
        """What is left is what the last walk tells, and that one mends nothing."""
        for _ in range(_PASSES if self._examining.mends else 0):
            mended, left = False, []
            async for look in walk(self):
                done = [one for one in look.findings if one.mended]
                left += [one for one in look.findings if not one.mended]
                mended = mended or bool(done)
                yield look._replace(findings=done)
            if not mended:
                yield Look("", "left", 0, left)
                return
        looking = Doctor(self._registry, self._examining.only_looking(), self._rest)
        async for look in walk(looking):
            yield look

    async def _registry_pass(self) -> AsyncIterator[Look]:
        _, findings = await self._examining.registry("keys", b"0")
        yield Look("", "keys", 0, findings)
        if any(map(_breaks_scripts, findings)):
            return
        async for look in self._walk(self._examining.registry, ("numbers", "names", "order")):
            yield look
        scanned = -1
        while scanned:
            began = monotonic()
            scanned, findings = await self._examining.unregistered(max(0, scanned))
            yield Look("", "names", 0, findings)
            await self._rest(began)
        for tenant in sorted({queue.tenant for queue in await self.queues()}):
            yield Look("", "live", 0, await self._examining.live(tenant))

    async def _keys_pass(self) -> AsyncIterator[Look]:
        async for look in self._walk(self._examining.api_keys, API_KEYS):
            yield look

    async def _calendar_pass(self, calendar: Calendar) -> AsyncIterator[Look]:
        examine = partial(self._examining.calendar, calendar)
        _, findings = await examine("keys", b"0")
        yield Look(f"{calendar.tenant}/", "keys", 0, findings)
        if not any(map(_breaks_scripts, findings)):
            async for look in self._walk(examine, CALENDAR_PARTS):
                yield look._replace(queue=f"{calendar.tenant}/")

    async def _walk(
        self,
        examine: Callable[[str, bytes], Awaitable[tuple[bytes, list[Finding]]]],
        parts: Iterable[str],
    ) -> AsyncIterator[Look]:
        for part in parts:
            cursor = b"0"
            while cursor:
                began = monotonic()
                cursor, findings = await examine(part, cursor)
                yield Look("", part, 0, findings)
                await self._rest(began)

    async def _pass(self, queue: Queue) -> AsyncIterator[Look]:
        name = f"{queue.tenant}/{queue.command}"
        vitals = await self._examining.vitals(queue)
        yield Look(name, "keys", 0, vitals)
        if any(map(_breaks_scripts, vitals)):
            return
        lists, began = _Lists(), monotonic()
        async for met in lists.walk(self._examining, queue):
            yield Look(name, "lists", met, [])
            await self._rest(began)
            began = monotonic()
        for part in PARTS:
            async for look in self._part(queue, part, lists):
                yield look
            async for look in self._missed(queue, lists):
                yield look

    async def _missed(self, queue: Queue, lists: _Lists) -> AsyncIterator[Look]:
        """The newest first: each is put before the last ones, at the head."""
        missed, lists.missed = sorted(lists.missed), []
        while missed:
            began = monotonic()
            missed, last = missed[: -limits.BULK_BATCH], missed[-limits.BULK_BATCH :]
            findings = await self._confirm(queue, "UNLISTED", last)
            yield Look(f"{queue.tenant}/{queue.command}", "lists", 0, findings)
            await self._rest(began)

    async def _part(self, queue: Queue, part: str, lists: _Lists) -> AsyncIterator[Look]:
        cursor = b"0"
        while cursor:
            began = monotonic()
            seen = await self._examining.part(queue, part, cursor)
            cursor = seen.cursor
            lists.clock(seen.now_ms)
            doubled = await self._confirm(queue, "TWICE", lists.compare(seen.pending))
            unfollowed = await self._followed(queue, seen.blocked)
            findings = [*seen.findings, *doubled, *unfollowed]
            yield Look(f"{queue.tenant}/{queue.command}", part, seen.looked, findings)
            await self._rest(began)

    async def _confirm(self, queue: Queue, what: str, suspects: list[Suspect]) -> list[Finding]:
        findings = []
        for at in range(0, len(suspects), limits.BULK_BATCH):
            part = suspects[at : at + limits.BULK_BATCH]
            seen = await self._examining.confirm(queue, what, part)
            findings += seen.findings
        return findings

    async def _followed(self, queue: Queue, blocked: Sequence[Blocked]) -> list[Finding]:
        pairs: dict[Queue, list[tuple[bytes, Blocked, str]]] = {}
        suspects: dict[bytes, Suspect] = {}
        for one in blocked:
            for parent in one.parents:
                place = await self._registry.of_task(Reach(queue.tenant), parent)
                if place is not None:
                    pairs.setdefault(place[0], []).append((place[1], one, parent))
                else:  # its queue got another number: nobody will ever tell of it
                    suspects[one.name] = Suspect(one.name, one.changed_ms, parent)
        for other, members in pairs.items():
            for at in range(0, len(members), limits.SCRIPT_BATCH):
                part = members[at : at + limits.SCRIPT_BATCH]
                asked = [(name, queue.task_id(one.name)) for name, one, _ in part]
                known = await self._examining.follows(other, asked)
                for (_, one, parent), knows in zip(part, known, strict=True):
                    if not knows:
                        suspects[one.name] = Suspect(one.name, one.changed_ms, parent)
        return await self._confirm(queue, "UNFOLLOWED", list(suspects.values()))
