"""Cuts a flow of specs into calls that the server takes: by count and by bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, TypeVar

from codeq_grpc.core import limits
from codeq_grpc.core.errors import PayloadTooLarge

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator

    from codeq.v1.task_pb2 import TaskSpec

T = TypeVar("T")

DEFAULT_TASKS: Final = 200
"""From here on a larger batch gains little, and a smaller one shows progress sooner."""
_FRAMING: Final = 8
"""Tag and length of one spec inside the request, at most."""


def oversize(spec: TaskSpec) -> PayloadTooLarge | None:
    """The error of a spec that no call can carry, without asking the server."""
    size = spec.ByteSize()
    if size <= limits.BATCH_BYTES:
        return None
    return PayloadTooLarge(
        f"the task has {size} bytes; a call carries at most {limits.BATCH_BYTES}",
        metadata={"field": "task.payload.data"},
    )


class Cutter:
    """Gathers specs into batches of at most `tasks` specs and `size` bytes, in order.

    A spec that is larger than `size` comes alone, so that it cannot spoil its neighbours.
    """

    def __init__(self, *, tasks: int = DEFAULT_TASKS, size: int = limits.BATCH_BYTES) -> None:
        self._tasks = tasks
        self._size = size
        self._batch: list[TaskSpec] = []
        self._filled = 0

    def add(self, spec: TaskSpec) -> list[list[TaskSpec]]:
        """Takes one spec in; the batches that are ready by it, none empty."""
        ready = []
        cost = spec.ByteSize() + _FRAMING
        if self._batch and self._filled + cost > self._size:
            ready.append(self.rest())
        self._batch.append(spec)
        self._filled += cost
        if len(self._batch) >= self._tasks:
            ready.append(self.rest())
        return ready

    def rest(self) -> list[TaskSpec]:
        """The batch as far as it got; empty when nothing is left."""
        batch, self._batch, self._filled = self._batch, [], 0
        return batch


def cut(specs: Iterable[TaskSpec], *, tasks: int = DEFAULT_TASKS) -> Iterator[list[TaskSpec]]:
    """Batches of a flow, each as soon as it is full."""
    cutter = Cutter(tasks=tasks)
    for spec in specs:
        yield from cutter.add(spec)
    if batch := cutter.rest():
        yield batch


async def cut_async(
    specs: Iterable[TaskSpec] | AsyncIterable[TaskSpec],
    *,
    tasks: int = DEFAULT_TASKS,
    size: int = limits.BATCH_BYTES,
) -> AsyncGenerator[list[TaskSpec]]:
    """Batches of a flow, each as soon as it is full."""
    cutter = Cutter(tasks=tasks, size=size)
    async for spec in _each(specs):
        for batch in cutter.add(spec):
            yield batch
    if batch := cutter.rest():
        yield batch


async def one_ahead(source: AsyncGenerator[T]) -> AsyncGenerator[T]:
    """The items of `source`, the next one being read while this one is worked on.

    The source runs in one task of its own and never gets further ahead than that.
    """
    room = asyncio.Semaphore(2)
    items: asyncio.Queue[T | None] = asyncio.Queue()

    async def read() -> None:
        try:
            async with aclosing(source):
                await room.acquire()
                async for item in source:
                    items.put_nowait(item)
                    await room.acquire()
        finally:
            items.put_nowait(None)

    reading = asyncio.create_task(read())
    try:
        while (item := await items.get()) is not None:
            yield item
            room.release()
        await reading  # what went wrong in the source is raised here, after all that was read
    finally:
        reading.cancel()
        await asyncio.wait({reading})
        if not reading.cancelled():
            reading.exception()


def whole(batches: Iterable[list[TaskSpec]]) -> list[TaskSpec]:
    """All specs as the one batch that an atomic enqueue is.

    Raises:
        ValueError: They do not fit in one call; nothing was sent.
    """
    first: list[TaskSpec] = []
    for batch in batches:
        if first:
            raise ValueError(
                f"an atomic enqueue is one call: at most {limits.BATCH_TASKS} tasks"
                f" and {limits.BATCH_BYTES} bytes"
            )
        first = batch
    return first


async def _each(specs: Iterable[TaskSpec] | AsyncIterable[TaskSpec]) -> AsyncIterator[TaskSpec]:
    if isinstance(specs, AsyncIterable):
        async for spec in specs:
            yield spec
    else:
        for spec in specs:
            yield spec
