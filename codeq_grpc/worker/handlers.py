"""The handlers of a worker, and how each is called."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, cast

from codeq_grpc.core import limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from codeq_grpc.worker.context import TaskContext

    Handler = Callable[[TaskContext], object]
    AsyncHandler = Callable[[TaskContext], Awaitable[object]]

_THREADS_MAX: Final = 256


class Handlers:
    """Command -> handler. Functions that are not asynchronous run in threads."""

    def __init__(self, *, concurrency: int) -> None:
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
        if _is_async(handler):
            self._handlers[command] = cast("AsyncHandler", handler)
        else:
            self._handlers[command] = self._in_thread(handler)
            self._in_threads.add(command)

    def runs_in_thread(self, command: str) -> bool:
        """Whether its handler cannot be cancelled."""
        return command in self._in_threads

    async def call(self, context: TaskContext) -> object:
        """Runs the handler of a task and returns what it returned."""
        return await self._handlers[context.command](context)

    def close(self) -> None:
        """Lets the threads go; one that still runs is not waited for."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)

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
