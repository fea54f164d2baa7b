"""ListWorkers and idle_credit: who works, on which server, and how much more it could take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq_grpc.core import limits
from tests.integration import operating
from tests.integration.operating import workers
from tests.integration.streaming import StreamReader, stream_request
from tests.support.admin import Admin
from tests.support.server import eventually, running_server

if TYPE_CHECKING:
    import pytest

    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess


async def names(caller: Caller, command: str = "") -> list[str]:
    """Of live workers, as they come."""
    return [worker.worker_id for worker in await workers(caller, command)]


async def lists(caller: Caller, *expected: str, command: str = "") -> None:
    """Returns once these workers are listed, in this order."""

    async def seen() -> bool:
        return await names(caller, command) == list(expected)

    await eventually(seen)


async def test_streams_of_every_server_are_listed_by_name(
    server: Server, acme: Caller, peer: Server
) -> None:
    other = peer.caller()
    async with (
        StreamReader(acme, stream_request("A", "B", worker="w-2", credit=7)),
        StreamReader(other, stream_request("A", worker="w-1", credit=3)),
        StreamReader(other, stream_request("C", worker="w-3")),
    ):
        for caller in (acme, other):
            await lists(caller, "w-1", "w-2", "w-3")
            await lists(caller, "w-1", "w-2", command="A")
            assert await names(caller, "B") == ["w-2"]
            assert await names(caller, "NEVER") == []
        first, second, _ = await workers(acme)
        assert (list(second.commands), second.max_outstanding) == (["A", "B"], 7)
        assert (first.server_id, second.server_id) == (peer.app.server_id, server.app.server_id)
        assert second.peer.startswith("ipv4:127.0.0.1:")
    for caller in (acme, other):
        await lists(caller)


async def test_claimers_with_the_longest_names_are_not_all_remembered(
    acme: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codeq_grpc.broker.workers._CLAIMER_BYTES", 50_000)
    commands = [f"{number:02}" + "c" * 126 for number in range(limits.COMMANDS_PER_CLAIM)]
    asked = [f"{number:03}" + "\N{GRINNING FACE}" * 125 for number in range(30)]
    await acme.claim("C", worker="first")
    for name in asked:
        await acme.claim(*commands, worker=name)
    listed = await names(acme)
    assert listed == asked[-10:]


async def test_a_worker_shows_what_its_stream_holds(acme: Caller, peer: Server) -> None:
    await acme.enqueue_many(3)
    async with StreamReader(peer.caller(), stream_request(credit=2)) as stream:
        await stream.take(2)

        async def holds(count: int) -> bool:
            return [worker.in_progress for worker in await workers(acme)] == [count]

        await eventually(lambda: holds(2))
        await acme.complete(stream.tasks[0])
        await stream.take(3)
        await acme.complete(stream.tasks[1])
        await acme.complete(stream.tasks[2])
        await eventually(lambda: holds(0))


async def test_who_called_claim_is_listed_for_a_minute(
    acme: Caller, peer: Server, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    await acme.claim("A", "B", worker="unary")
    (worker,) = await workers(acme)
    assert (worker.worker_id, list(worker.commands)) == ("unary", ["A", "B"])
    assert (worker.in_progress, worker.max_outstanding) == (0, 0)
    assert worker.server_id == server.app.server_id
    first = worker.connect_time
    await lists(peer.caller(), "unary")
    await acme.claim("C", worker="unary")
    (worker,) = await workers(acme)
    assert (list(worker.commands), worker.connect_time) == (["C"], first)
    monkeypatch.setattr("codeq_grpc.broker.workers._RECENT", 0.0)
    await lists(acme)
    await lists(peer.caller())


async def test_one_name_on_two_servers_is_two_workers(acme: Caller, peer: Server) -> None:
    for caller in (acme, peer.caller()):
        await caller.claim(worker="same")
    await lists(acme, "same", "same")
    await lists(peer.caller(), "same", "same")
    assert len({worker.server_id for worker in await workers(acme)}) == 2


async def test_workers_of_other_tenants_are_not_listed(
    acme: Caller, rival: Caller, peer: Server
) -> None:
    async with (
        StreamReader(rival, stream_request(worker="theirs")),
        StreamReader(peer.caller("rival"), stream_request(worker="theirs-too")),
    ):
        await peer.caller().claim(worker="mine")
        await lists(rival, "theirs", "theirs-too")
        await lists(acme, "mine")
        assert (await operating.update(acme)).command == "RENDER"
        assert (await acme.stats()).idle_credit == 0


async def test_a_server_that_ends_takes_its_workers_along(
    acme: Caller, store: StoreProcess
) -> None:
    async with running_server(store) as other:
        await other.caller().claim(worker="unary")
        await lists(acme, "unary")
    assert await names(acme) == []


async def test_a_server_that_dies_is_forgotten_after_a_while(
    acme: Caller, peer: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the store's clock, fifteen seconds after it told last; here it told long ago."""
    await peer.caller().claim(worker="unary")
    await lists(acme, "unary")
    presence = peer.app._presence

    async def dead() -> None:
        return

    monkeypatch.setattr(presence, "tick", dead)
    with Admin(peer.app._settings.store_url().removeprefix("unix://")) as admin:
        server, report = admin.call("HGETALL", "codeq:{acme}:live")[:2]
        told = int.from_bytes(report[:8], "big") - 15_001
        admin.call("HSET", "codeq:{acme}:live", server, told.to_bytes(8, "big") + report[8:])
    await lists(acme)


async def test_idle_credit_is_what_waiting_workers_could_take(acme: Caller, peer: Server) -> None:
    for command in "AB":
        await operating.update(acme, command)

    async def credit(expected: list[int]) -> None:
        async def told() -> bool:
            return [(await acme.stats(one)).idle_credit for one in "AB"] == expected

        await eventually(told)

    await credit([0, 0])
    async with (
        StreamReader(acme, stream_request("A", credit=5)) as first,
        StreamReader(peer.caller(), stream_request("A", "B", credit=3)) as second,
        operating.meanwhile(peer.caller().claim("B", most=10, wait=30, timeout=40)),
    ):
        await credit([8, 13])
        await operating.pause(acme, "B")
        await acme.enqueue_many(2, "A")
        # Whoever of the two took them: both serve A, and one of them B.
        await eventually(lambda: len(first.tasks) + len(second.tasks) == 2)
        await credit([6, 13 - len(second.tasks)])
    await credit([0, 0])
