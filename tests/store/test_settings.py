"""Settings of a queue: who stored them last, and that scripts keep to them from then on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codeq_grpc.core.queues import QueueSettings
from codeq_grpc.core.retry import RetryWishes
from codeq_grpc.store.queues import Stored
from codeq_grpc.store.wakeups import work_key
from tests.support.clock import START_MS
from tests.support.driver import LEASE_MS, RETENTION_MS, QueueDriver, task

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.admin import Ear

pytestmark = pytest.mark.usefixtures("consistent")

PAUSED = QueueSettings(paused=True)


async def test_settings_are_kept_with_their_version(driver: QueueDriver) -> None:
    store, queue = driver.settings, driver.queue
    assert await store.settings(queue) == Stored(b"0", b"", b"")
    assert await store.configure(queue, b"0", PAUSED, b"\0message")
    assert await store.settings(queue) == Stored(b"1", b"\0message", b"")
    assert await store.configure(queue, b"1", QueueSettings(), b"")
    assert await store.settings(queue) == Stored(b"2", b"", b"")


async def test_settings_that_were_changed_meanwhile_are_not_overwritten(
    driver: QueueDriver,
) -> None:
    store, queue = driver.settings, driver.queue
    assert await store.configure(queue, b"0", PAUSED, b"first")
    before = driver.snapshot()
    for version in (b"0", b"2", b""):
        assert not await store.configure(queue, version, QueueSettings(), b"second")
    assert driver.snapshot() == before


async def test_every_setting_is_unpacked_as_it_was_packed(driver: QueueDriver) -> None:
    """The furthest from each other in the row: the first, those between, and the last."""
    await driver.configure(
        default_priority=0,
        retry=RetryWishes(max_attempts=1, non_retryable=("E",)),
        lease_ms=86_400_000,
        max_in_progress=1_000_000,
        max_in_progress_per_key=1_000,
        max_claims_per_second=1e6,
        max_backlog=10**12,
        retention_ms=366 * 86_400_000,
        retain_payload=True,
        paused=False,
    )
    (name,) = await driver.enqueue(task(b"s", b"p", priority=None, max_attempts=None))
    lease = await driver.take_one()
    meta = driver.meta(name)
    assert (meta.priority, meta.max_attempts, meta.claim_lease_ms) == (0, 1, 86_400_000)
    await driver.complete(lease)
    assert driver.snapshot().bodies == {name: b"sp"}
    used, _, _ = await driver.prune(age_ms=-1)
    assert used == START_MS - 366 * 86_400_000


@pytest.mark.parametrize(("queues", "expected"), [(None, 5), (0, 0), (9, 9)])
async def test_priority_of_tasks_that_name_none_is_that_of_the_queue(
    driver: QueueDriver, queues: int | None, expected: int
) -> None:
    await driver.configure(default_priority=queues)
    unnamed, named = await driver.enqueue(task(priority=None), task(priority=3))
    state = driver.snapshot()
    assert (state.metas[unnamed].priority, state.metas[named].priority) == (expected, 3)


@pytest.mark.parametrize(
    ("asked", "own", "queues", "expected"),
    [
        (0, 0, 0, LEASE_MS),
        (0, 0, 9_000, 9_000),
        (0, 7_000, 9_000, 7_000),
        (4_000, 7_000, 9_000, 4_000),
    ],
)
async def test_lease_is_as_asked_else_of_the_task_else_of_the_queue_else_the_default(
    driver: QueueDriver, asked: int, own: int, queues: int, expected: int
) -> None:
    await driver.configure(lease_ms=queues)
    await driver.enqueue(task(lease_ms=own))
    lease = await driver.take_one(lease_ms=asked)
    assert driver.meta(lease.name).claim_lease_ms == expected


async def test_paused_queue_gives_nothing_and_takes_all(
    driver: QueueDriver, listen: Callable[[str], Ear]
) -> None:
    await driver.enqueue_one()
    lease = await driver.take_one()
    await driver.configure(paused=True)
    ear = listen("srv")
    (pending, _) = await driver.enqueue(task(), task(when=-5))
    claimed = await driver.claim(5, wake="srv")
    assert (claimed.tasks, claimed.armed, claimed.look_at_ms) == ([], True, START_MS + 5)
    assert (await driver.stats()).paused
    assert await driver.heartbeat(lease) == [b"EXTENDED"]
    await driver.abandon(lease)
    ear.heard()
    await driver.claim(wake="srv")
    await driver.configure(paused=False)
    assert ear.heard() == [work_key(driver.queue)]
    assert set(await driver.claim_names()) == {pending, lease.name}
    assert not (await driver.stats()).paused


async def test_change_of_settings_wakes_all_who_wait(
    driver: QueueDriver, listen: Callable[[str], Ear]
) -> None:
    ears = [listen("a"), listen("b"), listen("c")]
    for server in ("a", "b", "gone"):
        await driver.claim(wake=server)
    await driver.configure()
    assert [len(ear.heard()) for ear in ears] == [1, 1, 0]
    assert driver.snapshot().waiting == {}


@pytest.mark.parametrize(("queues", "expected"), [(0, RETENTION_MS), (5_000, 5_000)])
async def test_retention_is_that_of_the_queue_else_of_the_server(
    driver: QueueDriver, queues: int, expected: int
) -> None:
    await driver.configure(retention_ms=queues)
    await driver.enqueue_one()
    await driver.complete(await driver.take_one())
    driver.clock.advance(expected)
    assert await driver.prune(age_ms=-1) == (START_MS, 0, False)
    driver.clock.advance(1)
    assert await driver.prune(age_ms=-1) == (START_MS + 1, 1, False)


async def test_settings_outlive_tasks(driver: QueueDriver) -> None:
    await driver.configure(max_backlog=1)
    await driver.enqueue_one()
    await driver.complete(await driver.take_one())
    driver.clock.advance(1)
    await driver.prune()
    assert (await driver.settings.settings(driver.queue))[1] == b"message"
