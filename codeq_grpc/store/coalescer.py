"""Concurrent calls of one script in one lane, such as a queue, become one.

A call that finds none under way goes out at once, alone. What comes while one is under way goes
out together when it returns: no timer, and no delay where there is nothing to wait for. Every
caller gets the results of its own items; one that is cancelled while it waits takes its items
along, and one whose items are on their way does not call them back.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Hashable
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from codeq_grpc.core.clock import monotonic
from codeq_grpc.core.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")
Common = TypeVar("Common")

_WAITING_BYTES: Final = 64 << 20
"""What may wait for one script in one lane; beyond it callers are refused."""


class _Waiting(Generic[Item, Result, Common]):
    """One caller."""

    __slots__ = ("done", "items", "since", "size")

    def __init__(
        self,
        items: Sequence[Item],
        size: int,
        done: asyncio.Future[tuple[Sequence[Result], Common]],
    ) -> None:
        self.items = items
        self.size = size
        self.done = done
        self.since = monotonic()


class Bounds(NamedTuple):
    """Items and bytes of one call at most, and seconds that a caller waits in all."""

    items: int
    size: int
    timeout: float


class _Lane(Generic[Item, Result, Common]):
    """Those who wait in one lane while a call is under way."""

    __slots__ = ("size", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[_Waiting[Item, Result, Common]] = deque()
        self.size = 0


class Coalescer(Generic[Key, Item, Result, Common]):
    """Joins the calls of `run` of one key, such as a queue; it gives a result for each item, and
    what is common to all, and is told for how many seconds all of its callers still wait.

    A call is within the `bounds`, but for one caller's items that are beyond them by themselves.
    """

    def __init__(
        self,
        run: Callable[[Key, Sequence[Item], float], Awaitable[tuple[Sequence[Result], Common]]],
        size: Callable[[Item], int],
        bounds: Bounds,
    ) -> None:
        self._run = run
        self._size = size
        self._bounds = bounds
        self._lanes: dict[Key, _Lane[Item, Result, Common]] = {}
        self._driving: set[asyncio.Task[None]] = set()

    async def __call__(self, key: Key, items: Sequence[Item]) -> tuple[Sequence[Result], Common]:
        """The results of these items. Raises what the call raised that they were part of, and
        StoreUnavailable when too much waits or for too long.
        """
        lane = self._lanes.get(key)
        if lane is None:
            self._lanes[key] = _Lane()
            try:
                return await self._run(key, items, self._bounds.timeout)
            finally:
                self._next(key)
        size = sum(map(self._size, items))
        if lane.size + size > _WAITING_BYTES:
            raise StoreUnavailable("too much waits for the store")
        done: asyncio.Future[tuple[Sequence[Result], Common]] = (
            asyncio.get_running_loop().create_future()
        )
        one = _Waiting[Item, Result, Common](items, size, done)
        lane.waiting.append(one)
        lane.size += size
        try:
            return await done
        except asyncio.CancelledError:
            one.items = ()  # what nobody waits for takes no memory
            raise

    def _next(self, key: Key) -> None:
        """The call under way has returned: those who wait go on without its caller."""
        if not self._lanes[key].waiting:
            del self._lanes[key]
            return
        task = asyncio.get_running_loop().create_task(self._drive(key))
        self._driving.add(task)
        task.add_done_callback(self._driving.discard)

    async def _drive(self, key: Key) -> None:
        lane = self._lanes[key]
        try:
            while batch := self._batch(lane):
                await self._call(key, batch)
        finally:
            del self._lanes[key]
            for one in lane.waiting:
                one.done.cancel()

    def _batch(self, lane: _Lane[Item, Result, Common]) -> list[_Waiting[Item, Result, Common]]:
        """Those who go together, without those who left or waited too long."""
        batch: list[_Waiting[Item, Result, Common]] = []
        count = size = 0
        oldest = monotonic() - self._bounds.timeout
        while lane.waiting:
            one = lane.waiting[0]
            gone = one.done.done() or one.since < oldest
            if not gone and batch:
                over = count + len(one.items) > self._bounds.items
                if over or size + one.size > self._bounds.size:
                    break
            lane.waiting.popleft()
            lane.size -= one.size
            if not gone:
                batch.append(one)
                count += len(one.items)
                size += one.size
            elif not one.done.done():
                one.done.set_exception(StoreUnavailable())
        return batch

    async def _call(self, key: Key, batch: list[_Waiting[Item, Result, Common]]) -> None:
        counts = [len(one.items) for one in batch]
        items = batch[0].items if len(batch) == 1 else [i for one in batch for i in one.items]
        left = batch[0].since + self._bounds.timeout - monotonic()
        try:
            async with asyncio.timeout(left):
                results, common = await self._run(key, items, left)
        except TimeoutError:
            self._fail(batch, StoreUnavailable())
        except Exception as error:  # noqa: BLE001 - it belongs to the callers
            self._fail(batch, error)
        else:
            at = 0
            for one, count in zip(batch, counts, strict=True):
                end = at + count
                if not one.done.done():
                    one.done.set_result((results[at:end], common))
                at = end

    @staticmethod
    def _fail(batch: list[_Waiting[Item, Result, Common]], error: Exception) -> None:
        for one in batch:
            if not one.done.done():
                one.done.set_exception(copy.copy(error))
                one.done.exception()  # its caller may have left by now
