"""What is wrong in the registry of queues is told, and mended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codeq_grpc.core.findings import Mode
from codeq_grpc.store.registry import Registry
from tests.support.examined import doctor

if TYPE_CHECKING:
    from tests.support.clock import ClockedConnection
    from tests.support.driver import QueueDriver


async def findings(driver: QueueDriver, mode: Mode) -> set[tuple[str, str, str]]:
    looking = doctor(driver, mode)
    return {
        (one.kind, one.where, one.entry)
        async for look in looking.examine_registry()
        for one in look.findings
    }


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("HDEL", "names", "acme/RENDER"), {("unindexed", "numbers", "acme/RENDER")}),
        (("HDEL", "numbers", "{n}"), {("unindexed", "names", "acme/RENDER")}),
        (("SET", "last", "1"), {("behind", "numbers", "{n}"), ("behind", "numbers", "{o}")}),
        (("HSET", "numbers", "x", "acme/RENDER"), {("stray", "numbers", "x")}),
        (("HSET", "numbers", "5", "nonsense"), {("stray", "numbers", "5")}),
        (("HSET", "names", "nonsense", "5"), {("stray", "names", "nonsense")}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
async def test_damage_is_told_and_mended(
    clocked: ClockedConnection,
    driver: QueueDriver,
    command: tuple[str, ...],
    expected: set[tuple[str, str, str]],
) -> None:
    registry = Registry(clocked)
    other = await registry.open("acme", "OTHER")
    queue = await registry.open("acme", "RENDER")
    assert await findings(driver, Mode.LOOK) == set()
    numbers = {"n": str(queue.number), "o": str(other.number)}
    first, key, *rest = (part.format(**numbers) for part in command)
    driver.admin.call(first, f"codeq:{{registry}}:{key}", *rest)
    told = {(k, w, entry.format(**numbers)) for k, w, entry in expected}
    found = await findings(driver, Mode.LOOK)
    assert found <= told
    assert found
    assert await findings(driver, Mode.REPAIR) <= told
    assert await findings(driver, Mode.REPAIR) == set()
    again = Registry(clocked)
    await again.refresh()
    assert (await again.find("acme", "RENDER")).number == queue.number
    assert {known.number for known in again.known()} == {queue.number, other.number}


async def test_queue_that_lost_its_number_gets_another(
    clocked: ClockedConnection, driver: QueueDriver
) -> None:
    await driver.enqueue_one()
    found = {("unregistered", "names", "acme/RENDER")}
    assert await findings(driver, Mode.LOOK) == found
    assert await findings(driver, Mode.REPAIR) == found
    assert await findings(driver, Mode.LOOK) == set()
    assert (await Registry(clocked).find("acme", "RENDER")).number > 0
