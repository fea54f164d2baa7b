"""Requests that are still to come, and those that never do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import grpc

from codeq_grpc.core.clock import monotonic
from codeq_grpc.core.errors import MalformedMessage, RequestLate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from codeq_grpc.rpc.room import Share

    Context = grpc.aio.ServicerContext[Any, Any]

_SECONDS: Final = 20.0
"""That a request may take to come after its headers: 4 MiB by 1.7 Mbit/s."""
_CROWDED: Final = 1.0
"""The same while somebody else waits for the room that is kept for it."""
_LOOK: Final = 0.5
"""Seconds between looks for those that are late. A timer for each would cost a twentieth of a
call."""
_LEAVING: Final = 0.1
"""Seconds for the cancel of a caller that left to follow the end of its request."""


class Arrivals:
    """Reads the requests of calls that have begun."""

    def __init__(self) -> None:
        self._coming: dict[asyncio.Timeout, tuple[float, Share]] = {}
        self._looks = False

    async def read(self, context: Context, share: Share) -> Any:
        """The single request. Raises TooManyCalls when there is no room for it, RequestLate, or
        MalformedMessage when there is none.
        """
        request = await self._next(context, share)
        if request is grpc.aio.EOF:
            share.end()
            await asyncio.sleep(_LEAVING)
            raise MalformedMessage("the call ended without a request")
        return request

    async def read_all(self, context: Context, share: Share) -> AsyncIterator[Any]:
        """One request after the other, of a stream of them. Raises TooManyCalls, RequestLate."""
        while (request := await self._next(context, share)) is not grpc.aio.EOF:
            yield request

    async def _next(self, context: Context, share: Share) -> Any:
        await share.take()
        try:
            async with asyncio.timeout(None) as limit:
                self._coming[limit] = monotonic(), share
                if not self._looks:
                    self._look()
                try:
                    return await context.read()
                finally:
                    self._coming.pop(limit, None)
        except TimeoutError:
            raise RequestLate from None

    def _look(self) -> None:
        now = monotonic()
        late = [
            limit
            for limit, (since, share) in self._coming.items()
            if now - since >= (_CROWDED if share.holds_up else _SECONDS)
        ]
        for limit in late:
            del self._coming[limit]
            limit.reschedule(0.0)
        self._looks = bool(self._coming)
        if self._looks:
            asyncio.get_running_loop().call_later(_LOOK, self._look)
