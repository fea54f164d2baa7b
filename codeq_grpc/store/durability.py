"""Waits until what the store has done is as safe as promised; many callers share one wait.

A wait is true of all that the store has done before, so one is under way for everybody who comes
while the one before is. A store that writes to its disc once a second answers all of them in the
same moment: so that nobody has to sit through two such seconds, another one sets out after a short
while, whether or not the first has returned.

What one process of the store has done can vanish while the next one of them answers, and the disc
of the next one tells nothing of it. Therefore callers say in which life of the store they began.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from codeq_grpc.core.errors import CodeQError, NotDurable

if TYPE_CHECKING:
    from codeq_grpc.core.durability import Level
    from codeq_grpc.store.connection import Connection

WAITS: Final = 20
"""Under way at most; each has a connection."""
_APART: Final = 0.05
"""Seconds."""


class Durability:
    """What a server promises of a change when it says OK."""

    def __init__(self, connection: Connection, level: Level) -> None:
        self.level = level
        self.timeout = connection.timeout
        self._connection = connection
        self._next: asyncio.Task[tuple[int, str]] | None = None
        self._under_way: set[asyncio.Task[tuple[int, str]]] = set()

    def since(self) -> int:
        """To be taken before the first change of which `reached` will be asked."""
        return self._connection.life

    async def reached(self, since: int, seconds: float) -> None:
        """Returns when everything done so far is durable; at the levels that do not wait, at once.

        Raises:
            NotDurable: It is not, within `seconds`, or nobody can tell.
        """
        if not self.level.waits:
            return
        wait = self._next or self._begin()
        try:
            async with asyncio.timeout(seconds):
                life, problem = await asyncio.shield(wait)
        except TimeoutError:
            life, problem = 0, "not in time"
        # The first life may have been seen only after the call began.
        if not problem and life != max(since, 1):
            problem = "the store was started anew"
        if problem:
            raise NotDurable(metadata={"problem": problem})

    def _begin(self) -> asyncio.Task[tuple[int, str]]:
        self._next = asyncio.get_running_loop().create_task(self._wait())
        return self._next

    async def _wait(self) -> tuple[int, str]:
        task = self._next
        if self._under_way:
            await asyncio.wait(
                self._under_way,
                timeout=_APART if len(self._under_way) < WAITS else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
        # Whoever comes from now on may have changed something that this one does not see.
        self._next = None
        if task is not None:
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        try:
            return await self._connection.settle(self.level.replicas)
        except CodeQError as error:
            return 0, error.message

    def close(self) -> None:
        """Nobody waits any more."""
        for task in [*self._under_way, *([self._next] if self._next else ())]:
            task.cancel()
