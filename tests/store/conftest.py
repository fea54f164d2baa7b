"""A queue under a virtual clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codeq_grpc.core.retry import RetryPolicy
from codeq_grpc.store.keys import Queue
from tests.support.admin import Ear
from tests.support.clock import ClockedConnection, VirtualClock
from tests.support.consistency import inconsistencies
from tests.support.driver import QueueDriver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.support.admin import Admin
    from tests.support.stores import StoreProcess


@pytest.fixture
def policy() -> RetryPolicy:
    """The default policy of the queue under test."""
    return RetryPolicy(initial_backoff_ms=1_000, max_backoff_ms=60_000, multiplier=2, jitter=0)


@pytest.fixture
async def clocked(store: StoreProcess) -> AsyncIterator[ClockedConnection]:
    connected = ClockedConnection(store.url, VirtualClock())
    yield connected
    await connected.close()


@pytest.fixture
def driver(clocked: ClockedConnection, admin: Admin, policy: RetryPolicy) -> QueueDriver:
    return QueueDriver.over(clocked, Queue("acme", "RENDER", 7), admin, policy)


@pytest.fixture
def consistent(driver: QueueDriver) -> Iterator[None]:
    """For tests that abort and forge nothing: what they leave behind is without fault."""
    yield
    assert inconsistencies(driver.snapshot(), driver.clock.ms) == []


@pytest.fixture
def listen(store: StoreProcess) -> Iterator[Callable[[str], Ear]]:
    """Opens the ear of a server."""
    ears: list[Ear] = []

    def _listen(server: str) -> Ear:
        ears.append(Ear(store.socket_path, f"codeq:wake:{server}"))
        return ears[-1]

    yield _listen
    for ear in ears:
        ear.close()
