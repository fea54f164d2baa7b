"""The doctor of one queue under test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from codeq_grpc.broker.doctor import Doctor
from codeq_grpc.store.examining import Examining
from codeq_grpc.store.registry import Registry

if TYPE_CHECKING:
    from codeq_grpc.core.findings import Finding
    from tests.support.driver import QueueDriver

DAMAGED: Final = b"damaged"
MAX_ATTEMPTS: Final = 3


async def _at_once(_: float) -> None:
    """No rest."""


def doctor(driver: QueueDriver, *, repair: bool = False, restore: bool = False) -> Doctor:
    """It knows the queue of the driver, registered or not."""
    connection = driver.store._connection
    registry = Registry(connection)
    registry._add(driver.queue.number, f"{driver.queue.tenant}/{driver.queue.command}")
    examining = Examining(
        connection, repair=repair, restore=restore, max_attempts=MAX_ATTEMPTS, error=DAMAGED
    )
    return Doctor(registry, examining, _at_once)


async def examine(
    driver: QueueDriver, *, repair: bool = False, restore: bool = False
) -> list[Finding]:
    """All that it finds in the queue. Of what changed in this very moment it cannot tell; purges
    have moved that a little into the future.
    """
    driver.clock.advance(20)
    looking = doctor(driver, repair=repair, restore=restore)
    return [one async for look in looking.examine(driver.queue) for one in look.findings]


async def assert_mended(driver: QueueDriver, *, restore: bool = False) -> list[Finding]:
    """Mends what is wrong, after which nothing is; gives what that was."""
    found = await examine(driver, repair=True, restore=restore)
    left = await examine(driver)
    assert left == [], f"{left}, after {found}"
    return found
