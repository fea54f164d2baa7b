"""Brings queues into states from which the cases begin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from codeq_grpc.core.records import Idempotency
from codeq_grpc.core.task import Conflict
from tests.support.clock import START_MS
from tests.support.courier import follow
from tests.support.driver import Packed, QueueDriver, task

Act = Callable[[], Awaitable[object]]
Case = Callable[[QueueDriver], Awaitable[Act]]

UNKNOWN: Final = b"unknown"
FAR_MS: Final = START_MS + 86_400_000
"""Expires after every other time of these cases."""
SOON_MS: Final = START_MS + 3_000
TTL_MS: Final = 3_600_000
LABELS: Final = (("a", "1"), ("b", "2"))


def forge(driver: QueueDriver, index: str, *names: bytes) -> None:
    """Entries of an index that are due and stale."""
    for name in names:
        driver.admin.call("ZADD", driver.key(index), 1, name)


async def waiting(driver: QueueDriver) -> None:
    """Two servers wait, one of which no longer listens."""
    for server in ("gone", "srv"):
        driver.admin.call("ZADD", driver.key("w"), START_MS, server)


async def watching(driver: QueueDriver) -> None:
    await driver.reads.watch(driver.queue, "srv", 900_000)


async def awaited(driver: QueueDriver, *names: bytes) -> None:
    for name in names:
        await driver.store.await_end(driver.queue, name, "srv")


async def followed(driver: QueueDriver, *names: bytes) -> bytes:
    """Name of a task that waits for all of these, which know."""
    ids = tuple(driver.id(name) for name in names)
    (child,) = await driver.enqueue(task(depends_on=ids))
    for entry in await driver.owed(for_ms=0):
        if entry.name == child:
            await follow(driver, entry)
            await driver.settle(entry)
    return child


def keyed(
    key: str,
    spec: bytes = b"spec",
    *,
    conflict: Conflict = Conflict.USE_EXISTING,
    ttl_ms: int = TTL_MS,
    priority: int = 5,
    when: int = 0,
    plain: bool = False,
    depends_on: tuple[str, ...] = (),
) -> Packed:
    """A task with an idempotency key and, unless `plain`, much else."""
    return task(
        spec,
        priority=priority,
        when=when,
        idempotency=Idempotency(key, b"d" * 16, ttl_ms, conflict),
        labels=() if plain else LABELS,
        expire_ms=0 if plain else FAR_MS,
        concurrency_key="" if plain else "kk",
        depends_on=depends_on,
    )


async def tasks_of_every_state(driver: QueueDriver) -> list[bytes]:
    """One of each state and one that is parked, with expiry, labels and keys; one let in."""
    await driver.configure(max_in_progress_per_key=1)
    parent = await driver.enqueue_one(priority=0)
    names = await driver.enqueue(
        *[
            task(
                priority=9 - i, max_attempts=1, concurrency_key="k", expire_ms=FAR_MS, labels=LABELS
            )
            for i in range(5)
        ],
        task(when=-90_000, expire_ms=FAR_MS),
        task(depends_on=(driver.id(parent),), expire_ms=FAR_MS),
        task(priority=8),
        task(expire_ms=START_MS + 5, when=-4),
    )
    (completed,) = await driver.take()
    await driver.complete(completed)
    (failed,) = await driver.take()
    await driver.claim(3)
    await driver.fail(failed, b"error")
    await followed(driver, *names[2:])
    driver.clock.advance(5)
    await driver.reap()
    await waiting(driver)
    await watching(driver)
    await awaited(driver, *names)
    return [parent, *names]
