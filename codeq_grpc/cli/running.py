"""Runs a server in the foreground until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import resource
import signal
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from codeq_grpc import logs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from codeq_grpc.core.ports import Ports
    from codeq_grpc.settings import Settings


_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
"""Numbers of malloc.h."""


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


def give_memory_back() -> None:
    """Has glibc return large blocks to the system once they are free. Else it comes to keep them
    for the next large message, in one heap for each thread.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_THRESHOLD, 256 << 10)
        libc.mallopt(_M_ARENA_MAX, 2)


def open_many_files() -> None:
    """As many connections as the system allows: what a shell or a service manager sets, 1,024 as a
    rule, is less than a server has streams.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # macOS says "any number", and means fewer
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


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
    open_many_files()
    if settings.processes > 1:
        from codeq_grpc.processes import fleet

        await fleet.serve(settings, stop, ready)
        return
    from codeq_grpc.app import run

    collect_seldom()
    give_memory_back()
    await run(settings, stop, ready)
