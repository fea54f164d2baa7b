"""Who may ask a process next."""

from __future__ import annotations

import asyncio
from collections import deque


class Turn:
    """A lock. Of those who wait for it each caller gets it by turns, however many waits it has; so
    many of one caller may wait.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = False
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}

    def is_full(self, whose: str) -> bool:
        """Whether no more of this caller may wait."""
        return len(self._lines.get(whose, ())) >= self._most

    async def take(self, whose: str) -> None:
        """Returns when it is this caller's."""
        if not self._held:
            self._held = True
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(whose, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it came just as its caller left
                self.give()
            else:
                self._forget(whose, turn)
            raise

    def give(self) -> None:
        """It is the next one's."""
        while self._lines:
            whose = next(iter(self._lines))
            line = self._lines.pop(whose)
            turn = line.popleft()
            if line:
                self._lines[whose] = line
            if not turn.done():
                turn.set_result(None)
                return
        self._held = False

    def _forget(self, whose: str, turn: asyncio.Future[None]) -> None:
        line = self._lines.get(whose)
        if line is not None and turn in line:
            line.remove(turn)
            if not line:
                del self._lines[whose]
