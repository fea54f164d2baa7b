"""Room for the bytes of requests: of a server, and of each of its callers.

Nobody knows how long a message is before it has come, and grpcio takes in all of it once it is
asked for. So a call takes room for the largest message before it asks, gives back what it did not
need as soon as it knows, and the rest when it ends. Who finds none waits for its turn; callers take
turns with each other. One loop serves all calls: counting needs no lock.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from codeq_grpc.core import limits
from codeq_grpc.core.errors import TooManyCalls

if TYPE_CHECKING:
    from collections.abc import Hashable

LARGEST: Final = limits.MESSAGE_BYTES
_PATIENCE: Final = 5.0
"""Seconds that a call waits for room."""


class Room:
    """`server` bytes in all, of which each caller may have `caller`. `name` is that of the setting
    of the server's; `whose` is added to it for that of a caller.
    """

    def __init__(self, name: str, server: int, caller: int, *, whose: str) -> None:
        self._name = name
        self._whose = whose
        self._server = server
        self._caller = caller
        self._free = server
        self._held: dict[Hashable, int] = {}
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}

    @property
    def held(self) -> int:
        """Bytes taken."""
        return self._server - self._free

    async def take(self, who: Hashable) -> None:
        """Takes room for a message of any size. Raises TooManyCalls when none comes free."""
        # Whoever waits and may have what is free has been given it.
        if who not in self._waiting and self._fits(who):
            self._hold(who)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(who, deque()).append(turn)
        try:
            async with asyncio.timeout(_PATIENCE):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.give(who, LARGEST)
            else:
                self._leave(who, turn)
            if isinstance(error, TimeoutError):
                raise self._full(who) from None
            raise

    def give(self, who: Hashable, count: int) -> None:
        """Gives `count` bytes back, to those who wait."""
        self._free += count
        left = self._held[who] - count
        if left:
            self._held[who] = left
        else:
            del self._held[who]
        while self._waiting and self._next():
            pass

    def holds_up(self, who: Hashable) -> bool:
        """Whether somebody waits for what `who` has."""
        return who in self._waiting or bool(self._waiting and self._free < LARGEST)

    def share(self, who: Hashable) -> Share:
        """Of a call of his, without anything in it yet."""
        return Share(self, who)

    def _fits(self, who: Hashable) -> bool:
        return self._free >= LARGEST and self._held.get(who, 0) + LARGEST <= self._caller

    def _hold(self, who: Hashable) -> None:
        self._free -= LARGEST
        self._held[who] = self._held.get(who, 0) + LARGEST

    def _next(self) -> bool:
        """Gives the first who may have it its turn, and lets the other callers go before it then.
        Few can stand before it: those that have as much as they may.
        """
        for who, turns in self._waiting.items():
            if self._free < LARGEST:
                return False
            if self._fits(who):
                turn = turns.popleft()
                del self._waiting[who]
                if turns:
                    self._waiting[who] = turns
                if not turn.done():  # its call may be about to leave
                    self._hold(who)
                    turn.set_result(None)
                return True
        return False

    def _leave(self, who: Hashable, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(who)
        if turns is not None and turn in turns:
            turns.remove(turn)
            if not turns:
                del self._waiting[who]

    def _full(self, who: Hashable) -> TooManyCalls:
        of_server = self._held.get(who, 0) + LARGEST <= self._caller
        name = self._name if of_server else f"{self._name}{self._whose}"
        limit = self._server if of_server else self._caller
        metadata = {"budget": name, "limit": str(limit)}
        return TooManyCalls(
            f"{name}: no room for a message within {limit} bytes", metadata=metadata
        )


class Share:
    """What one call has."""

    __slots__ = ("_count", "_room", "_who")

    def __init__(self, room: Room, who: Hashable) -> None:
        self._room = room
        self._who = who
        self._count = 0

    async def take(self) -> None:
        """Room for its next message, instead of that for the last one. Raises TooManyCalls."""
        self.end()
        await self._room.take(self._who)
        self._count = LARGEST

    def came(self, size: int) -> None:
        """The message is there: the rest is for others."""
        if self._count > size:
            more, self._count = self._count - size, size
            self._room.give(self._who, more)

    def end(self) -> None:
        """Gives back all of it."""
        if self._count:
            count, self._count = self._count, 0
            self._room.give(self._who, count)

    @property
    def holds_up(self) -> bool:
        """Whether somebody waits for it."""
        return self._room.holds_up(self._who)
