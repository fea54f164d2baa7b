"""Cuts a flow of specs into calls that the server takes: by count and by bytes."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Final

from codeq_grpc.core import limits
from codeq_grpc.core.errors import PayloadTooLarge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from codeq.v1.task_pb2 import TaskSpec

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


async def cut(
    specs: Iterable[TaskSpec] | AsyncIterable[TaskSpec],
    *,
    tasks: int = DEFAULT_TASKS,
    size: int = limits.BATCH_BYTES,
) -> AsyncIterator[list[TaskSpec]]:
    """Batches of at most `tasks` specs and `size` bytes, in order and none empty.

    A spec that is larger than `size` comes alone, so that it cannot spoil its neighbours.
    """
    batch: list[TaskSpec] = []
    filled = 0
    async for spec in _each(specs):
        cost = spec.ByteSize() + _FRAMING
        if batch and (len(batch) >= tasks or filled + cost > size):
            yield batch
            batch, filled = [], 0
        batch.append(spec)
        filled += cost
    if batch:
        yield batch


async def whole(specs: Iterable[TaskSpec] | AsyncIterable[TaskSpec]) -> list[TaskSpec]:
    """All specs as the one batch that an atomic enqueue is.

    Raises:
        ValueError: They do not fit in one call; nothing was sent.
    """
    batches = [batch async for batch in cut(specs, tasks=limits.BATCH_TASKS)]
    if len(batches) > 1:
        raise ValueError(
            f"an atomic enqueue is one call: at most {limits.BATCH_TASKS} tasks"
            f" and {limits.BATCH_BYTES} bytes"
        )
    return batches[0] if batches else []


async def _each(specs: Iterable[TaskSpec] | AsyncIterable[TaskSpec]) -> AsyncIterator[TaskSpec]:
    if isinstance(specs, AsyncIterable):
        async for spec in specs:
            yield spec
    else:
        for spec in specs:
            yield spec
