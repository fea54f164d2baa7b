"""Requests that are still to come, and those that never do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import grpc

from codeq_grpc.core.clock import monotonic
from codeq_grpc.core.errors import MalformedMessage, RequestLate

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

_SECONDS: Final = 20.0
"""That a request may take to come after its headers: 4 MiB by 1.7 Mbit/s."""
_LOOK: Final = 1.0
"""Seconds between looks for those that are late. A timer for each would cost a twentieth of a
call."""
_LEAVING: Final = 0.1
"""Seconds for the cancel of a caller that left to follow the end of its request."""


class Arrivals:
    """Reads the single request of calls that have begun."""

    def __init__(self) -> None:
        self._coming: dict[asyncio.Timeout, float] = {}
        self._looks = False

    async def read(self, context: Context) -> Any:
        """The request. Raises RequestLate, or MalformedMessage when there is none."""
        try:
            async with asyncio.timeout(None) as limit:
                self._coming[limit] = monotonic()
                if not self._looks:
                    self._look()
                try:
                    request = await context.read()
                finally:
                    self._coming.pop(limit, None)
        except TimeoutError:
            raise RequestLate from None
        if request is grpc.aio.EOF:
            await asyncio.sleep(_LEAVING)
            raise MalformedMessage("the call ended without a request")
        return request

    def _look(self) -> None:
        now = monotonic()
        late = [limit for limit, since in self._coming.items() if now - since >= _SECONDS]
        for limit in late:
            del self._coming[limit]
            limit.reschedule(0.0)
        self._looks = bool(self._coming)
        if self._looks:
            asyncio.get_running_loop().call_later(_LOOK, self._look)
