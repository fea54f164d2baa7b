"""Calls at work, so many at a time, and tenants by turns when there are more.

One loop serves all calls in the order in which they come: a tenant that sends many would have
everybody else's wait behind them. So only some are at work at once, and where more have come, each
tenant that waits gets a turn in which it may work off as much as any other: who has many waits for
its own (deficit round robin, Shreedhar and Varghese 1995, with debts in place of credits). While
there are places it costs a counter and an entry of a dictionary.

A call that itself waits, for tasks or for a disc, gives its place up. One that has its place for
long does, too: whatever it waits for, it is not at work.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from codeq.v1 import codeq_service_pb2 as pb
from codeq_grpc.core import limits
from codeq_grpc.core.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    Entry = tuple[Hashable, int, asyncio.Future[None]]

_LONG: Final = 0.1
"""Seconds after which a call loses its place, if somebody waits for one."""
_LOOK: Final = 0.02
_ITEMS: Final = 8
_BYTES: Final = 32 << 10
"""Items of a batch, and bytes of a request, that cost as much as a call."""
_LARGE: Final = 4
"""What weighs more than so many calls has places of its own, and of these so many times as many:
small calls do not wait until a batch is through."""


class _Line:
    """The calls of one tenant that wait, and by how much it had more than its turns."""

    __slots__ = ("calls", "debt")

    def __init__(self) -> None:
        self.calls: deque[Entry] = deque()
        self.debt = 0


class Turns:
    """Places for calls at work. What a call weighs is in calls that do one thing each."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._used = 0
        self._working: dict[Hashable, tuple[int, float]] = {}
        self._lines: dict[str, _Line] = {}
        self._looks = False

    def enter(self, call: Hashable, tenant: str, weight: int) -> asyncio.Future[None] | None:
        """Takes a place for a call, or has it wait: what comes back then is to be awaited. In any
        case it `leaves` afterwards.
        """
        if self._used < self._most:
            self._admit(call, weight)
            return None
        line = self._lines.get(tenant)
        if line is None:
            line = self._lines[tenant] = _Line()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.calls.append((call, weight, turn))
        if not self._looks:
            self._looks = True
            asyncio.get_running_loop().call_later(_LOOK, self._look)
        return turn

    def leave(self, call: Hashable) -> None:
        """Gives up its place, if it has one."""
        place = self._working.pop(call, None)
        if place is not None:
            self._used -= place[0]
            if self._lines:
                self._next()

    def _admit(self, call: Hashable, weight: int) -> None:
        # The last one may take more than there is: nothing of weight waits for ever.
        self._used += weight
        self._working[call] = (weight, monotonic())

    def _next(self) -> None:
        """Those whose turn it is. While there are lines, all places are taken."""
        lines = self._lines
        while lines and self._used < self._most:
            tenant, line = next(iter(lines.items()))
            del lines[tenant]
            if line.debt > 0:
                line.debt -= 1
            else:
                self._first(line)
            if line.calls or line.debt > 0:
                lines[tenant] = line

    def _first(self, line: _Line) -> None:
        while line.calls:
            call, weight, turn = line.calls.popleft()
            if not turn.done():  # else its caller has left
                line.debt += weight - 1
                self._admit(call, weight)
                turn.set_result(None)
                return

    def _look(self) -> None:
        late = monotonic() - _LONG
        # They stand in the order in which they came to work.
        for call, (_, since) in list(self._working.items()):
            if since > late:
                break
            self.leave(call)
        self._looks = bool(self._lines)
        if self._looks:
            asyncio.get_running_loop().call_later(_LOOK, self._look)


class Work:
    """Turns of small calls, and of large ones. `most` are of small ones."""

    def __init__(self, most: int) -> None:
        self._small, self._large = Turns(most), Turns(most * _LARGE)

    def enter(self, call: Hashable, tenant: str, weight: int) -> asyncio.Future[None] | None:
        """As `Turns.enter`."""
        turns = self._large if weight > _LARGE else self._small
        return turns.enter(call, tenant, weight)

    def leave(self, call: Hashable) -> None:
        """As `Turns.leave`."""
        self._small.leave(call)
        self._large.leave(call)


def weight_of(request: Any, size: int = 0) -> int:
    """By its bytes, and of a batch by its items."""
    weight, count = 1 + size // _BYTES, _COUNTS.get(type(request))
    if count is None:
        return weight
    return max(weight, 1 + min(count(request), limits.BATCH_TASKS) // _ITEMS)


_COUNTS: Final[dict[type, Callable[[Any], int]]] = {
    pb.BatchEnqueueRequest: lambda request: len(request.tasks),
    pb.ReportRequest: lambda request: len(request.outcomes),
    pb.HeartbeatRequest: lambda request: len(request.leases),
    pb.ClaimRequest: lambda request: max(0, request.max_tasks),
    pb.ListTasksRequest: lambda request: max(0, request.page_size or limits.PAGE_DEFAULT),
    pb.AdminCleanupRequest: lambda request: max(0, request.limit or limits.CLEANUP_DEFAULT),
}
