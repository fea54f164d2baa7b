"""Health over HTTP for orchestrators and load balancers.

`/healthz`, `/livez`, `/health`, `/live`: the process answers. `/readyz`, `/ready`: the server
can do its work, 503 with the reasons otherwise. `/health/detailed`: everything, as JSON.

Where several processes serve one port, the pages speak for all of them, whichever answers: ready
is who has one that is ready.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, Final

import grpc
from aiohttp import web
from grpc_health.v1 import health_pb2, health_pb2_grpc

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import AsyncIterator, Callable, Sequence

    Processes = Callable[[], Sequence[dict[str, Any]]]

_DETAILS_KEY: Final = "x-codeq-health"
_TIMEOUT: Final = 2.0
_MAX_BODY: Final = 64 << 10
_OPTIONS: Final = (("grpc.enable_http_proxy", 0),)
"""gRPC takes the proxy of the environment else, even to this machine."""
_GONE: Final = "the gRPC server does not answer"


class Gateway:
    """An HTTP server in front of the gRPC server at `target`. `processes`, where there are several,
    tells of each its `process`, `ready` and `reasons`.
    """

    def __init__(self, target: str, processes: Processes | None = None) -> None:
        self._target = target
        self._processes = processes

    @contextlib.asynccontextmanager
    async def running(
        self,
        host: str,
        port: int,
        listeners: Sequence[socket.socket] = (),
        tls: ssl.SSLContext | None = None,
    ) -> AsyncIterator[int]:
        """Serves while the block runs, on `listeners` if there are any, and by `tls` if there is
        one; gives the port, 0 of a unix socket. Raises OSError when it is taken.
        """
        async with grpc.aio.insecure_channel(self._target, options=_OPTIONS) as channel:
            app = web.Application(client_max_size=_MAX_BODY)
            pages = _Pages(health_pb2_grpc.HealthStub(channel), self._processes)
            for path in ("/healthz", "/livez", "/health", "/live"):
                app.router.add_get(path, pages.live)
            for path in ("/readyz", "/ready"):
                app.router.add_get(path, pages.ready)
            app.router.add_get("/health/detailed", pages.detailed)
            runner = web.AppRunner(
                app, access_log=None, keepalive_timeout=15.0, shutdown_timeout=1.0
            )
            await runner.setup()
            try:
                sites: list[web.BaseSite] = [
                    web.SockSite(runner, sock, ssl_context=tls) for sock in listeners
                ]
                for site in sites or [web.TCPSite(runner, host, port, ssl_context=tls)]:
                    await site.start()
                address: Any = runner.addresses[0]
                yield 0 if isinstance(address, str) else address[1]
            finally:
                await runner.cleanup()


class _Pages:
    def __init__(self, stub: health_pb2_grpc.HealthStub, processes: Processes | None) -> None:
        self._stub = stub
        self._processes = processes

    async def _health(self) -> dict[str, Any]:
        """Of the server, or of all processes."""
        if self._processes is None:
            return await self._asked()
        processes = self._processes()
        return {
            **await self._asked(),
            "ready": any(one["ready"] for one in processes),
            "processes": processes,
        }

    async def _readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether it is given, and reasons why not. Asks no other process: one may be stuck."""
        if self._processes is None:
            health = await self._asked()
            return health["ready"], health.get("reasons", {})
        processes = self._processes()
        reasons = {
            name: reason for one in processes for name, reason in one.get("reasons", {}).items()
        }
        return any(one["ready"] for one in processes), reasons

    async def _asked(self) -> dict[str, Any]:
        """Services, reasons and details as the gRPC server tells them."""
        call = self._stub.List(health_pb2.HealthListRequest(), timeout=_TIMEOUT)
        try:
            response = await call
            trailing = await call.trailing_metadata()
        except grpc.aio.AioRpcError as error:
            return {"ready": False, "reasons": {"server": f"{_GONE}: {error.code().name}"}}
        details = next((value for key, value in trailing if key == _DETAILS_KEY), "{}")
        names = health_pb2.HealthCheckResponse.ServingStatus
        services = {name: names.Name(one.status) for name, one in response.statuses.items()}
        ready = services.pop("", "") == "SERVING"
        return {"ready": ready, **json.loads(details), "services": services}

    async def live(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def ready(self, _: web.Request) -> web.Response:
        is_ready, reasons = await self._readiness()
        if is_ready:
            return web.json_response({"status": "ready"})
        return web.json_response({"status": "not ready", "reasons": reasons}, status=503)

    async def detailed(self, _: web.Request) -> web.Response:
        health = await self._health()
        status = "ready" if health.pop("ready") else "not ready"
        return web.json_response(
            {"status": status, **health}, status=200 if status == "ready" else 503
        )
