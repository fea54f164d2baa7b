"""What a store does under a locale in which strings compare as people sort words."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Final

import pytest
from redis.asyncio import Redis

from codeq_grpc.core.task import TaskState
from codeq_grpc.store.embedded import embedded_store
from codeq_grpc.store.keys import Queue
from tests.support.admin import Admin
from tests.support.clock import START_MS, ClockedConnection, VirtualClock
from tests.support.driver import QueueDriver, task
from tests.support.stores import Engine, StoreProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from codeq_grpc.core.retry import RetryPolicy

LOCALE: Final = "en_US.UTF-8"
SORTS_WORDS: Final = "return 'a' < 'B' and 1 or 0"
"""In the C locale capitals come first."""


@pytest.fixture(scope="module")
def locales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the locale; machines have few."""
    folder = tmp_path_factory.mktemp("locales")
    localedef = shutil.which("localedef")
    if localedef is None:
        pytest.skip("localedef was not found")
    command = [localedef, "--no-archive", "-i", "en_US", "-f", "UTF-8", str(folder / LOCALE)]
    made = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    if not (folder / LOCALE / "LC_COLLATE").exists():
        pytest.skip(f"the locale cannot be made here: {made.stderr}")
    return folder


@pytest.fixture
def abroad(locales: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is started from now on is in that locale."""
    monkeypatch.setenv("LOCPATH", str(locales))
    monkeypatch.setenv("LC_ALL", LOCALE)


@pytest.fixture
def store(engine: Engine, abroad: None) -> Iterator[StoreProcess]:
    with StoreProcess(engine) as process:
        with Admin(process.socket_path) as admin:
            if admin.call("EVAL", SORTS_WORDS, 0) != 1:
                pytest.skip(f"this {engine.name} keeps to the C locale")
        yield process


@pytest.fixture
async def driver(store: StoreProcess, policy: RetryPolicy) -> AsyncIterator[QueueDriver]:
    connection = ClockedConnection(store.url, VirtualClock())
    with Admin(store.socket_path) as admin:
        yield QueueDriver.over(connection, Queue("acme", "RENDER", 7), admin, policy)
    await connection.close()


@pytest.mark.parametrize("state", [TaskState.PENDING, TaskState.CANCELLED])
async def test_tasks_are_found_by_their_time_of_enqueue(
    driver: QueueDriver, state: TaskState
) -> None:
    names: list[bytes] = []
    for _ in range(200):
        names += await driver.enqueue(task())
        driver.clock.advance(41)
    if state == TaskState.CANCELLED:
        await driver.cancel(*names)
    middle = START_MS + 100 * 41
    before = await driver.scan_all(state, created_before_ms=middle)
    since = await driver.scan_all(state, created_from_ms=middle)
    assert (sorted(before), sorted(since)) == (names[:100], names[100:])


async def test_the_embedded_store_is_in_the_c_locale(abroad: None, tmp_path: Path) -> None:
    async with embedded_store(tmp_path) as url:
        redis = Redis.from_url(url)
        assert await redis.eval(SORTS_WORDS, 0) == 0
        await redis.aclose()
