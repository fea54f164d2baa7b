"""Room for requests: never more than there is, all of it given back, in turns."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from codeq_grpc.core.errors import TooManyCalls
from codeq_grpc.rpc import room as under_test
from codeq_grpc.rpc.room import LARGEST, Room

if TYPE_CHECKING:
    from codeq_grpc.rpc.room import Share


def room_of(server: int, caller: int) -> Room:
    """So many of the largest messages."""
    return Room("bytes", server * LARGEST, caller * LARGEST, whose="_per_caller")


async def taken(room: Room, who: str, count: int = 1) -> list[Share]:
    shares = [room.share(who) for _ in range(count)]
    for share in shares:
        await share.take()
    return shares


async def test_what_a_message_does_not_need_is_given_back_and_the_rest_at_the_end() -> None:
    room = room_of(1, 1)
    (share,) = await taken(room, "a")
    assert room.held == LARGEST
    share.came(100)
    share.came(100)
    assert room.held == 100
    share.end()
    share.end()
    assert (room.held, room._held) == (0, {})
    await share.take()
    await share.take()
    assert room.held == LARGEST


@pytest.mark.parametrize(
    ("server", "caller", "name"), [(3, 2, "bytes_per_caller"), (2, 3, "bytes")]
)
async def test_who_finds_no_room_is_told_which(
    monkeypatch: pytest.MonkeyPatch, server: int, caller: int, name: str
) -> None:
    monkeypatch.setattr(under_test, "_PATIENCE", 0.01)
    room = room_of(server, caller)
    held = await taken(room, "a", 2)
    with pytest.raises(TooManyCalls) as caught:
        await taken(room, "a")
    assert caught.value.metadata == {"budget": name, "limit": str(2 * LARGEST)}
    assert room.held == 2 * LARGEST
    assert not room._waiting
    for share in held:
        share.end()
    await taken(room, "a", 2)


async def test_callers_take_turns() -> None:
    room, order = room_of(1, 1), list[str]()
    (first,) = await taken(room, "x")

    async def call(who: str) -> None:
        share = room.share(who)
        await share.take()
        order.append(who)
        share.end()

    async with asyncio.TaskGroup() as group:
        for who in "aaaabbc":
            group.create_task(call(who))
        await asyncio.sleep(0)
        first.end()
    assert order == list("abcabaa")


async def test_one_who_has_as_much_as_he_may_holds_up_himself_only() -> None:
    room = room_of(3, 2)
    await taken(room, "a", 2)
    waiting = asyncio.ensure_future(taken(room, "a"))
    await asyncio.sleep(0)
    assert (room.holds_up("a"), room.holds_up("b")) == (True, False)
    (other,) = await taken(room, "b")
    assert room.holds_up("b")
    other.end()
    assert not waiting.done()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert not room.holds_up("a")


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_becomes_of_calls_no_byte_is_lost_nor_given_twice(seed: int) -> None:
    rng = random.Random(seed)
    room = room_of(5, 3)

    async def call(who: str, steps: int) -> None:
        share = room.share(who)
        try:
            await share.take()
            for _ in range(steps):
                await asyncio.sleep(0)
            share.came(rng.randrange(LARGEST + 1))
            await asyncio.sleep(0)
        finally:
            share.end()

    tasks = []
    for _ in range(3_000):
        tasks.append(asyncio.ensure_future(call(rng.choice("abcdef"), rng.randrange(4))))
        if rng.random() < 0.3:
            rng.choice(tasks).cancel()
        if rng.random() < 0.5:
            await asyncio.sleep(0)
        assert 0 <= room.held <= 5 * LARGEST
        assert room.held == sum(room._held.values())
        assert all(held <= 3 * LARGEST for held in room._held.values())
    await asyncio.wait(tasks)
    assert {task.exception() for task in tasks if not task.cancelled()} == {None}
    assert (room.held, room._held, room._waiting) == (0, {}, {})
