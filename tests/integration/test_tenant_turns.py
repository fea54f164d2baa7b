"""Calls at work take turns, those that wait are not at work, and nobody is left behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from codeq.v1 import codeq_service_pb2 as pb
from codeq_grpc.rpc import turns
from tests.integration.looking import armed, waited_for
from tests.support.server import TENANTS, eventually, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from codeq_grpc.rpc.turns import Turns
    from tests.support.admin import Admin
    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess


@pytest.fixture
async def narrow(store: StoreProcess) -> AsyncIterator[Server]:
    """One call at work at a time."""
    async with running_server(store, max_working=1) as server:
        yield server
        await eventually(lambda: not at_work(server))


def pools(server: Server) -> tuple[Turns, Turns]:
    work = server.app._work
    return work._small, work._large


def at_work(server: Server) -> int:
    for pool in pools(server):
        assert pool._used == sum(weight for weight, _ in pool._working.values())
    return sum(len(pool._working) + len(pool._lines) for pool in pools(server))


@pytest.fixture
def for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody loses a place for having it long."""
    monkeypatch.setattr(turns, "_LONG", 1e9)


@pytest.mark.usefixtures("for_ever")
async def test_calls_that_wait_are_not_at_work(narrow: Server, admin: Admin) -> None:
    acme = narrow.caller()
    waiting = [asyncio.ensure_future(acme.claim("LATER", wait=20)) for _ in range(3)]
    await armed(admin, command="LATER")
    task_id = await acme.enqueue()
    waiting.append(asyncio.ensure_future(acme.task(task_id, wait=20)))  # type: ignore[arg-type]
    await waited_for(admin)
    await acme.complete(await acme.claim_one())
    await acme.enqueue_many(3, "LATER")
    tasks = await asyncio.gather(*waiting)
    assert sorted(len(one) for one in tasks[:3]) == [1, 1, 1]


@pytest.mark.usefixtures("for_ever")
async def test_calls_of_many_at_once_are_all_served(narrow: Server) -> None:
    callers = [narrow.caller(tenant) for tenant in TENANTS]

    async def cycle(caller: Caller, number: int) -> None:
        command = f"C{number % 3}"
        await caller.enqueue_many(1 + number % 90, command)
        tasks = await caller.claim(command, most=50)
        outcomes = [pb.Outcome(complete={"lease": task.lease}) for task in tasks]
        if outcomes:
            response = await caller.start("Report", pb.ReportRequest(outcomes=outcomes))
            assert not response.failures

    await asyncio.gather(*(cycle(callers[n % 2], n) for n in range(60)))
    await eventually(lambda: not at_work(narrow))


@pytest.mark.usefixtures("for_ever")
async def test_callers_that_leave_while_they_wait_leave_nothing_behind(narrow: Server) -> None:
    small, _ = pools(narrow)
    assert small.enter("somebody", "else", 1) is None
    acme = narrow.caller()
    calls = [acme.start("Claim", pb.ClaimRequest(worker_id="w", commands=["C"])) for _ in range(9)]
    late = acme.start("Claim", pb.ClaimRequest(worker_id="w", commands=["C"]), timeout=0.3)
    await eventually(lambda: sum(len(line.calls) for line in small._lines.values()) == 10)
    for call in calls:
        call.cancel()
    assert await late.code() in {
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNAVAILABLE,
    }
    await eventually(lambda: all(turn.done() for _, _, turn in small._lines["acme"].calls))
    small.leave("somebody")
    assert await acme.claim() == []


async def test_a_store_that_hangs_holds_up_nobody_for_longer_than_itself(
    own_store: StoreProcess,
) -> None:
    async with running_server(own_store, max_working=1, store_timeout_seconds=1.0) as server:
        callers = [server.caller(tenant) for tenant in TENANTS]
        for caller in callers:
            await caller.enqueue()
        own_store.pause()
        calls: list[Any] = [asyncio.ensure_future(callers[n % 2].enqueue()) for n in range(12)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        codes = {one.code().name for one in results if isinstance(one, grpc.aio.AioRpcError)}
        assert codes == {"UNAVAILABLE"}
        own_store.resume()
        await eventually(lambda: not at_work(server))
        for caller in callers:
            await caller.enqueue()


async def test_health_and_streams_need_no_place(narrow: Server, admin: Admin) -> None:
    small, _ = pools(narrow)
    assert small.enter("somebody", "else", 1) is None
    small._working["somebody"] = (1, 1e18)  # for ever
    acme = narrow.caller()
    stream = acme.start(
        "StreamClaim",
        pb.StreamClaimRequest(worker_id="w", commands=["RENDER"], max_outstanding=1),
    )
    assert (await stream.read()).HasField("opened")
    await armed(admin)
    small.leave("somebody")
    await acme.enqueue()
    assert (await stream.read()).HasField("batch")
    stream.cancel()
