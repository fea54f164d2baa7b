"""Unfinished tasks of a tenant: counted seldom, and never too few of this server's own."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from codeq_grpc.broker import backlogs as module
from codeq_grpc.broker.backlogs import Backlogs
from codeq_grpc.core.errors import QuotaExceeded, StoreUnavailable
from codeq_grpc.core.quotas import Quotas, Tenants
from codeq_grpc.store.keys import Queue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codeq_grpc.core.errors import CodeQError

MANY = Tenants({"acme": Quotas(backlog=10)})


class World:
    """Tells what is there, as slowly or as badly as it is told to, and what time it is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.there, self.counted = 100.0, 0, 0
        self.error: CodeQError | None = None
        self.going = asyncio.Event()
        self.going.set()
        monkeypatch.setattr(module, "monotonic", lambda: self.now)
        queues = [Queue("acme", "A", 1), Queue("rival", "A", 2), Queue("acme", "B", 3)]
        registry: Any = SimpleNamespace(refresh=self.refresh, known=lambda: queues)
        reads: Any = SimpleNamespace(unended=self.unended)
        self.backlogs = Backlogs(registry, reads, MANY)

    async def refresh(self) -> None:
        """As the registry does."""
        self.counted += 1

    async def unended(self, queues: Sequence[Queue]) -> int:
        """As the store does, when it is let."""
        assert {(queue.tenant, queue.command) for queue in queues} == {("acme", "A"), ("acme", "B")}
        there = self.there
        await self.going.wait()
        if self.error:
            raise self.error
        return there

    async def take(self, want: int = 1, *, atomic: bool = True) -> int:
        """Of acme."""
        return await self.backlogs.take("acme", want, atomic=atomic)

    async def add(self, count: int) -> None:
        """What is taken is added at once."""
        taken = await self.take(count)
        self.there += taken
        self.backlogs.put("acme", taken, taken)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


async def test_counts_once_a_second_while_there_is_much_room(world: World) -> None:
    for _ in range(5):
        world.now += 0.2
        await world.add(0)
    assert world.counted == 1
    world.now += 0.2
    await world.add(0)
    assert world.counted == 2


async def test_counts_sooner_when_others_may_have_used_up_the_room(world: World) -> None:
    await world.add(2)
    assert world.counted == 1
    world.now += 0.1
    world.there = 9  # by another server
    await world.add(1)
    assert (world.counted, world.there) == (2, 10)
    with pytest.raises(QuotaExceeded):
        await world.take()


async def test_counts_again_before_it_refuses_and_not_more_often_than_it_must(
    world: World,
) -> None:
    await world.add(10)
    world.now += 0.1
    with pytest.raises(QuotaExceeded) as refusal:
        await world.take()
    assert refusal.value.metadata == {"quota": "backlog", "limit": "10"}
    assert refusal.value.retry_after
    assert world.counted == 2
    for _ in range(5):
        with pytest.raises(QuotaExceeded):
            await world.take()
    assert world.counted == 2
    world.there, world.now = 3, world.now + 0.1
    assert await world.take(7) == 7
    assert world.counted == 3


async def test_what_is_under_way_has_its_room(world: World) -> None:
    assert await world.take(6) == 6
    assert await world.take(9, atomic=False) == 4
    with pytest.raises(QuotaExceeded):
        await world.take()
    world.backlogs.put("acme", 6, 0)
    assert await world.take(5) == 5
    world.backlogs.put("acme", 5, 2)
    with pytest.raises(QuotaExceeded):
        await world.take(5)
    assert await world.take(5, atomic=False) == 4


async def test_what_was_added_while_it_counted_counts(world: World) -> None:
    taken = await world.take(4)
    world.now += 1.1
    world.going.clear()
    counting = asyncio.create_task(world.take())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    world.there += taken
    world.backlogs.put("acme", taken, taken)
    world.going.set()
    assert await counting == 1
    # Counted before they were there, and not forgotten.
    assert await world.take(9, atomic=False) == 5


async def test_all_who_ask_meanwhile_share_one_count(world: World) -> None:
    world.going.clear()
    asking = [asyncio.create_task(world.take()) for _ in range(12)]
    await asyncio.sleep(0)
    asking[0].cancel()
    await asyncio.sleep(0)
    world.going.set()
    results = await asyncio.gather(*asking, return_exceptions=True)
    assert world.counted == 1
    assert results.count(1) == 10
    assert sum(isinstance(result, QuotaExceeded) for result in results) == 1


async def test_a_store_that_is_away_is_told_and_asked_again(world: World) -> None:
    world.error = StoreUnavailable()
    with pytest.raises(StoreUnavailable):
        await world.take()
    world.error = None
    assert await world.take() == 1


async def test_who_has_no_such_quota_costs_nothing(world: World) -> None:
    assert await world.backlogs.take("rival", 10**9, atomic=True) == 10**9
    world.backlogs.put("rival", 10**9, 10**9)
    assert (world.counted, world.backlogs._backlogs) == (0, {})


async def test_tenants_of_long_ago_are_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none(_: Sequence[Queue]) -> int:
        return 0

    monkeypatch.setattr(world.backlogs, "_tenants", Tenants(others=Quotas(backlog=1)))
    monkeypatch.setattr(world.backlogs, "_reads", SimpleNamespace(unended=none))
    for number in range(module._KEPT):
        await world.backlogs.take(f"t{number}", 1, atomic=True)
        if number:
            world.backlogs.put(f"t{number}", 1, 1)
    world.now += 5
    await world.backlogs.take("late", 1, atomic=True)
    assert world.backlogs._backlogs.keys() == {"t0", "late"}
