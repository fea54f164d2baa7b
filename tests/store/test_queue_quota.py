"""How many queues a tenant may have: exact, whoever asks, and whatever breaks off."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from codeq_grpc.core.errors import CodeQError, QuotaExceeded
from codeq_grpc.core.findings import Mode
from codeq_grpc.core.quotas import Quotas, Tenants
from codeq_grpc.store import keys, scripts
from codeq_grpc.store.registry import Registry
from tests.support.aborting import AbortingConnection
from tests.support.clock import VirtualClock
from tests.support.examined import doctor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from codeq_grpc.store.connection import Connection
    from tests.support.admin import Admin
    from tests.support.driver import QueueDriver
    from tests.support.stores import StoreProcess

THREE = Tenants({"acme": Quotas(queues=3)})
ORDER = "codeq:{registry}:order"


@pytest.fixture
async def aborting(store: StoreProcess) -> AsyncIterator[AbortingConnection]:
    connection = AbortingConnection(store.url, VirtualClock())
    yield connection
    await connection.close()


async def count(registry: Registry, tenant: str = "acme") -> int:
    await registry.refresh()
    return sum(queue.tenant == tenant for queue in registry.known())


async def test_one_more_than_the_quota_is_refused_and_changes_nothing(
    connection: Connection, admin: Admin
) -> None:
    registry = Registry(connection, THREE)
    made = [await registry.open("acme", command) for command in "ABC"]
    before = [admin.call("DUMP", key) for key in keys.REGISTRY]
    with pytest.raises(QuotaExceeded) as refusal:
        await registry.open("acme", "D")
    assert refusal.value.metadata == {"quota": "queues", "limit": "3"}
    assert refusal.value.retry_after is None
    assert [admin.call("DUMP", key) for key in keys.REGISTRY] == before
    assert [await Registry(connection, THREE).open("acme", command) for command in "ABC"] == made


async def test_tenants_count_for_themselves_whatever_they_are_called(
    connection: Connection,
) -> None:
    registry = Registry(connection, THREE)
    others = ("acme.", "acme-", "acme0", "acmf", "acm", "acme_", "Acme", "a")
    for tenant, command in itertools.product(others, "ABCD"):
        await registry.open(tenant, command)
    for command in ("A", "/", "0"):
        await registry.open("acme", command)
    with pytest.raises(QuotaExceeded):
        await registry.open("acme", "D")
    for tenant in others:
        await registry.open(tenant, "E")


async def test_servers_that_ask_at_the_same_time_make_no_queue_too_many(
    connection: Connection,
) -> None:
    servers = [Registry(connection, THREE) for _ in range(4)]
    results = await asyncio.gather(
        *(server.open("acme", f"C{number}") for number in range(25) for server in servers),
        return_exceptions=True,
    )
    refused = sum(isinstance(result, QuotaExceeded) for result in results)
    assert (len(results) - refused, refused) == (12, 88)
    assert await count(servers[0]) == 3


async def test_registration_that_broke_off_takes_no_place_for_good(
    aborting: AbortingConnection, admin: Admin, driver: QueueDriver
) -> None:
    for write in itertools.count(1):
        admin.call("FLUSHALL")
        registry = Registry(aborting, THREE)
        await registry.open("acme", "A")
        await registry.open("acme", "B")
        aborting.abort("register", write)
        broke = ""
        try:
            await registry.open("acme", "C")
        except CodeQError:
            broke = aborting.aborted
        # Whoever repeats it gets what was left; the doctor takes back what nobody repeats.
        if write % 2:
            await registry.open("acme", "C")
        looking = doctor(driver, Mode.REPAIR)
        _ = [look async for look in looking.examine_registry()]
        assert not [one async for look in looking.examine_registry() for one in look.findings]
        await Registry(aborting, THREE).open("acme", "C")
        with pytest.raises(QuotaExceeded):
            await Registry(aborting, THREE).open("acme", "D")
        assert await count(Registry(aborting)) == 3
        assert admin.call("ZCARD", ORDER) == 3
        if not broke:
            return


async def test_queues_from_before_there_was_an_order_are_counted(
    connection: Connection, admin: Admin
) -> None:
    for command in "AB":
        await Registry(connection).open("acme", command)
    admin.call("DEL", ORDER)
    registry = Registry(connection, THREE)
    await registry.open("acme", "C")
    with pytest.raises(QuotaExceeded):
        await registry.open("acme", "D")


async def test_queues_that_the_store_lost_are_given_back_beyond_the_quota(
    connection: Connection, admin: Admin
) -> None:
    registry = Registry(connection)
    for command in "ABCD":
        await registry.open("acme", command)
    admin.call("FLUSHALL")
    limited = Registry(connection, THREE)
    limited._by_name, limited._by_number = registry._by_name, registry._by_number
    await limited.refresh()
    assert await count(Registry(connection)) == 4
    with pytest.raises(QuotaExceeded):
        await limited.open("acme", "E")


async def test_a_quota_that_was_lowered_leaves_what_is_there(connection: Connection) -> None:
    for command in "ABCDE":
        await Registry(connection).open("acme", command)
    registry = Registry(connection, THREE)
    assert (await registry.open("acme", "E")).number
    with pytest.raises(QuotaExceeded):
        await registry.open("acme", "F")


async def test_reply_tells_how_many_there_are(connection: Connection) -> None:
    async def register(command: str, most: int) -> list[Any]:
        reply: list[Any] = await connection.run(
            scripts.REGISTER, keys.REGISTRY, (f"acme/{command}", 0, most)
        )
        return reply

    assert (await register("A", 1))[0] == b"OK"
    assert await register("B", 1) == [b"FULL", 1]
    assert (await register("A", 1))[0] == b"OK"
