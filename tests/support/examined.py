"""The doctor of one queue under test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from codeq_grpc.broker.doctor import Doctor
from codeq_grpc.core.findings import Mode
from codeq_grpc.store.examining import Examining
from codeq_grpc.store.registry import Registry

if TYPE_CHECKING:
    from codeq_grpc.core.findings import Finding
    from tests.support.driver import QueueDriver

DAMAGED: Final = b"damaged"
MAX_ATTEMPTS: Final = 3


async def _at_once(_: float) -> None:
    """No rest."""


def doctor(driver: QueueDriver, mode: Mode = Mode.LOOK) -> Doctor:
    """It knows the queue of the driver, registered or not."""
    connection = driver.store._connection
    registry = Registry(connection)
    registry._add(driver.queue.tenant, driver.queue.command, driver.queue.number)
    examining = Examining(connection, mode=mode, max_attempts=MAX_ATTEMPTS, error=DAMAGED)
    return Doctor(registry, examining, _at_once)


async def examine(driver: QueueDriver, mode: Mode = Mode.LOOK) -> list[Finding]:
    """All that it finds in the queue. Of what changed in this very moment it cannot tell; purges
    have moved that a little into the future.
    """
    driver.clock.advance(20)
    looking = doctor(driver, mode)
    return [one async for look in looking.examine(driver.queue) for one in look.findings]


async def assert_mended(driver: QueueDriver) -> list[Finding]:
    """Mends what is wrong, after which nothing is but bodies that may be of tasks; discards those,
    after which nothing is at all. Gives what was found.
    """
    found = await examine(driver, Mode.REPAIR)
    left = await examine(driver)
    told = {one.task_id for one in left}
    assert [one for one in left if one.kind != "orphan"] == [], f"{left}, after {found}"
    assert sorted(one for one in found if not one.mended) == sorted(left), f"after {found}"
    if left:
        found += await examine(driver, Mode.DISCARD)
        assert told.isdisjoint(map(driver.id, driver.snapshot().bodies))
        assert await examine(driver) == [], f"after {found}"
    return found
