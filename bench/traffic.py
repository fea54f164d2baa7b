"""Tasks that are enqueued and taken in one process, whose clock tells how long each waited."""

from __future__ import annotations

import asyncio
import random
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Final

from bench.consuming import Consumer
from bench.numbered import check, payload
from bench.session import NotMeasured
from codeq_grpc.client import Client
from codeq_grpc.core.errors import CodeQError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codeq.v1.task_pb2 import TaskSpec

_LOST: Final = 5.0
"""Seconds after which a task that has not come is lost."""
_OPEN: Final = 2_000
"""Tasks that a closed loop has under way at most."""


class Traffic:
    """Enqueues and notes when what arrives. Every number is expected once, and its end as well."""

    def __init__(self, fault: str = "") -> None:
        self.consumer = Consumer(self._arrived, self._ended)
        self.waits: list[float] = []
        """Seconds from just before the call to the arrival."""
        self.late: list[float] = []
        """The same from the time at which the call was due."""
        self.ended = 0
        self.lost = 0
        """Tasks that did not arrive, or whose end was not taken."""
        self.duplicates = 0
        self.resting = asyncio.Event()
        self._numbers = count()
        self._sent: dict[int, tuple[float, float]] = {}
        self._open: set[int] = set()
        self._fault = fault

    def _arrived(self, data: bytes, now: float) -> int:
        number = check(data)
        sent = self._sent.pop(number, None)
        if sent is None:
            self.duplicates += 1
        else:
            self.waits.append(now - sent[0])
            self.late.append(now - sent[1])
        return number

    def _ended(self, number: int) -> None:
        if number in self._open:
            self._open.discard(number)
            self.ended += 1
        self.resting.set()

    def start_over(self) -> None:
        """Forgets the figures, not what is under way."""
        self.waits, self.late, self.ended = [], [], 0

    def _specs(self, command: str, size: int, due: float | None) -> list[TaskSpec]:
        numbers = [next(self._numbers) for _ in range(size)]
        specs = [Client.spec(command, payload(number)) for number in numbers]
        now = monotonic()
        for number in numbers:
            self._sent[number] = (now, now if due is None else due)
        self._open.update(numbers)
        if self._fault == "drop":
            self._fault = ""
            specs.pop()
        elif self._fault == "double":
            self._fault = ""
            specs.append(specs[-1])
        return specs

    async def send(
        self, client: Client, command: str, size: int = 1, due: float | None = None
    ) -> None:
        """One call with so many tasks."""
        specs = self._specs(command, size, due)
        if size == 1 and len(specs) == 1:
            await client.enqueue_spec(specs[0])
            return
        async for result in client.enqueue_many(specs, batch_size=max(size, len(specs), 1)):
            if isinstance(result, CodeQError):
                raise NotMeasured(f"an enqueue was refused: {result}")

    async def rest(self) -> None:
        """Waits until nothing is under way, or it is lost."""
        until = monotonic() + _LOST
        while self._open and monotonic() < until:
            self.resting.clear()
            try:
                async with asyncio.timeout(0.5):
                    await self.resting.wait()
            except TimeoutError:
                continue
        self.lost += len(self._open)
        self._open.clear()

    async def one_by_one(self, client: Client, commands: Sequence[str], times: int) -> None:
        """A task at a time, when the last has ended and a little later."""
        for at in range(times):
            await self.send(client, commands[at % len(commands)])
            await self.rest()
            await asyncio.sleep(random.uniform(0.0005, 0.004))

    async def closed_loop(
        self, client: Client, command: str, *, producers: int, batch: int, seconds: float
    ) -> float:
        """Each producer calls again when its call has returned, unless too much is under way;
        ended tasks a second.
        """
        until = monotonic() + seconds

        async def produce() -> None:
            while monotonic() < until:
                while len(self._open) > _OPEN:
                    self.resting.clear()
                    await self.resting.wait()
                await self.send(client, command, batch)

        began, before = monotonic(), self.ended
        async with asyncio.TaskGroup() as group:
            for _ in range(producers):
                group.create_task(produce())
        await self.rest()
        return (self.ended - before) / (monotonic() - began)

    async def open_loop(
        self, client: Client, command: str, *, rate: float, batch: int, seconds: float
    ) -> float:
        """A call whenever one is due, whatever became of those before; ended tasks a second."""
        began, before, sent = monotonic(), self.ended, 0
        async with asyncio.TaskGroup() as group:
            while (due := began + sent * batch / rate) < began + seconds:
                if (pause := due - monotonic()) > 0:
                    await asyncio.sleep(pause)
                if len(self._open) > 100 * _OPEN:
                    raise NotMeasured("the server does not keep up at all")
                group.create_task(self.send(client, command, batch, due))
                sent += 1
        await self.rest()
        return (self.ended - before) / (monotonic() - began)
