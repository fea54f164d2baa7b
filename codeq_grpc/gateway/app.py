"""Health over HTTP for orchestrators and load balancers.

`/healthz`, `/livez`, `/health`, `/live`: the process answers. `/readyz`, `/ready`: the server
can do its work, 503 with the reasons otherwise. `/health/detailed`: everything, as JSON.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, Final

import grpc
from aiohttp import web
from grpc_health.v1 import health_pb2, health_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_DETAILS_KEY: Final = "x-codeq-health"
_TIMEOUT: Final = 2.0
_MAX_BODY: Final = 64 << 10
_GONE: Final = "the gRPC server does not answer"


class Gateway:
    """An HTTP server in front of the gRPC server at `target`."""

    def __init__(self, target: str) -> None:
        self._target = target

    @contextlib.asynccontextmanager
    async def running(self, host: str, port: int) -> AsyncIterator[int]:
        """Serves while the block runs; gives the port. Raises OSError when it is taken."""
        async with grpc.aio.insecure_channel(self._target) as channel:
            app = web.Application(client_max_size=_MAX_BODY)
            pages = _Pages(health_pb2_grpc.HealthStub(channel))
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
                site = web.TCPSite(runner, host, port)
                await site.start()
                address: Any = runner.addresses[0]
                yield address[1]
            finally:
                await runner.cleanup()


class _Pages:
    def __init__(self, stub: health_pb2_grpc.HealthStub) -> None:
        self._stub = stub

    async def _health(self) -> dict[str, Any]:
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
        health = await self._health()
        if health["ready"]:
            return web.json_response({"status": "ready"})
        body = {"status": "not ready", "reasons": health.get("reasons", {})}
        return web.json_response(body, status=503)

    async def detailed(self, _: web.Request) -> web.Response:
        health = await self._health()
        status = "ready" if health.pop("ready") else "not ready"
        return web.json_response(
            {"status": status, **health}, status=200 if status == "ready" else 503
        )
