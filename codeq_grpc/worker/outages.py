"""Tells of trouble with the server once, not once for each call that fails meanwhile."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codeq_grpc.core.errors import CodeQError

logger = logging.getLogger(__name__)


class Outages:
    """Shared by everything in a worker that calls the server."""

    def __init__(self) -> None:
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
