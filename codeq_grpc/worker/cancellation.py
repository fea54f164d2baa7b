"""How a handler hears that its task is to be cancelled."""

from __future__ import annotations

import asyncio

from codeq_grpc.worker.outcomes import Cancelled


class CancelToken:
    """Set once somebody has cancelled the task; may be read from any thread."""

    __slots__ = ("_event", "_reason")

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._reason = ""

    @property
    def reason(self) -> str:
        """Why, as the one who cancelled has put it; empty until then."""
        return self._reason

    def is_set(self) -> bool:
        """Whether the task is to be cancelled."""
        return self._event.is_set()

    def raise_if_cancelled(self) -> None:
        """Ends the attempt, once the task is to be cancelled.

        Raises:
            Cancelled: It is; let it out of the handler.
        """
        if self._event.is_set():
            raise Cancelled(self._reason)

    async def wait(self) -> None:
        """Waits until the task is to be cancelled; not for threads."""
        await self._event.wait()

    def set(self, reason: str = "") -> None:
        """Cancels; for the worker, in the thread of its loop, and for tests of handlers."""
        self._reason = reason
        self._event.set()
