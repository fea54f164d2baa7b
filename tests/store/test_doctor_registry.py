"""What is wrong in the registry of queues is told, and mended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from codeq_grpc.core.findings import Mode
from codeq_grpc.store import keys
from codeq_grpc.store.calendars import CalendarStore
from codeq_grpc.store.presence import PresenceStore
from codeq_grpc.store.registry import Registry
from tests.store.calendars import new
from tests.support.examined import doctor

if TYPE_CHECKING:
    from tests.support.clock import ClockedConnection
    from tests.support.driver import QueueDriver


BEYOND: Final = str(keys.QUEUES)


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
        (
            ("HDEL", "names", "acme/RENDER"),
            {("unindexed", "numbers", "acme/RENDER"), ("stray", "order", "acme/RENDER")},
        ),
        (("ZREM", "order", "acme/RENDER"), {("unindexed", "order", "acme/RENDER")}),
        (
            ("DEL", "order"),
            {("unindexed", "order", f"acme/{name}") for name in ("RENDER", "OTHER")},
        ),
        (("ZADD", "order", "0", "acme/GONE"), {("stray", "order", "acme/GONE")}),
        (("HDEL", "numbers", "{n}"), {("unindexed", "names", "acme/RENDER")}),
        (("SET", "last", "1"), {("behind", "numbers", "{n}"), ("behind", "numbers", "{o}")}),
        (("HSET", "numbers", "x", "acme/RENDER"), {("stray", "numbers", "x")}),
        (("HSET", "numbers", "5", "nonsense"), {("stray", "numbers", "5")}),
        (("HSET", "names", "nonsense", "5"), {("stray", "names", "nonsense")}),
        (("HSET", "numbers", BEYOND, "acme/X"), {("stray", "numbers", BEYOND)}),
        (("EXPIRE", "names", "1000"), {("expiring", "names", "")}),
        (("EXPIRE", "order", "1000"), {("expiring", "order", "")}),
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


@pytest.mark.parametrize("text", ["x", "-1", "", BEYOND], ids=repr)
async def test_last_number_that_is_none_is_told_and_mended(
    clocked: ClockedConnection, driver: QueueDriver, text: str
) -> None:
    queue = await Registry(clocked).open("acme", "RENDER")
    driver.admin.call("SET", "codeq:{registry}:last", text)
    assert ("bad_field", "last", text) in await findings(driver, Mode.LOOK)
    found = {("bad_field", "last", text), ("behind", "numbers", str(queue.number))}
    assert await findings(driver, Mode.REPAIR) == found
    assert await findings(driver, Mode.LOOK) == set()
    other = await Registry(clocked).open("acme", "OTHER")
    assert queue.number < other.number < keys.QUEUES


@pytest.mark.parametrize("key", keys.REGISTRY)
async def test_key_of_another_type_is_set_aside(
    clocked: ClockedConnection, driver: QueueDriver, key: str
) -> None:
    queue = await Registry(clocked).open("acme", "RENDER")
    driver.admin.call("DEL", key)
    driver.admin.call("LPUSH", key, "mine")
    where = key.rpartition(":")[2]
    looking = doctor(driver)
    found = [one async for look in looking.examine_registry() for one in look.findings]
    assert [(one.kind, one.where, one.entry) for one in found] == [("wrong_type", where, "list")]
    assert looking.reads_queues == (where != "numbers")
    assert ("wrong_type", where, "list") in await findings(driver, Mode.REPAIR)
    assert await findings(driver, Mode.LOOK) == set()
    assert driver.admin.call("LRANGE", f"codeq:{{registry}}:aside:{where}", 0, -1) == [b"mine"]
    again = Registry(clocked)
    await again.refresh()
    assert [known.number for known in again.known()] == [queue.number]
    assert (await again.open("acme", "OTHER")).number > queue.number


async def test_registry_that_cannot_be_set_aside_is_left(driver: QueueDriver) -> None:
    driver.admin.call("SET", "codeq:{registry}:aside:numbers", "another")
    driver.admin.call("SET", "codeq:{registry}:numbers", "mine")
    for mode in (Mode.LOOK, Mode.REPAIR):
        looking = doctor(driver, mode)
        found = [one async for look in looking.examine_registry() for one in look.findings]
        assert [(one.kind, one.mended) for one in found] == [("wrong_type", False)]
        assert not looking.reads_queues
    assert driver.admin.call("GET", "codeq:{registry}:aside:numbers") == b"another"


async def test_what_servers_tell_of_workers_is_set_aside_if_it_is_of_another_type(
    clocked: ClockedConnection, driver: QueueDriver
) -> None:
    await Registry(clocked).open("acme", "RENDER")
    driver.admin.call("SET", keys.live_key("acme"), "mine")
    found = {("wrong_type", "{acme}:live", "string")}
    assert await findings(driver, Mode.LOOK) == found
    assert await findings(driver, Mode.REPAIR) == found
    assert await findings(driver, Mode.LOOK) == set()
    assert driver.admin.call("GET", "codeq:aside:{acme}:live") == b"mine"
    assert await PresenceStore(clocked).read("acme") == {}


async def test_calendar_that_lost_its_number_gets_another(
    clocked: ClockedConnection, driver: QueueDriver
) -> None:
    calendar = await Registry(clocked).calendar("acme")
    store = CalendarStore(clocked)
    assert (await store.put(calendar, "a", new(), expect=None)).word == b"OK"
    assert await findings(driver, Mode.LOOK) == set()
    driver.admin.call("DEL", *keys.REGISTRY)
    found = {("unregistered", "names", "acme/")}
    assert await findings(driver, Mode.LOOK) == found
    assert await findings(driver, Mode.REPAIR) == found
    assert await findings(driver, Mode.LOOK) == set()
    assert [one.tenant for one in await doctor(driver).calendars()] == ["acme"]
    assert await doctor(driver).queues() == []


async def test_queue_that_lost_its_number_gets_another(
    clocked: ClockedConnection, driver: QueueDriver
) -> None:
    await driver.enqueue_one()
    found = {("unregistered", "names", "acme/RENDER")}
    assert await findings(driver, Mode.LOOK) == found
    assert await findings(driver, Mode.REPAIR) == found
    assert await findings(driver, Mode.LOOK) == set()
    assert (await Registry(clocked).find("acme", "RENDER")).number > 0
