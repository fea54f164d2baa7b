"""Enqueue, read, count and clean up tasks."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

from codeq_grpc.broker.reports import not_found
from codeq_grpc.broker.wakeups import pause
from codeq_grpc.core import limits
from codeq_grpc.core.clock import monotonic, now
from codeq_grpc.core.errors import CodeQError, InvalidField
from codeq_grpc.core.records import Record
from codeq_grpc.core.task import TERMINAL, TaskState
from codeq_grpc.store.keys import created_ms
from codeq_grpc.store.rows import pack_policy
from codeq_grpc.store.tasks import new_task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codeq_grpc.broker.wakeups import Waiters
    from codeq_grpc.core.records import NewTask
    from codeq_grpc.core.retry import RetryPolicy
    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.registry import Registry
    from codeq_grpc.store.tasks import Counts, TaskStore


class Enqueued(NamedTuple):
    """Id and state of a new task."""

    task_id: str
    state: TaskState


class Tasks:
    """Tasks of tenants."""

    def __init__(
        self, registry: Registry, store: TaskStore, waiters: Waiters, *, retry: RetryPolicy
    ) -> None:
        self._registry = registry
        self._store = store
        self._waiters = waiters
        self._retry = retry

    def _stored(self, task: NewTask) -> tuple[bytes, bytes]:
        retry = task.retry or self._retry
        policy = b""
        if task.retry is not None:
            policy = pack_policy(
                retry.initial_backoff_ms, retry.max_backoff_ms, retry.multiplier, retry.jitter
            )
        return new_task(
            task.spec,
            priority=task.priority,
            max_attempts=retry.max_attempts,
            lease_ms=task.lease_ms,
            when=task.when,
            policy=policy,
        )

    async def enqueue(
        self, tenant: str, tasks: Sequence[NewTask], *, atomic: bool
    ) -> list[Enqueued | CodeQError]:
        """Adds tasks; one script call a queue, or a piece of a queue unless `atomic`.

        A store error is raised when nothing was added, and told for its items otherwise.
        """
        groups: dict[str, list[int]] = {}
        for index, task in enumerate(tasks):
            groups.setdefault(task.command, []).append(index)
        results: list[Enqueued | CodeQError] = [CodeQError()] * len(tasks)
        size = limits.BATCH_TASKS if atomic else limits.SCRIPT_BATCH
        pieces = [
            (command, indexes[at : at + size])
            for command, indexes in groups.items()
            for at in range(0, len(indexes), size)
        ]
        added = False
        for command, piece in pieces:
            try:
                done = await self._enqueue_piece(tenant, command, [tasks[i] for i in piece])
            except CodeQError as error:
                if not added and (len(pieces) == 1 or (command, piece) == pieces[0]):
                    raise
                for i in piece:
                    results[i] = error
                continue
            added = True
            for i, one in zip(piece, done, strict=True):
                results[i] = one
        return results

    async def _enqueue_piece(
        self, tenant: str, command: str, tasks: Sequence[NewTask]
    ) -> list[Enqueued]:
        queue = await self._registry.open(tenant, command)
        names, now_ms = await self._store.enqueue(queue, [self._stored(task) for task in tasks])
        return [
            Enqueued(
                queue.task_id(name),
                TaskState.SCHEDULED if task.when < 0 or task.when > now_ms else TaskState.PENDING,
            )
            for name, task in zip(names, tasks, strict=True)
        ]

    async def get(self, tenant: str, task_id: str, *, full: bool, wait: float) -> Record:
        """One task, when it has ended or after `wait` seconds; raises TaskNotFound."""
        if not task_id:
            raise InvalidField.at("task_id", "must be set")
        found = await self._registry.of_task(tenant, task_id)
        if found is None:
            raise not_found(task_id)
        queue, name = found
        if wait > 0:
            await self._wait_for_end(queue, name, wait)
        stored = await self._store.get(queue, name, result=full)
        if stored is None:
            raise not_found(task_id)
        row = stored.row
        return Record(
            task_id,
            row.state,
            row.attempt,
            row.worker_id,
            row.time_ms,
            row.changed_ms,
            created_ms(name),
            stored.spec,
            stored.error,
            stored.result,
        )

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
                    async with asyncio.timeout(pause(0, 0, left)):
                        await event.wait()
        finally:
            leave()

    async def queues(self, tenant: str, commands: Sequence[str]) -> list[tuple[str, Counts]]:
        """Counts of these queues, or of all; those that never had a task are left out."""
        if commands:
            queues = [await self._registry.find(tenant, command) for command in commands]
        else:
            await self._registry.refresh()
            queues = sorted(self._registry.known(tenant), key=lambda queue: queue.command)
        return [(q.command, await self._store.stats(q)) for q in queues if q.number]

    async def cleanup(
        self, tenant: str, *, before_ms: int, states: frozenset[TaskState], limit: int
    ) -> tuple[int, int]:
        """Deletes up to `limit` tasks that ended before a time (0: now); how many, and the time."""
        await self._registry.refresh()
        indexes = "".join(
            index
            for state, index in ((TaskState.COMPLETED, "t"), (TaskState.FAILED, "d"))
            if state in (states or TERMINAL)
        )
        # Without a queue there is no store's clock to tell; nothing was deleted by this one.
        deleted, used = 0, before_ms or int(now().timestamp() * 1000)
        for queue in self._registry.known(tenant):
            more = True
            while more and deleted < limit:
                used, count, more = await self._store.prune(
                    queue,
                    before_ms=before_ms,
                    age_ms=0,
                    limit=min(limits.SCRIPT_BATCH, limit - deleted),
                    indexes=indexes,
                )
                deleted += count
        return deleted, used
