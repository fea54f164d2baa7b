"""Cancel and redrive: by id, or all that match a filter, in bounded steps."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from codeq_grpc.broker.pace import unhurried
from codeq_grpc.broker.reports import not_found
from codeq_grpc.core import limits
from codeq_grpc.core.errors import CodeQError, InvalidState
from codeq_grpc.core.task import TaskState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from codeq_grpc.broker.selecting import Searches
    from codeq_grpc.broker.wakeups import Waiters
    from codeq_grpc.core.principal import Reach
    from codeq_grpc.core.records import Filter
    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.registry import Registry
    from codeq_grpc.store.tasks import TaskStore
    from codeq_grpc.store.wakeups import LeaseKey

_GOLDEN: Final = (math.sqrt(5) - 1) / 2


@dataclass(slots=True)
class Done:
    """What became of a call: how many are changed, of how many the worker was asked, what could
    not be, by index, and where to go on.
    """

    changed: int = 0
    requested: int = 0
    failures: dict[int, CodeQError] = field(default_factory=dict)
    next_token: str = ""


class Cancel:
    """Why tasks are cancelled, and the error that they keep."""

    def __init__(self, reason: str, error: bytes) -> None:
        self.reason = reason
        self.error = error


class Spread:
    """Delays that spread tasks over some ms evenly, however many there will be: multiples of the
    golden ratio, less their whole part, keep apart from each other (Steinhaus's theorem of the
    three gaps).
    """

    def __init__(self, spread_ms: int) -> None:
        self._spread_ms = spread_ms
        self._at = random.random()

    def next(self) -> int:
        """The delay of one more task, in ms."""
        self._at = (self._at + _GOLDEN) % 1
        return int(self._spread_ms * self._at)


_Member = tuple[int, bytes]
"""Index in the request, and name."""


class Bulk:
    """Changes many tasks. `owed` is told of queues whose outbox got entries."""

    def __init__(
        self,
        registry: Registry,
        store: TaskStore,
        searches: Searches,
        waiters: Waiters,
        owed: Callable[[Queue], None],
    ) -> None:
        self._registry = registry
        self._store = store
        self._searches = searches
        self._waiters = waiters
        self._owed = owed

    async def cancel(self, reach: Reach, task_ids: Sequence[str], wish: Cancel) -> Done:
        """Cancels these tasks."""
        done = Done()
        for queue, group in (await self._by_queue(reach, task_ids, done)).items():
            async for part in _parts(group):
                states = await self._cancel_part(queue, [name for _, name in part], wish, done)
                for (index, name), (word, state) in zip(part, states, strict=True):
                    _judge(done, index, queue.task_id(name), word, state, "has ended")
        return done

    async def cancel_matching(
        self, tenant: str, wanted: Filter, token: str, limit: int, wish: Cancel
    ) -> Done:
        """Cancels up to `limit` tasks that match."""
        done = Done()
        path = "selector.page_token"
        pages = self._searches.pages(tenant, wanted, token, path, limit)
        async for search, names, done.next_token in pages:
            if names:
                await self._cancel_part(search.queue, names, wish, done)
        return done

    async def _cancel_part(
        self, queue: Queue, names: Sequence[bytes], wish: Cancel, done: Done
    ) -> list[tuple[bytes, int]]:
        results, owed = await self._store.cancel(queue, names, wish.error)
        if owed:
            self._owed(queue)
        owned: dict[str, list[LeaseKey]] = {}
        for name, result in zip(names, results, strict=True):
            done.changed += result.word == b"CANCELLED"
            done.requested += result.word == b"REQUESTED"
            if result.owner:
                owned.setdefault(result.owner, []).append((queue.number, name, result.fence))
        self._waiters.tell_cancel(owned, wish.reason)
        return [(result.word, result.state) for result in results]

    async def redrive(self, reach: Reach, task_ids: Sequence[str], spread_ms: int) -> Done:
        """Makes these tasks claimable again."""
        done, spread = Done(), Spread(spread_ms)
        for queue, group in (await self._by_queue(reach, task_ids, done)).items():
            async for part in _parts(group):
                states = await self._redrive_part(queue, [name for _, name in part], spread, done)
                for (index, name), (word, state) in zip(part, states, strict=True):
                    _judge(done, index, queue.task_id(name), word, state, "is not to be redriven")
        return done

    async def redrive_matching(
        self, tenant: str, wanted: Filter, token: str, limit: int, spread_ms: int
    ) -> Done:
        """Makes up to `limit` tasks that match claimable again."""
        done, spread = Done(), Spread(spread_ms)
        path = "selector.page_token"
        pages = self._searches.pages(tenant, wanted, token, path, limit)
        async for search, names, done.next_token in pages:
            if names:
                await self._redrive_part(search.queue, names, spread, done)
        return done

    async def _redrive_part(
        self, queue: Queue, names: Sequence[bytes], spread: Spread, done: Done
    ) -> list[tuple[bytes, int]]:
        tasks = [(name, spread.next()) for name in names]
        states = await self._store.redrive(queue, tasks)
        done.changed += sum(word == b"REDRIVEN" for word, _ in states)
        return states

    async def _by_queue(
        self, reach: Reach, task_ids: Sequence[str], done: Done
    ) -> dict[Queue, list[_Member]]:
        groups: dict[Queue, list[_Member]] = {}
        for index, task_id in enumerate(task_ids):
            found = await self._registry.of_task(reach, task_id)
            if found is None:
                done.failures[index] = not_found(task_id)
            else:
                groups.setdefault(found[0], []).append((index, found[1]))
        return groups


async def _parts(group: list[_Member]) -> AsyncIterator[list[_Member]]:
    async for at in unhurried(range(0, len(group), limits.BULK_BATCH)):
        yield group[at : at + limits.BULK_BATCH]


def _judge(done: Done, index: int, task_id: str, word: bytes, state: int, problem: str) -> None:
    if word == b"UNKNOWN":
        done.failures[index] = not_found(task_id)
    elif word == b"SUPERSEDED":
        done.failures[index] = InvalidState(
            f"task {task_id} {problem}: another one has its idempotency key",
            metadata={"task_id": task_id, "state": TaskState(state).name},
        )
    elif word in {b"ENDED", b"REFUSED"}:
        name = TaskState(state).name
        done.failures[index] = InvalidState(
            f"task {task_id} {problem}: it is {name}", metadata={"task_id": task_id, "state": name}
        )
