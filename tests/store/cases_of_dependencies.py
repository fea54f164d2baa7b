"""Cases of scripts that deliver what queues owe each other; see `cases.py`."""

from __future__ import annotations

from codeq_grpc.store.outbox import Resolution
from tests.store.making import FAR_MS, UNKNOWN, Act, awaited, followed, waiting, watching
from tests.support.courier import tell
from tests.support.driver import QueueDriver, task


async def owing(driver: QueueDriver) -> Act:
    names = await driver.enqueue(task(), task())
    await followed(driver, *names)
    await driver.cancel(names[0])
    await driver.enqueue(task(depends_on=(driver.id(names[1]),)))
    return driver.owed


async def following(driver: QueueDriver) -> Act:
    names = await driver.enqueue(task(), task(when=-5), task())
    (child,) = await driver.enqueue(task(depends_on=tuple(map(driver.id, names))))
    await driver.cancel(names[2])
    return lambda: driver.follow(driver.id(child), *names, UNKNOWN)


async def settling(driver: QueueDriver) -> Act:
    names = await driver.enqueue(task(), task(), task())
    for _ in range(3):
        await followed(driver, *names)
    await driver.cancel(*names)
    first, *rest = await driver.owed(most=2)
    await tell(driver, first)
    return lambda: driver.settle(first, *[entry._replace(more=False) for entry in rest])


async def resolving(driver: QueueDriver) -> Act:
    names = await driver.enqueue(task(), task(), task(), task())
    ids = tuple(map(driver.id, names))
    children = await driver.enqueue(
        task(depends_on=ids[:1]),
        task(depends_on=ids[:1], when=-5_000, expire_ms=FAR_MS),
        task(depends_on=ids[:2]),
        task(depends_on=ids[1:2], expire_ms=FAR_MS),
    )
    for name in (*names[1:2], *children):
        await followed(driver, name)
    await driver.take(2)
    await waiting(driver)
    await watching(driver)
    await awaited(driver, *children)
    errors = (b"", b"", b"", b"dependency failed")
    told = [
        Resolution(child, [ids[1] if error else ids[0]], error)
        for child, error in zip(children, errors, strict=True)
    ]
    return lambda: driver.resolve(*told)


async def resolving_for_later(driver: QueueDriver) -> Act:
    (parent,) = await driver.enqueue(task())
    (child,) = await driver.enqueue(task(depends_on=(driver.id(parent),), when=-5_000))
    await waiting(driver)
    return lambda: driver.resolve(Resolution(child, [driver.id(parent)], b""))
