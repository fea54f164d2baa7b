"""Servers on a real store, emptied for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.server import running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess


@pytest.fixture(autouse=True)
def nobody_is_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests have no calls left when their servers end, so that these need not wait for any."""
    monkeypatch.setattr("codeq_grpc.app._CLOSING", 0.0)


@pytest.fixture
async def server(store: StoreProcess) -> AsyncIterator[Server]:
    async with running_server(store) as running:
        yield running


@pytest.fixture
async def peer(server: Server, store: StoreProcess) -> AsyncIterator[Server]:
    """Another server on the same store."""
    async with running_server(store) as running:
        yield running


@pytest.fixture
def acme(server: Server) -> Caller:
    """A tenant who may do everything."""
    return server.caller("acme")


@pytest.fixture
def rival(server: Server) -> Caller:
    """Another tenant who may do everything."""
    return server.caller("rival")


@pytest.fixture
async def own_server(own_store: StoreProcess) -> AsyncIterator[Server]:
    """One whose store the test may kill, fill or restart."""
    async with running_server(own_store) as running:
        yield running
