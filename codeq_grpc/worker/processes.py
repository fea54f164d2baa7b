"""Handlers in processes: for those that compute, which threads of one process cannot do at once.

Not `concurrent.futures.ProcessPoolExecutor`: that breaks as a whole, with everything that runs
in it, when one of its processes dies, and cannot end a single one.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import pickle
from typing import TYPE_CHECKING, Final

from codeq_grpc.worker.outcomes import Retry, Told
from codeq_grpc.worker.process import Died, Process

if TYPE_CHECKING:
    from collections.abc import Callable

    from codeq.v1.task_pb2 import Payload
    from codeq_grpc.worker.context import TaskContext

DIED: Final = "WorkerProcessDied"
"""Type of the error of an attempt whose process ended; it may be tried again."""
_LEAVE: Final = 3.0
"""Seconds that idle processes have for leaving ..."""
_END: Final = 2.0
"""... and those that were killed for being gone."""


class InProcess:
    """A handler that runs in a process; `in_process` makes it. Calling it runs it right here."""

    __slots__ = ("__dict__", "_handler")

    def __init__(self, handler: Callable[[TaskContext], object]) -> None:
        self._handler = handler

    def __call__(self, task: TaskContext) -> object:
        """Runs the handler in the caller's thread, as a test of it would."""
        return self._handler(task)

    @functools.cached_property
    def pickled(self) -> bytes:
        """How a process finds the handler.

        Raises:
            ValueError: It cannot.
        """
        try:
            return pickle.dumps(self._handler)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ValueError(
                f"{self._handler!r} cannot run in a process: {error};"
                " let it be a function at the top level of a module"
            ) from error


def in_process(handler: Callable[[TaskContext], object]) -> InProcess:
    """A handler for `Worker` that is to run in a process, as `Worker.handler` has `processes`.

    Raises:
        ValueError: It is asynchronous, or a process could not find it: only functions at the
            top level of a module and other objects that can be pickled can be found.
    """
    call = getattr(handler, "__call__", None)  # noqa: B004 - an object with an async __call__
    if inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call):
        raise ValueError(f"{handler!r} is asynchronous: it runs in the worker's loop, no process")
    found = InProcess(handler)
    name = getattr(handler, "__qualname__", "")
    if not inspect.isfunction(handler) or "<" in name:
        _ = found.pickled  # a decorated function gets its name later; `Worker.run` looks again
    return found


class Processes:
    """At most `count` processes, by default one a CPU, started as they are needed."""

    def __init__(self, count: int | None) -> None:
        if count is not None and count < 1:
            raise ValueError(f"processes must be at least 1, not {count}")
        self._free = asyncio.Semaphore(count or os.cpu_count() or 1)
        self._idle: list[Process] = []
        self._all: set[Process] = set()

    @property
    def pids(self) -> list[int]:
        """Process ids of those that live."""
        return [process.pid for process in self._all if process.pid is not None]

    async def call(self, handler: InProcess, context: TaskContext) -> Payload | None:
        """Runs a handler for a task in the next process that is free, and returns its result.

        Cancelling this ends the process, unless only the task is to be cancelled.

        Raises:
            Told: The handler failed.
            Retry: The process died.
        """
        async with self._free:
            while True:
                process = self._idle.pop() if self._idle else await self._start()
                again = process.used
                try:
                    outcome = await process.run(handler.pickled, context)
                except Died as died:
                    if again and not died.begun:
                        continue  # it died of something else, just before
                    raise Retry(str(died), kind=DIED, detail="") from None
                if process.free:
                    self._idle.append(process)
                break
        if outcome.HasField("fail"):
            raise Told(outcome.fail.error)
        return outcome.complete.result if outcome.complete.HasField("result") else None

    async def close(self) -> None:
        """Ends all, and waits until they are gone."""
        for process in self._all:
            process.leave()
        await self._gone(_LEAVE)
        for process in self._all:
            process.kill()
        await self._gone(_END)

    async def _start(self) -> Process:
        process = await Process.start(self._ended)
        self._all.add(process)
        return process

    def _ended(self, process: Process) -> None:
        self._all.discard(process)
        if process in self._idle:
            self._idle.remove(process)

    async def _gone(self, limit: float) -> None:
        ends = [asyncio.create_task(process.ended.wait()) for process in self._all]
        if ends:
            _, late = await asyncio.wait(ends, timeout=limit)
            for end in late:
                end.cancel()
