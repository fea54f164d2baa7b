"""Delivers what queues owe each other: blocked tasks follow others, ended ones tell followers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from codeq_grpc.broker.ends import End
from codeq_grpc.core import limits
from codeq_grpc.core.errors import StoreUnavailable
from codeq_grpc.core.principal import Reach
from codeq_grpc.core.task import TaskState
from codeq_grpc.store.outbox import Entry, Resolution

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from codeq_grpc.broker.ends import Ends
    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.outbox import Outbox
    from codeq_grpc.store.registry import Registry

_log = logging.getLogger(__name__)

_ENTRIES: Final = 50
_FOLLOWERS: Final = 500
_GOING_ON: Final = frozenset(
    {TaskState.BLOCKED, TaskState.SCHEDULED, TaskState.PENDING, TaskState.IN_PROGRESS}
)
_KEPT_MS: Final = 5_000
"""How long entries are kept from other servers; they are delivered again after that."""


class Dependencies:
    """Repeating any of it changes nothing, so that delivery at least once is enough. `failed`
    makes the error of a task of which a dependency ended so; its id and state, 0 if it is gone.
    """

    def __init__(
        self, registry: Registry, outbox: Outbox, failed: Callable[[str, int], bytes], ends: Ends
    ) -> None:
        self._registry = registry
        self._outbox = outbox
        self._failed = failed
        self._ends = ends

    async def deliver(self, queue: Queue) -> set[Queue]:
        """Delivers some of what is due in one queue; gives the queues that owe something now, and
        this one too if there is more: others come first, or a busy one would starve them.
        """
        owing: set[Queue] = set()
        entries = await self._outbox.take(queue, _ENTRIES, for_ms=_KEPT_MS, most=_FOLLOWERS)
        settled, fired = list[Entry](), list[End]()
        away: StoreUnavailable | None = None
        for entry in entries:
            try:
                settled.append(await self._deliver(queue, entry, owing, fired))
            except StoreUnavailable as error:
                away = error
                break
            except Exception:  # noqa: BLE001 - it is taken again later, and the others go on
                task_id = queue.task_id(entry.name)
                _log.exception("the entry %s of task %s was not delivered", entry.kind, task_id)
        if fired and (going_on := await self._ends.tell(queue, fired)):
            # Redriven since: they go on to follow their tasks.
            left = {end.calendar.firing_id(end.firing) for end in going_on}
            settled = [
                entry._replace(others=[other for other in entry.others if other not in left])
                for entry in settled
            ]
        if settled:
            await self._outbox.settle(queue, settled)
        if away is not None:
            raise away
        if len(entries) == _ENTRIES or any(entry.more for entry in settled):
            owing.add(queue)
        return owing

    async def _deliver(
        self, queue: Queue, entry: Entry, owing: set[Queue], fired: list[End]
    ) -> Entry:
        """Gives the entry as it is to be settled; firings are to be told of it before."""
        if entry.kind == "B":
            owing |= await self._follow(queue, entry)
        elif entry.state in _GOING_ON:
            # It was redriven meanwhile, and tells its followers when it ends again.
            return entry._replace(others=[], more=False)
        else:
            owing |= await self._tell(queue, entry, fired)
        return entry

    async def _follow(self, queue: Queue, entry: Entry) -> set[Queue]:
        """A task is blocked: it follows those that it depends on; some may have ended by now."""
        if entry.state != TaskState.BLOCKED:
            return set()
        task_id = queue.task_id(entry.name)
        states = dict.fromkeys(entry.others, 0)
        for parent, members in (await self._by_queue(Reach(queue.tenant), entry.others)).items():
            pairs = [(task_id, name) for _, name in members]
            followed = await self._outbox.follow(parent, pairs)
            states.update(zip((other for other, _ in members), followed, strict=True))
        completed = [other for other, state in states.items() if state == TaskState.COMPLETED]
        ended = {
            other: state
            for other, state in states.items()
            if state not in _GOING_ON and state != TaskState.COMPLETED
        }
        told = [
            Resolution(entry.name, [other], self._failed(other, state))
            for other, state in ended.items()
        ][:1]
        if completed and not told:
            told = [Resolution(entry.name, completed, b"")]
        owed = await self._outbox.resolve(queue, told) if told else 0
        return {queue} if owed else set()

    async def _tell(self, queue: Queue, entry: Entry, fired: list[End]) -> set[Queue]:
        """A task has ended: those that follow it learn how, tasks and firings."""
        task_id, tasks = queue.task_id(entry.name), list[str]()
        for other in entry.others:
            firing = await self._ends.of_firing(other)
            if firing is None:
                tasks.append(other)
            else:
                fired.append(End(*firing, entry.name))
        completed = entry.state == TaskState.COMPLETED
        error = b"" if completed else self._failed(task_id, entry.state)
        owing: set[Queue] = set()
        for child, members in (await self._by_queue(Reach(queue.tenant), tasks)).items():
            for at in range(0, len(members), limits.SCRIPT_BATCH):
                part = members[at : at + limits.SCRIPT_BATCH]
                told = [Resolution(name, [task_id], error) for _, name in part]
                if await self._outbox.resolve(child, told):
                    owing.add(child)
        return owing

    async def _by_queue(
        self, reach: Reach, task_ids: Sequence[str]
    ) -> dict[Queue, list[tuple[str, bytes]]]:
        groups: dict[Queue, list[tuple[str, bytes]]] = {}
        for task_id in task_ids:
            found = await self._registry.of_task(reach, task_id)
            if found is not None:
                groups.setdefault(found[0], []).append((task_id, found[1]))
        return groups
