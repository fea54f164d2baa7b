"""Joins single enqueues that are made at the same time into few calls.

A call costs its client far more than a task in it. So while some calls are under way, what comes
meanwhile waits for one of them to end, for 2 ms or for 100 tasks, whichever is first, and then goes
out as one BatchEnqueue. When less goes on an enqueue is a call of its own, at once.

Joined are tasks of one command, which share the fate of their queue, and of those either such as
may be repeated or such as may not. What is wrong with one of them is told to its caller alone, in
the words of a call of its own.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from codeq_grpc.client import enqueues
from codeq_grpc.client.flows import OUTAGES
from codeq_grpc.core import clock, limits
from codeq_grpc.core.errors import CodeQError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from codeq.v1 import codeq_service_pb2 as pb
    from codeq.v1.task_pb2 import TaskSpec
    from codeq_grpc.client.enqueues import Result
    from codeq_grpc.client.flows import Flow, T

    class Run(Protocol):
        """What runs flows."""

        def __call__(self, flow: Flow[T]) -> Awaitable[T]:
            """The result of one."""

    Key = tuple[str, bool]

_ENOUGH: Final = 100
_DELAY: Final = 0.002
_CALLS: Final = 8
"""Calls of one kind at a time before others join: few callers must not wait in turns. Measured, up
to 16 callers go as fast as without joining, 32 nearly twice as fast, 128 three times."""


class _Waiter:
    """One caller: its task, and what becomes of it."""

    __slots__ = ("call", "result", "task")

    def __init__(self, task: TaskSpec, result: asyncio.Future[Result]) -> None:
        self.task = task
        self.result = result
        self.call: _Call | None = None


class _Call:
    """One call for several waiters."""

    __slots__ = ("interest", "running")

    def __init__(self, running: asyncio.Task[None], interest: int) -> None:
        self.running = running
        self.interest = interest


class _Lane:
    """Tasks that may share a call."""

    __slots__ = ("calls", "size", "timer", "waiting")

    def __init__(self) -> None:
        self.calls = 0
        self.size = 0
        self.timer: asyncio.TimerHandle | None = None
        self.waiting: list[_Waiter] = []


class Joiner:
    """Enqueues of one open client; `timeout` in seconds for each call, `run` makes them."""

    def __init__(self, run: Run, timeout: float) -> None:
        self._run = run
        self._timeout = timeout
        self._lanes: dict[Key, _Lane] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def enqueue(self, task: TaskSpec) -> pb.EnqueueResponse:
        """Adds one task, alone or with others.

        Cancelling this takes back a task that was not sent yet.

        Raises:
            CodeQError: It was not added, or that is not known.
        """
        if task.depends_on:  # whose states may be out of reach for reasons of their own
            return await self._run(enqueues.enqueue(task, self._timeout))
        began = clock.monotonic()
        repeatable = enqueues.repeatable(task, self._timeout)
        key = (task.command, repeatable)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane()
        if lane.calls < _CALLS and not lane.waiting:
            result = await self._alone(key, lane, task)
        else:
            result = await self._together(key, lane, task)
        if isinstance(result, OUTAGES) and repeatable:
            # An outage for some of a batch: what may be repeated is, in the time that is left.
            left = self._timeout - (clock.monotonic() - began)
            (result,) = await self._run(enqueues.alone(task, max(left, 0.0)))
        if isinstance(result, CodeQError):
            raise result
        return result

    async def _alone(self, key: Key, lane: _Lane, task: TaskSpec) -> Result:
        lane.calls += 1
        try:
            (result,) = await self._run(enqueues.alone(task, self._timeout))
            return result
        finally:
            self._over(key, lane)

    async def _together(self, key: Key, lane: _Lane, task: TaskSpec) -> Result:
        loop = asyncio.get_running_loop()
        size = task.ByteSize()
        if lane.waiting and lane.size + size > limits.BATCH_BYTES // 2:
            self._send(key, lane)
        waiter = _Waiter(task, loop.create_future())
        lane.waiting.append(waiter)
        lane.size += size
        if len(lane.waiting) >= _ENOUGH:
            self._send(key, lane)
        elif lane.timer is None:
            lane.timer = loop.call_later(_DELAY, self._send, key, lane)
        try:
            return await waiter.result
        except asyncio.CancelledError:
            if waiter.call is not None:
                waiter.call.interest -= 1
                if not waiter.call.interest:
                    waiter.call.running.cancel()
            raise

    def _send(self, key: Key, lane: _Lane) -> None:
        """Makes a call for those who wait and were not cancelled meanwhile."""
        if lane.timer is not None:
            lane.timer.cancel()
            lane.timer = None
        batch = [waiter for waiter in lane.waiting if not waiter.result.done()]
        lane.waiting, lane.size = [], 0
        if not batch:
            self._tidy(key, lane)
            return
        lane.calls += 1
        running = asyncio.get_running_loop().create_task(self._call(key, lane, batch))
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        call = _Call(running, len(batch))
        for waiter in batch:
            waiter.call = call

    async def _call(self, key: Key, lane: _Lane, batch: list[_Waiter]) -> None:
        results: list[Result] = []
        failure: Exception | None = None
        try:
            results = await self._results([waiter.task for waiter in batch])
        except Exception as error:  # noqa: BLE001 - the client is closed, or worse: callers hear it
            failure = error
        finally:
            self._over(key, lane)
            for at, waiter in enumerate(batch):
                if waiter.result.done():
                    continue  # nobody waits any more
                if at < len(results):
                    waiter.result.set_result(results[at])
                elif failure is not None:
                    waiter.result.set_exception(failure)
                else:
                    waiter.result.cancel()  # as a call of its own when its channel is closed

    async def _results(self, tasks: list[TaskSpec]) -> list[Result]:
        try:
            if len(tasks) == 1:
                return await self._run(enqueues.alone(tasks[0], self._timeout))
            return await self._run(enqueues.together(tasks, self._timeout))
        except CodeQError as error:
            return [_copy(error) for _ in tasks]

    def _over(self, key: Key, lane: _Lane) -> None:
        """A call ended: those who wait have their turn."""
        lane.calls -= 1
        if lane.waiting:
            self._send(key, lane)
        else:
            self._tidy(key, lane)

    def _tidy(self, key: Key, lane: _Lane) -> None:
        if not lane.calls and not lane.waiting:
            self._lanes.pop(key, None)


def _copy(error: CodeQError) -> CodeQError:
    """An error of its own for each caller, who may add to it what he likes."""
    copy = type(error).__new__(type(error), *error.args)
    copy.__dict__.update(error.__dict__)
    if notes := getattr(error, "__notes__", None):
        copy.__notes__ = list(notes)
    copy.__cause__ = error.__cause__
    return copy
