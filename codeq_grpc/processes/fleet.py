"""Serves with several processes: takes the ports, starts the supervisor."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Final

from codeq_grpc.core.ports import Ports
from codeq_grpc.processes import ports
from codeq_grpc.processes.child import ServerProcess
from codeq_grpc.processes.supervisor import GaveUp, Supervisor

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from codeq_grpc.settings import Settings

__all__ = ("GaveUp", "serve")

_log = logging.getLogger(__name__)
_LAST_WORDS: Final = 10.0
"""Seconds beyond drain_seconds that a server may need for what must still reach the store."""


async def serve(settings: Settings, stop: asyncio.Event, ready: Callable[[Ports], None]) -> None:
    """Until `stop` is set and all processes have ended; calls `ready` once calls are answered. This
    process neither serves nor knows the store. Raises OSError when a port is taken, and GaveUp.
    """
    with contextlib.ExitStack() as stack:
        grpc_port, reserved = ports.reserve(
            settings.grpc_host, settings.grpc_port, share=settings.reuse_port
        )
        for sock in reserved:
            stack.enter_context(sock)
        http = ports.listen(settings.http_host, settings.http_port)
        http_port, listening = stack.enter_context(http)
        inherited = [sock.fileno() for sock in listening]
        changed = {"grpc_port": grpc_port, "http_port": http_port, "reuse_port": True}
        orders = {
            "settings": settings.model_copy(update=changed).model_dump(mode="json"),
            "http": inherited,
        }
        _log.info(
            "supervising",
            extra={"processes": settings.processes, "grpc": grpc_port, "http": http_port},
        )
        supervisor = Supervisor(
            lambda: ServerProcess.start(orders, inherited),
            settings.processes,
            patience=settings.drain_seconds + _LAST_WORDS,
        )
        await supervisor.run(stop, lambda: ready(Ports(grpc_port, http_port)))
        _log.info("all processes have ended")
