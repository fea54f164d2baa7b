"""Producers: they enqueue the tasks of a run, one by one and in batches."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from typing import TYPE_CHECKING, Final

from codeq.v1 import codeq_service_pb2 as pb
from codeq.v1.task_pb2 import TaskState
from tests.faults.calling import code_name

if TYPE_CHECKING:
    import itertools

    from tests.faults.asking import Asked, Asking
    from tests.faults.calling import Client
    from tests.faults.history import History, Operation

_BATCH: Final = 5
_PAUSE: Final = 0.15


class Producer:
    """Enqueues until told to stop.

    A task with an idempotency key is repeated until its outcome is known; any other is sent once.
    """

    def __init__(
        self,
        client: Client,
        history: History,
        asking: Asking,
        numbers: itertools.count[int],
        *,
        pace: float,
    ) -> None:
        self._client = client
        self._history = history
        self._asking = asking
        self._numbers = numbers
        self._pace = pace
        self._random = random.Random(f"{asking.seed}:{client.name}")
        self._known: deque[str] = deque(maxlen=20)

    async def run(self, stopping: asyncio.Event) -> None:
        """Returns after `stopping`, with nothing under way."""
        while not stopping.is_set():
            if self._random.random() < 0.1:
                await self._enqueue_batch()
            else:
                await self._enqueue(self._next(), stopping)
            await asyncio.sleep(self._pace * self._random.uniform(0.5, 1.5))

    def _next(self) -> Asked:
        asked = self._asking.ask(next(self._numbers), self._history.wall_now())
        if self._known and self._random.random() < 0.05:
            asked.spec.depends_on.append(self._random.choice(self._known))
        return asked

    def _begin(self, asked: Asked) -> Operation:
        return self._history.begin(
            "enqueue",
            self._client.name,
            number=asked.number,
            delay_ms=asked.delay_ms,
            due_ms=asked.due_ms,
            most=asked.attempts,
            key=asked.spec.idempotency_key,
            expire_ms=asked.expire_ms,
            parent="".join(asked.spec.depends_on),
        )

    async def _enqueue(self, asked: Asked, stopping: asyncio.Event) -> None:
        while True:
            operation = self._begin(asked)
            answer = await self._client.ask("Enqueue", pb.EnqueueRequest(task=asked.spec))
            self._end(operation, answer.code, answer.reason, answer.message)
            if not (operation.unknown and operation.key):
                if answer.code != "OK":
                    await asyncio.sleep(_PAUSE)
                return
            if stopping.is_set():
                return
            await asyncio.sleep(_PAUSE)

    def _end(
        self,
        operation: Operation,
        code: str,
        reason: str,
        response: pb.EnqueueResponse | None,
    ) -> None:
        told = {}
        if response is not None:
            state = TaskState.Name(response.state).removeprefix("TASK_STATE_")
            self._known.append(response.task_id)
            told = {"task": response.task_id, "state": state if response.created else "EXISTING"}
        self._history.end(operation, code, reason, **told)

    async def _enqueue_batch(self) -> None:
        asked = [self._next() for _ in range(_BATCH)]
        operations = [self._begin(one) for one in asked]
        request = pb.BatchEnqueueRequest(tasks=[one.spec for one in asked])
        answer = await self._client.ask("BatchEnqueue", request)
        failures = {f.index: f for f in answer.message.failures} if answer.message else {}
        for i, operation in enumerate(operations):
            if answer.message is None:
                self._history.end(operation, answer.code, answer.reason)
            elif i in failures:
                code = code_name(failures[i].code)
                self._history.end(operation, code, failures[i].reason)
            else:
                self._end(operation, "OK", "", answer.message.results[i])
        if answer.code != "OK":
            await asyncio.sleep(_PAUSE)
