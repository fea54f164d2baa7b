"""Runs a server in the foreground until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from codeq_grpc import logs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from codeq_grpc.core.ports import Ports
    from codeq_grpc.settings import Settings


def silence_grpc() -> None:
    """Keeps gRPC's core from writing to stderr between the lines of our log, unless the user asks
    for it. To be called before gRPC is imported.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def collect_seldom() -> None:
    """Lets the garbage collector look at what a server makes, not at what it has imported, and less
    often: nearly all of it is tuples, which reference counts free.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@contextlib.asynccontextmanager
async def stopped_by_signals() -> AsyncIterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set; a second signal ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def first() -> None:
        stop.set()
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in numbers:
        loop.add_signal_handler(number, first)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def serve_until_stopped(
    settings: Settings, stop: asyncio.Event, ready: Callable[[Ports], None]
) -> None:
    """Sets up logs and serves, in this process or in several. Raises OSError when a port is taken,
    and GaveUp.
    """
    logs.set_up(settings.log_level, settings.log_format, ZoneInfo(settings.timezone))
    if settings.processes > 1:
        from codeq_grpc.processes import fleet

        await fleet.serve(settings, stop, ready)
        return
    from codeq_grpc.app import run

    collect_seldom()
    await run(settings, stop, ready)
