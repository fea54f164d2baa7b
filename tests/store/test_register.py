"""register, and the registry over it: a queue has one number, for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from codeq_grpc.core.errors import StoreFull
from codeq_grpc.core.principal import Reach
from codeq_grpc.store import keys, scripts
from codeq_grpc.store.keys import Calendar, Queue
from codeq_grpc.store.registry import Registry
from tests.support.clock import START_MS
from tests.support.driver import task

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.clock import ClockedConnection
    from tests.support.driver import QueueDriver

MS = START_MS - keys.EPOCH_MS


async def register(connection: ClockedConnection, name: str, number: int = 0) -> int:
    reply: list[Any] = await connection.run(scripts.REGISTER, keys.REGISTRY, (name, number, 0))
    assert reply[0] == b"OK"
    return int(reply[1])


async def test_number_is_the_time_or_the_next_one(clocked: ClockedConnection) -> None:
    numbers = [await register(clocked, name) for name in ("a/X", "a/Y", "b/X")]
    clocked.clock.advance(1_000)
    numbers.append(await register(clocked, "b/Y"))
    clocked.clock.advance(-9_000)
    numbers.append(await register(clocked, "b/Z"))
    assert numbers == [MS, MS + 1, MS + 2, MS + 1_000, MS + 1_001]


async def test_known_queue_keeps_its_number(clocked: ClockedConnection, admin: Admin) -> None:
    first = await register(clocked, "a/X")
    clocked.clock.advance(1_000)
    assert await register(clocked, "a/X") == first
    assert await register(clocked, "a/X", 5) == first
    assert admin.call("HMGET", keys.REGISTRY[1], str(first), "5") == [b"a/X", b"a/X"]


async def test_number_that_the_store_lost_is_given_back(clocked: ClockedConnection) -> None:
    lost = MS + 50_000
    assert await register(clocked, "a/X", lost) == lost
    assert await register(clocked, "a/Y") == lost + 1


async def test_number_that_another_queue_has_is_not_given_back(clocked: ClockedConnection) -> None:
    taken = await register(clocked, "a/X")
    assert await register(clocked, "a/Y", taken) == taken + 1


async def test_a_calendar_has_a_number_and_is_no_queue(
    clocked: ClockedConnection, admin: Admin
) -> None:
    here, there = Registry(clocked), Registry(clocked)
    queue = await here.open("acme", "RENDER")
    calendar = await here.calendar("acme")
    assert (await there.calendar("acme")).number == calendar.number == queue.number + 1
    assert calendar is await here.calendar("acme")
    other = Registry(clocked)
    firing_id = calendar.firing_id(b"1234567")
    for registry in (here, Registry(clocked)):
        assert await registry.of_firing(firing_id) == (calendar, b"1234567")
        assert await registry.of_firing(queue.task_id(b"1234567")) is None
        assert await registry.of_firing("nonsense") is None
        assert await registry.of_firing(Calendar("x", 5).firing_id(b"1234567")) is None
        assert await registry.of_task(Reach("acme"), firing_id) is None
        assert [known.command for known in registry.known() if known.number] in ([], ["RENDER"])
    await other.refresh()
    assert (list(other.known()), other.calendars()) == ([queue], [calendar])
    reply = await clocked.run(scripts.REGISTER, keys.REGISTRY, ("acme/MAIL", 0, 2))
    assert reply[0] == b"OK"
    reply = await clocked.run(scripts.REGISTER, keys.REGISTRY, ("acme/MORE", 0, 2))
    assert reply == [b"FULL", 2]
    admin.call("FLUSHALL")
    await other.refresh()
    assert (await Registry(clocked).calendar("acme")).number == calendar.number


async def test_servers_agree_on_a_queue(connection: ClockedConnection) -> None:
    first, second = Registry(connection), Registry(connection)
    opened = await first.open("acme", "RENDER")
    assert await second.open("acme", "RENDER") == opened
    assert await Registry(connection).find("acme", "RENDER") == opened
    assert await first.open("acme", "RENDER") is opened


async def test_looking_for_a_queue_makes_none(clocked: ClockedConnection, admin: Admin) -> None:
    assert await Registry(clocked).find("acme", "RENDER") == Queue("acme", "RENDER", 0)
    assert admin.call("DBSIZE") == 0


async def test_task_id_leads_to_its_queue_on_every_server_and_in_no_other_tenant(
    clocked: ClockedConnection, driver: QueueDriver
) -> None:
    first = Registry(clocked)
    queue = await first.open("acme", "RENDER")
    (name,) = (await driver.store.enqueue(queue, [task()])).names
    for registry in (first, Registry(clocked)):
        assert await registry.of_task(Reach("acme"), queue.task_id(name)) == (queue, name)
        assert await registry.of_task(Reach("other"), queue.task_id(name)) is None


async def test_reach_ends_at_the_commands_that_are_allowed(clocked: ClockedConnection) -> None:
    registry = Registry(clocked)
    made = {c: await registry.open("acme", c) for c in ("mail.in", "mail.out", "render")}
    await registry.open("other", "mail.in")
    reach = Reach("acme", ("mail.*", "x"))
    assert {queue.command for queue in registry.within(reach)} == {"mail.in", "mail.out"}
    for command, queue in made.items():
        found = await registry.of_task(reach, queue.task_id(b"1234567"))
        assert (found is not None) == command.startswith("mail."), command


async def test_id_of_no_queue_and_text_that_is_no_id_lead_nowhere(
    clocked: ClockedConnection,
) -> None:
    registry = Registry(clocked)
    await registry.open("acme", "RENDER")
    for task_id in (Queue("acme", "X", 5).task_id(b"1234567"), "", "x" * 18, "é" * 18, "=" * 18):
        assert await registry.of_task(Reach("acme"), task_id) is None


async def test_id_of_another_shard_leads_nowhere(clocked: ClockedConnection) -> None:
    registry = Registry(clocked)
    queue = await registry.open("acme", "RENDER")
    elsewhere = Queue("acme", "RENDER", queue.number, 1)
    assert await registry.of_task(Reach("acme"), elsewhere.task_id(b"1234567")) is None


async def test_refresh_learns_of_queues_that_other_servers_made(
    clocked: ClockedConnection,
) -> None:
    here, there = Registry(clocked), Registry(clocked)
    made = {await there.open("acme", command) for command in ("A", "B")}
    made.add(await there.open("other", "A"))
    await here.refresh()
    assert set(here.known()) == made
    assert {queue.command for queue in here.within(Reach("acme"))} == {"A", "B"}


async def test_refresh_gives_the_store_back_what_it_lost(
    clocked: ClockedConnection, admin: Admin
) -> None:
    registry = Registry(clocked)
    made = {await registry.open("acme", command) for command in ("A", "B")}
    admin.call("FLUSHALL")
    await registry.refresh()
    assert set(registry.known()) == made
    other = Registry(clocked)
    assert {await other.find("acme", command) for command in ("A", "B")} == made


async def test_ids_made_before_a_failover_lead_to_the_queue_registered_after_it(
    clocked: ClockedConnection, admin: Admin
) -> None:
    here, there = Registry(clocked), Registry(clocked)
    old = await here.open("acme", "RENDER")
    admin.call("FLUSHALL")
    clocked.clock.advance(1)
    new = await there.open("acme", "RENDER")
    assert new.number != old.number
    await here.refresh()
    for registry in (here, there, Registry(clocked)):
        found = await registry.of_task(Reach("acme"), old.task_id(b"1234567"))
        assert found is not None
        assert found[0].keys == new.keys


async def test_refresh_notices_that_one_queue_was_lost_and_another_made(
    clocked: ClockedConnection, admin: Admin
) -> None:
    here, there = Registry(clocked), Registry(clocked)
    await here.open("acme", "A")
    await here.refresh()
    admin.call("FLUSHALL")
    clocked.clock.advance(1)
    await there.open("acme", "B")
    await here.refresh()
    assert {queue.command for queue in here.known()} == {"A", "B"}


async def test_refresh_that_fails_forgets_nothing(clocked: ClockedConnection, admin: Admin) -> None:
    registry = Registry(clocked)
    made = {await registry.open("acme", command) for command in ("A", "B")}
    admin.call("FLUSHALL")
    admin.call("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(StoreFull):
            await registry.refresh()
    finally:
        admin.call("CONFIG", "SET", "maxmemory", "0")
    assert set(registry.known()) == made
    await registry.refresh()
    assert {await Registry(clocked).find("acme", command) for command in ("A", "B")} == made
