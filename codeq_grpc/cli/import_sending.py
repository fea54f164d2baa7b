"""Brings tasks of an old store into codeQ, in their order."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import click

from codeq_grpc.cli.connection import describe, is_outage
from codeq_grpc.client import Payload, RetryPolicy, spec
from codeq_grpc.client.batches import Cutter
from codeq_grpc.core import clock, limits
from codeq_grpc.core.errors import CodeQError, InvalidField
from codeq_grpc.legacy.plan import KEY_PREFIX, LABEL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from codeq.v1.codeq_service_pb2 import EnqueueResponse
    from codeq_grpc.client import Client, TaskSpec
    from codeq_grpc.legacy.plan import Move

T = TypeVar("T")

_TASKS: Final = 200
_REFUSALS: Final = frozenset(
    {
        *("INVALID_FIELD", "PAYLOAD_TOO_LARGE", "PAYLOAD_INVALID", "IDEMPOTENCY_MISMATCH"),
        *("COMMAND_FORBIDDEN", "QUOTA_EXCEEDED", "MALFORMED_MESSAGE"),
    }
)
"""What is wrong with one task, and not with the next."""
_PARENT: Final = "legacy/parent of dead letters"
_NEVER: Final = timedelta(days=3_650)
_PAUSE: Final = 0.25
"""Before the first repeat; then twice as long each time, up to this:"""
_LONGEST_PAUSE: Final = 5.0


class Item(NamedTuple):
    """One task on its way."""

    task_id: bytes
    move: Move
    key: tuple[str, int] | None
    """Its idempotency key and for how many ms it is to live, if it had one."""


class Sent(NamedTuple):
    """What became of it: an id, or why there is none."""

    item: Item
    new_id: str
    is_new: bool
    error: CodeQError | None = None


@dataclass(slots=True)
class Pace:
    """So many tasks a second, over all senders."""

    rate: float
    _next: float = field(default=0.0, init=False)

    async def __call__(self, count: int) -> None:
        """Returns when so many may go."""
        now = clock.monotonic()
        if self._next > now:
            await asyncio.sleep(self._next - now)
        self._next = max(self._next, now) + count / self.rate


def _ttl_ms(item: Item) -> int | None:
    """How long its key lives: long enough for a repeat to find the task, as long as that exists or
    as long as may be.
    """
    least = limits.IDEMPOTENCY_TTL_MAX_MS
    if item.key is not None:
        least = min(least, max(item.key[1], limits.DAY))
    due = item.move.run_time_ms
    if due and due - clock.now().timestamp() * 1_000 > least - limits.DAY:
        return None  # until the task is deleted, which is later
    return least


def spec_of(item: Item, parent: str | None = None) -> TaskSpec:
    """What is enqueued; its idempotency key makes a repeat harmless."""
    move, due, ttl = item.move, item.move.run_time_ms, _ttl_ms(item)
    old_id = item.task_id.decode()
    return spec(
        move.command,
        Payload(data=move.payload, content_type=move.content_type),
        priority=move.priority,
        run_time=datetime.fromtimestamp(due / 1_000, UTC) if due else None,
        delay=move.delay_ms / 1_000 if move.delay_ms else None,
        retry_policy=RetryPolicy(max_attempts=move.max_attempts) if move.max_attempts else None,
        idempotency_key=item.key[0] if item.key else KEY_PREFIX + old_id,
        idempotency_ttl=None if ttl is None else ttl / 1_000,
        labels={LABEL: old_id},
        headers=move.headers,
        depends_on=[parent] if parent else None,
    )


class Sender:
    """Sends to one tenant, one call after the other."""

    def __init__(self, client: Client, pace: Pace, patience: float) -> None:
        self._client = client
        self._pace = pace
        self._patience = patience
        self._parents: dict[str, str] = {}

    async def knows(self, task_ids: Sequence[str]) -> bool:
        """Whether this tenant has one of these tasks."""
        for task_id in task_ids:
            try:
                await self._patiently(partial(self._client.get_task, task_id))
            except CodeQError as error:
                if error.reason != "TASK_NOT_FOUND":
                    raise
            else:
                return True
        return False

    async def send(self, items: Sequence[Item]) -> list[Sent]:
        """Enqueues tasks; those of one queue and priority in this order, whatever happens.

        Raises:
            CodeQError: Something is wrong that the next task would have, too.
        """
        sent: list[Sent] = []
        # A call is for one queue: only then it can be all or nothing.
        for _, some in groupby(items, lambda item: (item.move.command, item.move.is_dead)):
            for batch in _cut(list(some)):
                sent += await self._together(batch)
        return sent

    async def _together(self, batch: Sequence[Item]) -> list[Sent]:
        """All or none, so that a queue that is full for a moment lets no later task go first."""

        async def call() -> list[EnqueueResponse | CodeQError]:
            await self._pace(len(batch))
            parent = await self._parent(batch[0])
            specs = [spec_of(item, parent) for item in batch]
            return [result async for result in self._client.enqueue_many(specs, atomic=True)]

        try:
            results = await self._patiently(call)
        except CodeQError as error:
            if not _is_of_one_task(error):
                raise
            return [await self._alone(item) for item in batch]
        return [_sent(item, result) for item, result in zip(batch, results, strict=True)]

    async def _alone(self, item: Item) -> Sent:
        """One task, so that it is told by itself what is wrong with it."""

        async def call() -> EnqueueResponse:
            await self._pace(1)
            return await self._client.enqueue_spec(spec_of(item, await self._parent(item)))

        try:
            try:
                return _sent(item, await self._patiently(call))
            except InvalidField as error:
                if not any("depends_on" in path for path in error.fields):
                    raise
                self._parents.pop(item.move.command, None)  # it was deleted meanwhile
                return _sent(item, await self._patiently(call))
        except CodeQError as error:
            if not _is_of_one_task(error):
                raise
            return _sent(item, error)

    async def _parent(self, item: Item) -> str | None:
        """For dead letters a cancelled task of their queue: what depends on it fails before any
        worker has it.

        It has a payload that the queue takes if it takes this one. One that a killed import left
        behind uncancelled is replaced and cancelled here.
        """
        command = item.move.command
        if not item.move.is_dead:
            return None
        if command not in self._parents:
            made = await self._client.enqueue(
                command,
                Payload(data=item.move.payload, content_type=item.move.content_type),
                run_time=clock.now() + _NEVER,
                idempotency_key=_PARENT,
                conflict_policy="replace",
                headers={"legacy-id": "none: dead letters are made to depend on this task"},
            )
            total = await self._client.cancel(made.task_id, reason="dead letters depend on it")
            if total.failures:
                raise next(iter(total.failures.values()))
            self._parents[command] = made.task_id
        return self._parents[command]

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Sits out what passes by itself: outages, queues and stores that are full."""
        until, told, pause = clock.monotonic() + self._patience, "", _PAUSE
        while True:
            try:
                return await call()
            except CodeQError as error:
                if not _passes(error) or clock.monotonic() >= until:
                    raise
                if error.reason != told:
                    told = error.reason
                    click.echo(f"waiting: {describe(error)}", err=True)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)


def _passes(error: CodeQError) -> bool:
    return error.retry_after is not None or is_outage(error)


def _is_of_one_task(error: CodeQError) -> bool:
    return error.reason in _REFUSALS and not _passes(error)


def _cut(items: Sequence[Item]) -> list[list[Item]]:
    """Batches that fit in a call."""
    cutter, sizes = Cutter(tasks=_TASKS), []
    for item in items:
        sizes += [len(batch) for batch in cutter.add(spec_of(item))]
    sizes.append(len(cutter.rest()))
    rest, batches = list(items), []
    for size in filter(None, sizes):
        batches.append(rest[:size])
        rest = rest[size:]
    return batches


def _sent(item: Item, result: EnqueueResponse | CodeQError) -> Sent:
    if isinstance(result, CodeQError):
        return Sent(item, "", is_new=False, error=result)
    return Sent(item, result.task_id, is_new=result.created)
