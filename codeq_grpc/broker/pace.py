"""Leaves most of the store to workers while something long is done in many steps."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from codeq_grpc.core.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

_T = TypeVar("_T")
_SHARE: Final = 2.0
"""How much longer the rest after a step is than the step."""
_REST: Final = 0.05
"""Seconds of rest at most: a store that is slow for other reasons is not to stop us."""


async def rest(began: float) -> None:
    """The rest that follows a step which began then, by `core.clock.monotonic`."""
    await asyncio.sleep(min(_REST, _SHARE * (monotonic() - began)))


async def unhurried(steps: Iterable[_T]) -> AsyncIterator[_T]:
    """The steps, with a rest after each that follows what the caller did for it."""
    first = True
    began = 0.0
    for step in steps:
        if not first:
            await rest(began)
        first, began = False, monotonic()
        yield step
