"""Enqueue, read and clean up tasks."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple

from codeq_grpc.broker.reports import not_found
from codeq_grpc.broker.wakeups import pause
from codeq_grpc.core import limits
from codeq_grpc.core.clock import monotonic, now
from codeq_grpc.core.errors import (
    CodeQError,
    IdempotencyMismatch,
    InvalidField,
    QueueFull,
    QuotaExceeded,
    SchemaUnavailable,
    StoreUnavailable,
    TaskExists,
)
from codeq_grpc.core.records import Record
from codeq_grpc.core.task import TERMINAL, TaskState
from codeq_grpc.store.keys import created_ms
from codeq_grpc.store.rows import attempts_of, pack_invalid, pack_new
from codeq_grpc.store.tasks import SchemaChanged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from codeq_grpc.broker.backlogs import Backlogs
    from codeq_grpc.broker.schemas import Schemas
    from codeq_grpc.broker.wakeups import Waiters
    from codeq_grpc.core.principal import Reach
    from codeq_grpc.core.records import NewTask
    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.reads import Reads, Stored
    from codeq_grpc.store.registry import Registry
    from codeq_grpc.store.tasks import Added, Special, TaskStore
    from codeq_grpc.store.upkeep import Upkeep

INDEXES = {
    TaskState.COMPLETED: "t",
    TaskState.FAILED: "d",
    TaskState.CANCELLED: "c",
    TaskState.EXPIRED: "a",
}


_NOT_TRIED: Final = CodeQError()
_TRIES: Final = 20
"""Changes of a queue's payload schema that may come between."""


class Enqueued(NamedTuple):
    """Id and state of a task; not `created` if its idempotency key had it already."""

    task_id: str
    state: TaskState
    created: bool = True


def as_record(queue: Queue, name: bytes, stored: Stored) -> Record:
    """A stored task as callers see it."""
    row = stored.row
    return Record(
        queue.task_id(name),
        row.state,
        row.attempt,
        row.worker_id,
        row.time_ms,
        row.changed_ms,
        created_ms(name),
        row.cancel_requested,
        stored.spec,
        stored.error,
        stored.progress,
        stored.result,
        stored.checkpoint,
        attempts_of(row, stored.history),
    )


class Rules(NamedTuple):
    """What new tasks have to keep to."""

    schemas: Schemas
    backlogs: Backlogs


class Tasks:
    """Tasks of tenants. `owed` is told of queues whose outbox got entries."""

    def __init__(
        self,
        registry: Registry,
        store: TaskStore,
        reads: Reads,
        upkeep: Upkeep,
        waiters: Waiters,
        rules: Rules,
        owed: Callable[[Queue], None],
    ) -> None:
        self._registry = registry
        self._store = store
        self._reads = reads
        self._upkeep = upkeep
        self._waiters = waiters
        self._schemas, self._backlogs = rules
        self._owed = owed

    async def enqueue(
        self, reach: Reach, tasks: Sequence[NewTask], *, atomic: bool
    ) -> list[Enqueued | CodeQError]:
        """Adds tasks, as many as the tenant may have.

        What is wrong with one task is told for it, or raised if `atomic`. A store error is raised
        when nothing was added, and told for its items otherwise.
        """
        tenant, added = reach.tenant, 0
        taken = await self._backlogs.take(tenant, len(tasks), atomic=atomic)
        try:
            results = await self._enqueue_all(reach, tasks[:taken], atomic=atomic)
            added = sum(map(_may_be_new, results))
        except (StoreUnavailable, asyncio.CancelledError):
            added = taken
            raise
        finally:
            self._backlogs.put(tenant, taken, added)
        if taken < len(tasks):
            results += [self._backlogs.exceeded(tenant)] * (len(tasks) - taken)
        return results

    async def _enqueue_all(
        self, reach: Reach, tasks: Sequence[NewTask], *, atomic: bool
    ) -> list[Enqueued | CodeQError]:
        """One script call a queue, or a piece of a queue unless `atomic`."""
        results: list[Enqueued | CodeQError] = [_NOT_TRIED] * len(tasks)
        ready = dict(enumerate(tasks))
        if any(task.depends_on for task in tasks):
            ready = await self._with_dependencies(reach, tasks, results, atomic=atomic)
        groups: dict[str, list[int]] = {}
        for index, task in ready.items():
            groups.setdefault(task.command, []).append(index)
        size = limits.BATCH_TASKS if atomic else limits.SCRIPT_BATCH
        pieces = [
            (command, indexes[at : at + size])
            for command, indexes in groups.items()
            for at in range(0, len(indexes), size)
        ]
        added = False
        for command, piece in pieces:
            try:
                done = await self._enqueue_piece(
                    reach.tenant, command, [ready[i] for i in piece], atomic=atomic
                )
            except CodeQError as error:
                of_all = atomic or not isinstance(error, QuotaExceeded)
                if of_all and not added and (command, piece) == pieces[0]:
                    raise
                for i in piece:
                    results[i] = error
                continue
            added = True
            for i, one in zip(piece, done, strict=True):
                results[i] = one
        return results

    async def _with_dependencies(
        self,
        reach: Reach,
        tasks: Sequence[NewTask],
        results: list[Enqueued | CodeQError],
        *,
        atomic: bool,
    ) -> dict[int, NewTask]:
        """The tasks that can be added, by index, with those dependencies that have not completed:
        what has completed stays so. An id that does not exist is refused, so that there can be no
        cycles.
        """
        asked = {task_id for task in tasks for task_id in task.depends_on}
        states = await self._states(reach, asked) if asked else {}
        ready: dict[int, NewTask] = {}
        for i, task in enumerate(tasks):
            unknown = [j for j, task_id in enumerate(task.depends_on) if not states[task_id]]
            if unknown:
                path = f"{task.path}.depends_on[{unknown[0]}]"
                error = InvalidField.at(path, "there is no such task")
                if atomic:
                    raise error
                results[i] = error
                continue
            left = [t for t in task.depends_on if states[t] != TaskState.COMPLETED]
            ready[i] = task._replace(depends_on=tuple(dict.fromkeys(left)))
        return ready

    async def _states(self, reach: Reach, task_ids: set[str]) -> dict[str, int]:
        states = dict.fromkeys(task_ids, 0)
        groups: dict[Queue, list[tuple[str, bytes]]] = {}
        for task_id in task_ids:
            found = await self._registry.of_task(reach, task_id)
            if found is not None:
                groups.setdefault(found[0], []).append((task_id, found[1]))
        for queue, members in groups.items():
            for at in range(0, len(members), limits.SCRIPT_BATCH):
                part = members[at : at + limits.SCRIPT_BATCH]
                read = await self._reads.states(queue, [name for _, name in part])
                states.update(zip((task_id for task_id, _ in part), read, strict=True))
        return states

    async def _enqueue_piece(
        self, tenant: str, command: str, tasks: Sequence[NewTask], *, atomic: bool
    ) -> list[Enqueued | CodeQError]:
        queue = await self._registry.open(tenant, command)
        added, faults = await self._add(queue, tasks, atomic=atomic)
        if added.owed:
            self._owed(queue)
        results = [
            faults[i] if _is_invalid(i, added) else _result(queue, i, task, added)
            for i, task in enumerate(tasks)
        ]
        if added.refused:
            raise next(result for result in results if isinstance(result, CodeQError))
        return results

    async def _add(
        self, queue: Queue, tasks: Sequence[NewTask], *, atomic: bool
    ) -> tuple[Added, dict[int, CodeQError]]:
        """What was added under the queue's payload schema, and what is wrong with payloads."""
        for _ in range(_TRIES):
            known = self._schemas.known(queue)
            faults = await self._schemas.faults(queue.tenant, known, tasks)
            new = [(pack_invalid if i in faults else pack_new)(t) for i, t in enumerate(tasks)]
            try:
                added = await self._store.enqueue(queue, new, atomic=atomic, schema=known.label)
            except SchemaChanged:
                await self._schemas.learn(queue)
            else:
                return added, faults
        raise SchemaUnavailable("the payload schema of the queue changes too often")

    async def get(self, reach: Reach, task_id: str, *, full: bool, wait: float) -> Record:
        """One task, when it has ended or after `wait` seconds; raises TaskNotFound."""
        if not task_id:
            raise InvalidField.at("task_id", "must be set")
        found = await self._registry.of_task(reach, task_id)
        if found is None:
            raise not_found(task_id)
        queue, name = found
        if wait > 0:
            await self._wait_for_end(queue, name, wait)
        (stored,) = await self._reads.read(queue, [name], full=full, max_bytes=limits.BATCH_BYTES)
        if stored is None:
            raise not_found(task_id)
        return as_record(queue, name, stored)

    async def _wait_for_end(self, queue: Queue, name: bytes, wait: float) -> None:
        deadline = monotonic() + wait
        event = asyncio.Event()
        leave = self._waiters.join_end(queue, name, event)
        try:
            while True:
                event.clear()
                if await self._store.await_end(queue, name, self._waiters.server):
                    return
                left = deadline - monotonic()
                if left <= 0 or self._waiters.draining:
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause(left)):
                        await event.wait()
        finally:
            leave()

    async def cleanup(
        self, reach: Reach, *, before_ms: int, states: frozenset[TaskState], limit: int
    ) -> tuple[int, int]:
        """Deletes up to `limit` tasks that ended before a time (0: now); how many, and the time."""
        await self._registry.refresh()
        indexes = "".join(INDEXES[state] for state in sorted(states or TERMINAL))
        # Without a queue there is no store's clock to tell; nothing was deleted by this one.
        deleted, used = 0, before_ms or int(now().timestamp() * 1000)
        for queue in self._registry.within(reach):
            more = True
            while more and deleted < limit:
                used, count, more = await self._upkeep.prune(
                    queue,
                    before_ms=before_ms,
                    age_ms=0,
                    default_ms=0,
                    limit=min(limits.SCRIPT_BATCH, limit - deleted),
                    indexes=indexes,
                )
                deleted += count
        return deleted, used


def _may_be_new(result: Enqueued | CodeQError) -> bool:
    if isinstance(result, CodeQError):
        return isinstance(result, StoreUnavailable)
    return result.created


def _state_of(task: NewTask, now_ms: int) -> TaskState:
    if task.depends_on:
        return TaskState.BLOCKED
    later = task.when < 0 or task.when > now_ms
    return TaskState.SCHEDULED if later else TaskState.PENDING


def _is_invalid(index: int, added: Added) -> bool:
    special = added.specials.get(index)
    return special is not None and special.word == b"INVALID"


def _result(queue: Queue, index: int, task: NewTask, added: Added) -> Enqueued | CodeQError:
    special = added.specials.get(index)
    task_id = queue.task_id(added.names[index])
    if special is None:
        return Enqueued(task_id, _state_of(task, added.now_ms))
    if special.word in {b"EXISTING", b"REPLACED"}:
        return Enqueued(task_id, TaskState(special.state), created=False)
    return _refusal(task, task_id, special)


def _refusal(task: NewTask, task_id: str, special: Special) -> CodeQError:
    if special.word == b"OVERDUE":
        return InvalidField.at(f"{task.path}.expire_time", "must lie after now and after run_time")
    if special.word == b"FULL":
        return QueueFull(metadata={"command": task.command})
    metadata = {"task_id": task_id, "state": TaskState(special.state).name}
    if special.word == b"MISMATCH":
        return IdempotencyMismatch(metadata=metadata)
    return TaskExists(metadata=metadata)
