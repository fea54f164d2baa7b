"""Real stores for every test that asks for one.

`store` is a running store, emptied for the test, once for each engine found on this machine;
`own_store` one that the test may kill, fill or restart. Whoever needs a store in another way
takes `tests.support.stores.StoreProcess`.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import hypothesis
import pytest

from codeq_grpc.store.connection import Connection
from tests.support.admin import Admin
from tests.support.stores import Engine, StoreProcess, engines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_SETTINGS = re.compile(
    r"CODEQ_.*|OTEL_.*|PORT|ENV|TIMEZONE|LOG_LEVEL|LOG_FORMAT|DEFAULT_LEASE_SECONDS"
    r"|REQUEUE_INSPECT_LIMIT|MAX_ATTEMPTS_DEFAULT|BACKOFF_.*|REDIS_.*|KVROCKS_.*|IDENTITY_.*"
)

hypothesis.settings.register_profile("long", print_blob=True)
"""For tests that take it as the wish to try much more: `--hypothesis-profile=long`."""


def pytest_configure(config: pytest.Config) -> None:
    """What this machine's environment would configure is no part of a test."""
    for name in [name for name in os.environ if _SETTINGS.fullmatch(name)]:
        del os.environ[name]


def pytest_report_header(config: pytest.Config) -> str:
    return "stores: " + ", ".join(f"{engine.label} {engine.version}" for engine in engines())


@pytest.fixture(scope="session", params=engines(), ids=[engine.label for engine in engines()])
def engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.param
    return found


@pytest.fixture(scope="session")
def shared_store(engine: Engine) -> Iterator[StoreProcess]:
    with StoreProcess(engine) as process:
        yield process


@pytest.fixture
def store(shared_store: StoreProcess) -> StoreProcess:
    with Admin(shared_store.socket_path) as admin:
        admin.call("FLUSHALL")
    return shared_store


@pytest.fixture
def own_store(engine: Engine) -> Iterator[StoreProcess]:
    with StoreProcess(engine, aof=True) as process:
        yield process


@pytest.fixture
def admin(store: StoreProcess) -> Iterator[Admin]:
    with Admin(store.socket_path) as connected:
        yield connected


@pytest.fixture
async def connection(store: StoreProcess) -> AsyncIterator[Connection]:
    connected = Connection(store.url)
    yield connected
    await connected.close()
