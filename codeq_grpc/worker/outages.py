"""Trouble with the server: told once, not for each call that fails meanwhile, and sat out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from codeq_grpc.client import ServerUnavailable

if TYPE_CHECKING:
    from codeq_grpc.client import Client
    from codeq_grpc.core.errors import CodeQError

logger = logging.getLogger(__name__)

_LEAST: Final = 0.05


class Outages:
    """Shared by everything in a worker that calls the server."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._now = False

    def failed(self, what: str, error: CodeQError) -> None:
        """A call failed that will be repeated."""
        level = logging.DEBUG if self._now else logging.WARNING
        logger.log(level, "%s: %s: %s; trying again", what, error.reason, error)
        self._now = True

    def over(self) -> None:
        """A call succeeded."""
        if self._now:
            self._now = False
            logger.info("the server answers again")

    async def rest(self, seconds: float) -> None:
        """Sleeps, but wakes as soon as a lost connection is there again."""
        if self._client.connected:
            await asyncio.sleep(seconds)
            return
        # At least so long, for a server that takes connections only to drop them.
        await asyncio.sleep(min(seconds, _LEAST))
        with contextlib.suppress(ServerUnavailable):
            await self._client.ready(seconds)
