"""Work that must outlive the call that began it, e.g. giving claims back."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, TypeVar

from codeq_grpc.core.errors import CodeQError

if TYPE_CHECKING:
    from collections.abc import Coroutine

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Background:
    """Tasks that are kept alive and awaited at shutdown. Errors are logged, not raised."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Starts `work`; the caller may await the task, cancelling it is nobody's business."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, CodeQError):
            _log.info("background work failed: %s", error)
        elif error is not None:
            _log.error("background work broke", exc_info=error)

    async def drain(self, timeout: float) -> None:
        """Waits for everything, also for what comes meanwhile, at most `timeout` seconds."""
        deadline = asyncio.get_running_loop().time() + timeout
        while self._tasks:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                break
            await asyncio.wait(self._tasks, timeout=left)
        for task in self._tasks:
            task.cancel()
