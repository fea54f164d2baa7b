"""What queues owe each other is delivered, whichever servers die in between."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration import operating
from tests.integration.dependents import becomes, complete_next
from tests.integration.looking import queue_key
from tests.support.admin import Admin
from tests.support.server import eventually, running_server

if TYPE_CHECKING:
    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess


def falls_silent(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It delivers nothing from now on, as if it had died after its last script."""

    async def nothing(*_: Any) -> set[Any]:
        return set()

    monkeypatch.setattr(server.app._courier._dependencies, "deliver", nothing)


@pytest.mark.parametrize("dies", ["before it follows", "before it tells"])
async def test_another_server_delivers_what_the_first_one_left(
    store: StoreProcess, server: Server, monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    acme = server.caller()
    parent = await acme.enqueue("PARENT")
    if dies == "before it follows":
        falls_silent(server, monkeypatch)
    child = await acme.enqueue(depends_on=[parent])
    if dies == "before it tells":
        with Admin(store.socket_path) as admin:
            await delivered(admin)
        falls_silent(server, monkeypatch)
    await complete_next(acme, "PARENT")
    assert await acme.state(child) == "BLOCKED"
    async with running_server(store) as other:
        assert await complete_next(other.caller()) == child


async def delivered(admin: Admin, *commands: str) -> None:
    """Returns once no queue owes anything."""

    def settled() -> bool:
        names = [queue_key("x", command) for command in commands or ("PARENT", "RENDER")]
        return not any(admin.call("EXISTS", name) for name in names)

    await eventually(settled)


async def test_what_was_taken_and_not_settled_is_delivered_again(
    store: StoreProcess, server: Server, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that dies between the two does no harm but a delay of five seconds."""
    acme = server.caller()
    parent = await acme.enqueue("PARENT")
    outbox = server.app._courier._dependencies._outbox
    taken = asyncio.Event()

    async def dies(*_: Any) -> Any:
        taken.set()
        raise asyncio.CancelledError

    monkeypatch.setattr(outbox, "follow", dies)
    child = await acme.enqueue(depends_on=[parent])
    await taken.wait()
    await complete_next(acme, "PARENT")
    async with running_server(store) as other:
        await becomes(other.caller(), child, "PENDING", within=12)
        await delivered(admin)


async def test_two_servers_tell_each_follower_once(acme: Caller, peer: Server) -> None:
    """Both may deliver the same: what is told twice changes nothing."""
    for number in range(10):
        parent = await acme.enqueue("PARENT")
        children = [await one.enqueue(depends_on=[parent]) for one in (acme, peer.caller())]
        await complete_next(acme if number % 2 else peer.caller(), "PARENT")
        done = [await complete_next(one) for one in (peer.caller(), acme)]
        assert sorted(done) == sorted(children)
    stats = await acme.stats()
    assert (stats.completed_total, stats.enqueued_total, stats.blocked) == (20, 20, 0)


async def test_nothing_is_left_behind_once_all_have_ended(acme: Caller, admin: Admin) -> None:
    parents = await acme.enqueue_many(3, "PARENT")
    await acme.enqueue_many(5, depends_on=parents)
    cancelled = await acme.enqueue(depends_on=parents)
    await operating.cancel(acme, cancelled)
    for _ in parents:
        await complete_next(acme, "PARENT")
    for _ in range(5):
        await complete_next(acme)
    await delivered(admin)
    for command in ("PARENT", "RENDER"):
        await operating.clean(acme, command)
        for suffix in ("m", "b", "o", "p", "f", "x", "y", "e", "k", "kw", "g"):
            assert not admin.call("EXISTS", queue_key(suffix, command)), (command, suffix)
