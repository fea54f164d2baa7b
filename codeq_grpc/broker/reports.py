"""What workers say of leases they hold: reports and heartbeats, in batches over many queues."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from codeq_grpc.core import limits
from codeq_grpc.core.errors import CodeQError, LeaseLost, TaskNotFound
from codeq_grpc.store.tasks import DONE, EXTENDED, LOST, REPEATED, UNKNOWN, Report

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from codeq_grpc.broker.wakeups import Waiters
    from codeq_grpc.core.principal import Reach
    from codeq_grpc.core.records import Beat, Outcome
    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.registry import Registry
    from codeq_grpc.store.tasks import TaskStore, Verdict
    from codeq_grpc.store.wakeups import LeaseKey

_T = TypeVar("_T")
Indexed = tuple[int, bytes, _T]
"""Index in the request, name of the task, what was said of it."""


class Applied(NamedTuple):
    """A report that was applied: state of the task now and when that state began, or its due
    time while SCHEDULED.
    """

    state: int
    time_ms: int


def not_found(task_id: str) -> TaskNotFound:
    """The same answer for a task that is not there and one that is another tenant's."""
    return TaskNotFound(f"there is no task {task_id[:64]!r}", metadata={"task_id": task_id[:64]})


def _lost(task_id: str) -> LeaseLost:
    # Without the fence: where this stands in a log it may be one that is good elsewhere.
    return LeaseLost(
        f"the lease of task {task_id} is not the current one or has expired",
        metadata={"task_id": task_id},
    )


class Told(NamedTuple):
    """What a worker has to know of a lease: LOST, UNKNOWN, or CANCEL with the error that the task
    will keep.
    """

    task_id: str
    fence: int
    word: bytes
    error: bytes


class Reports:
    """Ends attempts and extends leases. `owed` is told of queues whose outbox got entries."""

    def __init__(
        self,
        registry: Registry,
        store: TaskStore,
        waiters: Waiters,
        owed: Callable[[Queue], None],
    ) -> None:
        self._registry = registry
        self._store = store
        self._waiters = waiters
        self._owed = owed

    async def _by_queue(
        self, reach: Reach, items: Sequence[_T], task_id: Callable[[_T], str]
    ) -> AsyncIterator[tuple[Queue | None, list[Indexed[_T]]]]:
        """Items by queue, in pieces for one script call; None for ids of no queue."""
        groups: dict[Queue | None, list[Indexed[_T]]] = {}
        for index, item in enumerate(items):
            found = await self._registry.of_task(reach, task_id(item))
            queue, name = found or (None, b"")
            groups.setdefault(queue, []).append((index, name, item))
        for queue, group in groups.items():
            for at in range(0, len(group), limits.SCRIPT_BATCH):
                yield queue, group[at : at + limits.SCRIPT_BATCH]

    async def report(self, reach: Reach, outcomes: Sequence[Outcome]) -> list[Applied | CodeQError]:
        """What became of each outcome. A store error of a later piece is told for its items,
        since earlier ones are applied; of the first it is raised.
        """
        results: list[Applied | CodeQError] = [TaskNotFound()] * len(outcomes)
        applied = False
        async for queue, group in self._by_queue(reach, outcomes, lambda o: o.task_id):
            if queue is None:
                for index, _, said in group:
                    results[index] = not_found(said.task_id)
                continue
            try:
                verdicts, owed = await self._store.report(
                    queue, [_as_report(*item[1:]) for item in group]
                )
            except CodeQError as error:
                if not applied:
                    raise
                for index, _, _ in group:
                    results[index] = error
                continue
            applied = True
            if owed:
                self._owed(queue)
            self._free(queue, group, verdicts)
            for (index, _, said), verdict in zip(group, verdicts, strict=True):
                results[index] = _judge(said, verdict)
        return results

    def _free(
        self, queue: Queue, group: list[Indexed[Outcome]], verdicts: Sequence[Verdict]
    ) -> None:
        owned: dict[str, list[LeaseKey]] = {}
        for (_, name, said), verdict in zip(group, verdicts, strict=True):
            if verdict.owner and verdict.word in {DONE, REPEATED}:
                owned.setdefault(verdict.owner, []).append((queue.number, name, said.fence))
        self._waiters.tell_over(owned, lost=False)

    async def heartbeat(self, reach: Reach, beats: Sequence[Beat]) -> list[Told]:
        """Extends leases and keeps progress; tells of each that needs attention."""
        told = []
        async for queue, group in self._by_queue(reach, beats, lambda beat: beat.task_id):
            if queue is None:
                told += [Told(said.task_id, said.fence, UNKNOWN, b"") for _, _, said in group]
                continue
            words = await self._store.heartbeat(
                queue, [(name, *said[1:]) for _, name, said in group]
            )
            for (_, _, said), (word, error) in zip(group, words, strict=True):
                if word != EXTENDED:
                    told.append(Told(said.task_id, said.fence, word, error))
        return told


def _as_report(name: bytes, said: Outcome) -> Report:
    return Report(name, *said[1:])


def _judge(said: Outcome, verdict: Verdict) -> Applied | CodeQError:
    if verdict.word == UNKNOWN:
        return not_found(said.task_id)
    if verdict.word == LOST:
        return _lost(said.task_id)
    return Applied(verdict.state, verdict.time_ms)
