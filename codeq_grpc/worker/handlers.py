"""The handlers of a worker, and how each is called."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, cast

from codeq_grpc.core import limits
from codeq_grpc.worker.processes import InProcess, Processes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from codeq_grpc.worker.context import TaskContext

    Handler = Callable[[TaskContext], object]
    AsyncHandler = Callable[[TaskContext], Awaitable[object]]

_THREADS_MAX: Final = 256


class Handlers:
    """Command -> handler. Functions that are not asynchronous run in threads or processes."""

    def __init__(self, *, concurrency: int, processes: int | None = None) -> None:
        self._processes = Processes(processes)
        self._in_process: list[InProcess] = []
        self._handlers: dict[str, AsyncHandler] = {}
        self._in_threads: set[str] = set()
        self._threads = min(concurrency, _THREADS_MAX)
        self._executor: ThreadPoolExecutor | None = None

    @property
    def commands(self) -> list[str]:
        """Commands in the order of their registration, which is the order of preference."""
        return list(self._handlers)

    def register(self, command: str, handler: Handler) -> None:
        """Serves `command` by `handler`.

        Raises:
            ValueError: The command has a handler already, or there are too many.
        """
        if command in self._handlers:
            raise ValueError(f"{command} has a handler already")
        if len(self._handlers) >= limits.COMMANDS_PER_CLAIM:
            raise ValueError(f"a worker serves at most {limits.COMMANDS_PER_CLAIM} commands")
        if isinstance(handler, InProcess):
            self._handlers[command] = functools.partial(self._processes.call, handler)
            self._in_process.append(handler)
        elif _is_async(handler):
            self._handlers[command] = cast("AsyncHandler", handler)
        else:
            self._handlers[command] = self._in_thread(handler)
            self._in_threads.add(command)

    def runs_in_thread(self, command: str) -> bool:
        """Whether its handler cannot be cancelled."""
        return command in self._in_threads

    def call(self, context: TaskContext) -> Awaitable[object]:
        """Runs the handler of a task, once awaited, and returns what it returned."""
        return self._handlers[context.command](context)

    def check(self) -> None:
        """Makes sure that everything can be run.

        Raises:
            ValueError: There is no handler, or one that processes could not find.
        """
        if not self._handlers:
            raise ValueError("the worker has no handler")
        for handler in self._in_process:
            _ = handler.pickled

    async def close(self) -> None:
        """Ends the processes and lets the threads go; one that still runs is not waited for."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)
        await self._processes.close()

    def _in_thread(self, handler: Handler) -> AsyncHandler:
        async def call(context: TaskContext) -> object:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(self._threads, "codeq-handler")
            loop = asyncio.get_running_loop()
            run = contextvars.copy_context().run
            future = loop.run_in_executor(self._executor, run, handler, context)
            try:
                return await asyncio.shield(future)
            except asyncio.CancelledError:
                # A thread cannot be cancelled: the slot stays taken until it is through, and
                # work that got done all the same counts unless the lease is lost.
                await asyncio.wait([future])
                if context.lost.is_set():
                    raise
                return future.result()

        return call


def _is_async(handler: Handler) -> bool:
    call = getattr(handler, "__call__", None)  # noqa: B004 - an object with an async __call__
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)
