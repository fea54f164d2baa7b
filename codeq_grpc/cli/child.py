"""One server of several: `python -m codeq_grpc.cli.child`, started by the supervisor only."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from codeq_grpc import logs
from codeq_grpc.cli.running import collect_seldom, give_memory_back, silence_grpc
from codeq_grpc.processes.channel import Channel
from codeq_grpc.processes.orphans import die, die_with_parent
from codeq_grpc.transport.certificates import BadCertificate

if TYPE_CHECKING:
    from codeq_grpc.app import App
    from codeq_grpc.processes.channel import Message


def main() -> None:
    """Serves what the parent asks for through standard input."""
    die_with_parent()
    silence_grpc()
    try:
        sock = socket.socket(fileno=0)
    except OSError:
        sys.exit("this is a part of `codeq serve --processes`")
    sys.exit(asyncio.run(_main(sock)))


async def _main(sock: socket.socket) -> int:
    channel = await Channel.over(sock)
    orders = await channel.receive()
    if orders is None:
        return 1
    stop = _stop_of_signals()
    try:
        await _serve(orders, channel, stop)
    except (BadCertificate, OSError, ImportError) as error:
        channel.send({"failed": str(error)})
        await channel.close()
        return 1
    return 0


def _stop_of_signals() -> asyncio.Event:
    """Any number of signals ends it in order: a process manager may send one to each process, and
    the parent another. Who is in a hurry kills the parent.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _serve(orders: Message, channel: Channel, stop: asyncio.Event) -> None:
    from codeq_grpc.settings import Settings

    settings = Settings.model_validate(orders["settings"])
    server_id = secrets.token_hex(4)
    zone = ZoneInfo(settings.timezone)
    logs.set_up(settings.log_level, settings.log_format, zone, server=server_id)
    from codeq_grpc.app import App, Shared

    siblings: list[dict[str, Any]] = []
    collect_seldom()
    give_memory_back()
    listeners = [socket.socket(fileno=fileno) for fileno in orders["http"]]
    app = App(settings, Shared(server_id, listeners, lambda: siblings))
    hearing = asyncio.create_task(_hear(channel, siblings))
    telling = None
    try:
        async with app.running():
            telling = asyncio.create_task(_tell(app, channel))
            await stop.wait()
    finally:
        for task in filter(None, (hearing, telling)):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _hear(channel: Channel, siblings: list[dict[str, Any]]) -> None:
    """Until the parent is gone, and this process with it."""
    while (message := await channel.receive()) is not None:
        siblings[:] = message["processes"]
    die()


async def _tell(app: App, channel: Channel) -> None:
    """Of every change, the draining included."""
    while True:
        changed = app.health.changed
        details = app.health.details()
        channel.send(
            {"server": app.server_id, "ready": app.health.ready, "reasons": details["reasons"]}
        )
        await changed.wait()


if __name__ == "__main__":
    main()
