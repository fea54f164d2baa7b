"""How a handler hears that its task is to be cancelled, or its lease lost."""

from __future__ import annotations

import asyncio

from codeq_grpc.worker.outcomes import Cancelled


class Flag:
    """Set once and for all; may be read from any thread.

    What an `asyncio.Event` is, but for its price: every task has two, and hardly one is waited for.
    """

    __slots__ = ("_event", "_set")

    def __init__(self) -> None:
        self._set = False
        self._event: asyncio.Event | None = None

    def is_set(self) -> bool:
        """Whether it is."""
        return self._set

    async def wait(self) -> bool:
        """Waits until it is set, and says so; not for threads."""
        if self._event is None:
            self._event = asyncio.Event()
        if self._set:
            self._event.set()
        return await self._event.wait()

    def set(self) -> None:
        """Sets it; for the worker, in the thread of its loop, and for tests of handlers."""
        self._set = True
        if self._event is not None:
            self._event.set()


class CancelToken(Flag):
    """Set once somebody has cancelled the task."""

    __slots__ = ("_reason",)

    def __init__(self) -> None:
        super().__init__()
        self._reason = ""

    @property
    def reason(self) -> str:
        """Why, as the one who cancelled has put it; empty until then."""
        return self._reason

    def raise_if_cancelled(self) -> None:
        """Ends the attempt, once the task is to be cancelled.

        Raises:
            Cancelled: It is; let it out of the handler.
        """
        if self._set:
            raise Cancelled(self._reason)

    def set(self, reason: str = "") -> None:
        """As `Flag.set`, with the reason."""
        self._reason = reason
        super().set()
