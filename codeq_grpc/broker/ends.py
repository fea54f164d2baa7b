"""Tells calendars how the tasks of their firings have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from codeq_grpc.core import limits
from codeq_grpc.core.principal import Reach
from codeq_grpc.core.schedules import Ended
from codeq_grpc.core.task import TERMINAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from codeq_grpc.core.schedules import Firing
    from codeq_grpc.store.calendars import CalendarStore
    from codeq_grpc.store.keys import Calendar, Queue
    from codeq_grpc.store.outbox import Outbox
    from codeq_grpc.store.reads import Reads
    from codeq_grpc.store.registry import Registry


class End(NamedTuple):
    """A firing, by name, and its task, by name."""

    calendar: Calendar
    firing: bytes
    task: bytes


class Ends:
    """Repeating any of it changes nothing. `owed` is told of calendars that owe something now: a
    fire time had waited for a task to end.
    """

    def __init__(
        self,
        registry: Registry,
        store: CalendarStore,
        reads: Reads,
        outbox: Outbox,
        owed: Callable[[Calendar], None],
    ) -> None:
        self._registry = registry
        self._store = store
        self._reads = reads
        self._outbox = outbox
        self._owed = owed

    async def of_firing(self, follower: str) -> tuple[Calendar, bytes] | None:
        """Calendar and name of the firing that follows a task; None if it is a task that does."""
        return await self._registry.of_firing(follower)

    async def follow(
        self, calendar: Calendar, enqueued: Iterable[tuple[bytes, str]]
    ) -> dict[Queue, list[End]]:
        """Firings, by name, follow their tasks, by id; gives those of which it has ended by now."""
        groups: dict[Queue, list[End]] = {}
        for firing, task_id in enqueued:
            found = await self._registry.of_task(Reach(calendar.tenant), task_id)
            if found is not None:
                groups.setdefault(found[0], []).append(End(calendar, firing, found[1]))
        ended: dict[Queue, list[End]] = {}
        for queue, group in groups.items():
            pairs = [(calendar.firing_id(end.firing), end.task) for end in group]
            states = await self._outbox.follow(queue, pairs)
            over = [
                end
                for end, state in zip(group, states, strict=True)
                if state in TERMINAL or not state
            ]
            if over:
                ended[queue] = over
        return ended

    async def tell(self, queue: Queue, ends: Sequence[End]) -> list[End]:
        """These tasks of a queue have ended, or are gone; gives those that have not."""
        by_calendar: dict[Calendar, list[Ended]] = {}
        going_on = list[End]()
        for at in range(0, len(ends), limits.SCRIPT_BATCH):
            part = ends[at : at + limits.SCRIPT_BATCH]
            found = await self._look(queue, [end.task for end in part])
            for end, (state, start_ms, end_ms) in zip(part, found, strict=True):
                if state in TERMINAL or not state:
                    ended = Ended(end.firing, queue.task_id(end.task), state, start_ms, end_ms)
                    by_calendar.setdefault(end.calendar, []).append(ended)
                else:
                    going_on.append(end)
        for calendar, ended_ones in by_calendar.items():
            await self.conclude(calendar, ended_ones)
        return going_on

    async def conclude(self, calendar: Calendar, ended: Sequence[Ended]) -> None:
        """These firings are over."""
        for at in range(0, len(ended), limits.SCRIPT_BATCH):
            if await self._store.conclude(calendar, ended[at : at + limits.SCRIPT_BATCH]):
                self._owed(calendar)

    async def ask(self, calendar: Calendar, open_firings: Iterable[Firing]) -> None:
        """Sees which tasks of firings that are open, as far as the calendar knows, have ended."""
        groups: dict[Queue, list[End]] = {}
        gone = []
        for firing in open_firings:
            if not firing.task_id:
                continue
            found = await self._registry.of_task(Reach(calendar.tenant), firing.task_id)
            if found is None:
                gone.append(Ended(firing.name, firing.task_id, 0))
            else:
                groups.setdefault(found[0], []).append(End(calendar, firing.name, found[1]))
        for queue, ends in groups.items():
            await self.tell(queue, ends)
        if gone:
            await self.conclude(calendar, gone)

    async def states(self, tenant: str, task_ids: Iterable[str]) -> dict[str, int]:
        """The state of each task now, 0 if it is gone."""
        states: dict[str, int] = {}
        groups: dict[Queue, list[tuple[str, bytes]]] = {}
        for task_id in task_ids:
            found = await self._registry.of_task(Reach(tenant), task_id)
            if found is None:
                states[task_id] = 0
            else:
                groups.setdefault(found[0], []).append((task_id, found[1]))
        for queue, members in groups.items():
            for at in range(0, len(members), limits.SCRIPT_BATCH):
                part = members[at : at + limits.SCRIPT_BATCH]
                told = await self._reads.states(queue, [name for _, name in part])
                states.update(zip((task_id for task_id, _ in part), told, strict=True))
        return states

    async def _look(self, queue: Queue, names: Sequence[bytes]) -> list[tuple[int, int, int]]:
        """State, start of the latest attempt and end of each."""
        found = list[tuple[int, int, int]]()
        while len(found) < len(names):
            rest = names[len(found) :]
            stored = await self._reads.read(queue, rest, full=False, max_bytes=limits.BATCH_BYTES)
            for one in stored:
                row = one.row if one is not None else None
                found.append((row.state, row.start_ms, row.time_ms) if row else (0, 0, 0))
        return found
