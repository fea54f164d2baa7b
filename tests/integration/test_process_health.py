"""The health pages of one of several processes speak for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from codeq_grpc.app import App, Shared
from codeq_grpc.processes.ports import listen
from tests.support.server import settings_for

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

    from tests.support.stores import StoreProcess

_DRAINING = {"process": 1, "ready": False, "reasons": {"server": "the server is draining"}}
_AWAY = {"process": 2, "ready": False, "reasons": {"store.reachable": "nobody answers"}}
_READY = {"process": 2, "ready": True, "reasons": {}}


class Process:
    """A server whose siblings are made up."""

    def __init__(self, store: StoreProcess, http_port: int, listeners: list[socket.socket]) -> None:
        self.states: list[dict[str, Any]] = []
        self.http_port = http_port
        shared = Shared("abcd1234", listeners, lambda: self.states)
        self.app = App(settings_for(store), shared)

    async def get(self, path: str) -> tuple[int, Any]:
        url = f"http://127.0.0.1:{self.http_port}{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status, await response.json()


@pytest.fixture
async def process(store: StoreProcess) -> AsyncIterator[Process]:
    with listen("127.0.0.1", 0) as (http_port, listeners):
        process = Process(store, http_port, listeners)
        async with process.app.running() as ports:
            assert ports.http == process.http_port
            assert process.app.server_id == "abcd1234"
            yield process


async def test_ready_is_who_has_one_that_is_ready_though_this_one_is_not(process: Process) -> None:
    process.states = [_DRAINING, _READY]
    assert await process.get("/readyz") == (200, {"status": "ready"})
    status, page = await process.get("/health/detailed")
    assert (status, page["status"]) == (200, "ready")
    assert page["processes"] == process.states
    assert page["store"]["engine"]


async def test_not_ready_are_all_together_for_the_reasons_of_all(process: Process) -> None:
    process.states = [_DRAINING, _AWAY]
    reasons = {"server": "the server is draining", "store.reachable": "nobody answers"}
    assert await process.get("/readyz") == (503, {"status": "not ready", "reasons": reasons})
    status, page = await process.get("/health/detailed")
    assert (status, page["status"]) == (503, "not ready")
    assert (await process.get("/livez"))[0] == 200


async def test_not_ready_is_who_has_not_heard_of_anybody(process: Process) -> None:
    assert (await process.get("/readyz"))[0] == 503
