"""Health over gRPC and HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import aiohttp
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from codeq_grpc import __version__
from tests.integration.calling import SERVICE, SERVICES
from tests.integration.looking import page
from tests.support.server import eventually, running_server

if TYPE_CHECKING:
    from tests.support.server import Server
    from tests.support.stores import Engine, StoreProcess

CHECKS: Final = [
    f"store.{check}"
    for check in (
        *("reachable", "writable", "rights", "noeviction", "primary", "version", "durability"),
        *("cluster", "memory", "settings", "clock"),
    )
]
OURS: Final = [service.full_name for service in SERVICES]
SERVING: Final = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING


def health(server: Server) -> Any:
    """A client of grpc.health.v1."""
    return health_pb2_grpc.HealthStub(server.channel)


def of(service: str = "") -> health_pb2.HealthCheckRequest:
    """A request about one service."""
    return health_pb2.HealthCheckRequest(service=service)


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/health", "/live"])
async def test_a_running_process_is_alive(server: Server, path: str) -> None:
    assert await page(server, path) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", ["/readyz", "/ready"])
async def test_a_server_with_a_fit_store_is_ready(server: Server, path: str) -> None:
    assert await page(server, path) == (200, {"status": "ready"})


async def test_the_detailed_page_tells_versions_and_every_check(
    server: Server, engine: Engine
) -> None:
    status, body = await page(server, "/health/detailed")
    assert (status, body["status"], body["version"]) == (200, "ready", __version__)
    assert body["store"] == {
        "engine": engine.name,
        "version": engine.version,
        "aof": "false",
        "fsync": "everysec",
        "policy": "noeviction",
    }
    assert body["services"] == dict.fromkeys([*OURS, *CHECKS], "SERVING")
    assert body["durability"] == "D0"
    assert body["reasons"] == {}
    assert body["uptime_seconds"] >= 0
    assert abs(body["clock_skew_ms"]) <= 1_000


async def test_other_pages_and_methods_do_not_exist(server: Server) -> None:
    url = f"http://127.0.0.1:{server.ports.http}"
    async with aiohttp.ClientSession() as session:
        for method, path, status in (
            ("GET", "/", 404),
            ("GET", "/healthz/", 404),
            ("GET", "/..%2f..%2fetc/passwd", 404),
            ("POST", "/healthz", 405),
            ("DELETE", "/readyz", 405),
            ("HEAD", "/healthz", 200),
        ):
            async with session.request(method, url + path) as response:
                assert response.status == status, (method, path)
        async with session.post(f"{url}/healthz", data=bytes(1 << 20)) as response:
            assert response.status == 405


async def test_check_knows_every_service_and_no_other(server: Server) -> None:
    for service in ("", *OURS, *CHECKS):
        assert (await health(server).Check(of(service))).status == SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health(server).Check(of("codeq.v1.Unknown"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_list_has_every_service(server: Server) -> None:
    response = await health(server).List(health_pb2.HealthListRequest())
    assert {name: one.status for name, one in response.statuses.items()} == dict.fromkeys(
        ["", *OURS, *CHECKS], SERVING
    )


async def test_watch_tells_changes_as_they_come(
    own_store: StoreProcess, own_server: Server
) -> None:
    watch = health(own_server).Watch(of(SERVICE.full_name))
    assert (await watch.read()).status == SERVING
    own_store.kill()
    assert (await watch.read()).status == NOT_SERVING
    own_store.start()
    assert (await watch.read()).status == SERVING
    watch.cancel()


async def test_watch_of_an_unknown_service_waits_for_it(server: Server) -> None:
    watch = health(server).Watch(of("codeq.v1.Unknown"))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()


async def test_watch_ends_when_the_server_drains(server: Server) -> None:
    watches = {
        service: aiter(health(server).Watch(of(service)))
        for service in ("", SERVICE.full_name, "codeq.v1.Unknown")
    }
    for watch in watches.values():
        await anext(watch)
    server.app.health.drain()
    last = {
        service: [message.status async for message in watch] for service, watch in watches.items()
    }
    assert last == {"": [NOT_SERVING], SERVICE.full_name: [NOT_SERVING], "codeq.v1.Unknown": []}


async def test_many_watchers_that_leave_are_forgotten(server: Server) -> None:
    watches = [health(server).Watch(of()) for _ in range(50)]
    for watch in watches:
        await watch.read()
    for watch in watches:
        watch.cancel()
    waiters = server.app.health.changed._waiters
    await eventually(lambda: not waiters)


async def test_the_pages_take_no_proxy_from_the_environment(
    store: StoreProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with running_server(store) as behind:
        assert await page(behind, "/readyz") == (200, {"status": "ready"})
