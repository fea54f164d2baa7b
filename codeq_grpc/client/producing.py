"""What producers call."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Self

from codeq_grpc.client import batches, enqueues
from codeq_grpc.client.connection import Connection
from codeq_grpc.client.joining import Joiner
from codeq_grpc.client.specs import spec
from codeq_grpc.core import limits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Iterable
    from typing import Unpack

    from codeq.v1 import codeq_service_pb2 as pb
    from codeq.v1.task_pb2 import TaskSpec
    from codeq_grpc.client.specs import SpecOptions
    from codeq_grpc.core.errors import CodeQError


class Producing(Connection):
    """Adds tasks.

    An enqueue that may have taken effect is not repeated by itself, unless each of its specs
    has an idempotency key that allows it: no conflict policy but "use_existing", and a key that
    lives longer than the client's timeout. Then an outage shorter than that goes unnoticed, but
    for `created`, which may be False for a task that this very call has made.

    Calls of `enqueue` that are made at the same time share BatchEnqueue calls, once some are
    under way: tasks of one command, up to 100, 2 ms after the first of them at the latest. What
    comes of each is told to its caller as if it had been alone. One after the other goes out at
    once; for many tasks at hand `enqueue_many` costs least.
    """

    _joiner: Joiner | None = None

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._joiner = Joiner(self._run, self._timeout)
        return self

    async def enqueue(
        self, command: str, payload: object = b"", **options: Unpack[SpecOptions]
    ) -> pb.EnqueueResponse:
        """Adds one task and returns its id and state; arguments as in `spec`.

        Without an idempotency key the task may exist after `ServerUnavailable`,
        `DeadlineExceeded` or `StoreUnavailable`, and does after `NotDurable`.

        Raises:
            InvalidField: The server refuses a field; `fields` names it.
            TaskExists: The idempotency key is taken, and the conflict policy minds.
            IdempotencyMismatch: It is taken by a task with another payload.
            QueueFull: The queue has as many tasks as it may.
            StoreFull: The store is out of memory.
        """
        return await self.enqueue_spec(spec(command, payload, **options))

    async def enqueue_spec(self, task: TaskSpec) -> pb.EnqueueResponse:
        """As `enqueue`, of a ready spec."""
        if self._joiner is None:
            return await self._run(enqueues.enqueue(task, self._timeout))
        return await self._joiner.enqueue(task)

    async def enqueue_many(
        self,
        specs: Iterable[TaskSpec] | AsyncIterable[TaskSpec],
        *,
        atomic: bool = False,
        batch_size: int = batches.DEFAULT_TASKS,
    ) -> AsyncGenerator[pb.EnqueueResponse | CodeQError]:
        """Adds many tasks; yields for each spec, in order, its response or its error.

        Specs are taken as calls are made, at most `batch_size` (1 to 1000) and 3 MiB each, so
        that the flow may be longer than memory: there is one call at a time, and no more is
        read ahead of it than the next batch. The source runs in a task of its own.
        `atomic` adds all or none, in one call, all of one command.

        Raises:
            CodeQError: A whole call failed. What was yielded before stands; of the batch under
                way, up to `batch_size` tasks, it is not known unless the server refused it.
            ValueError: `atomic`, and the specs do not fit in one call.
        """
        size = limits.BATCH_TASKS if atomic else batch_size
        source = batches.cut_async(specs, tasks=size)
        if atomic:
            batch = batches.whole([batch async for batch in source])
            for result in await self._enqueue_batch(batch, atomic=True) if batch else ():
                yield result
            return
        async with aclosing(batches.one_ahead(source)) as ahead:
            async for batch in ahead:
                for result in await self._enqueue_batch(batch, atomic=False):
                    yield result

    async def _enqueue_batch(
        self, batch: list[TaskSpec], *, atomic: bool
    ) -> list[pb.EnqueueResponse | CodeQError]:
        return await self._run(enqueues.enqueue_batch(batch, self._timeout, atomic=atomic))

    spec = staticmethod(spec)
