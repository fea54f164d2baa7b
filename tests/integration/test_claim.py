"""Claim: commands in order of preference, sizes, and waiting for what is not there yet."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import grpc
from google.protobuf.duration_pb2 import Duration

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from codeq_grpc.core import limits
from tests.integration.looking import armed, claiming, no_calls, queue_key
from tests.support.admin import Admin
from tests.support.server import running_server

if TYPE_CHECKING:
    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess


async def test_commands_are_served_in_the_order_of_preference(acme: Caller) -> None:
    ids = {command: await acme.enqueue_many(2, command) for command in "ABC"}
    claimed = [task.lease.task_id for task in await acme.claim("C", "A", "B", most=5)]
    assert claimed == [*ids["C"], *ids["A"], ids["B"][0]]
    assert (await acme.claim_one("B")).lease.task_id == ids["B"][1]


async def test_a_claim_takes_as_many_as_asked_for(acme: Caller) -> None:
    await acme.enqueue_many(1_000)
    assert len(await acme.claim()) == 1
    assert len(await acme.claim(most=7)) == 7
    found = await acme.claim(most=1_000)
    while len(found) < 992:
        found += await acme.claim(most=1_000)
    assert len({task.lease.task_id for task in found}) == 992


async def test_an_empty_queue_answers_at_once_without_wait(acme: Caller) -> None:
    began = time.monotonic()
    assert await acme.claim("NOBODY", "EVER") == []
    assert time.monotonic() - began < 2


async def test_the_lease_is_as_the_claim_asks_then_as_the_task_asks_then_the_default(
    store: StoreProcess,
) -> None:
    async with running_server(store, default_lease_seconds=77) as server:
        acme = server.caller()
        seen = []
        for task_lease, claim_lease in ((None, None), (42, None), (42, 1.5), (None, 86_400.0)):
            asked = None if task_lease is None else Duration(seconds=task_lease)
            task_id = await acme.enqueue(lease_duration=asked)
            claimed = await acme.claim_one(lease=claim_lease)
            changed = (await acme.task(task_id)).update_time
            seen.append(claimed.lease_expire_time.ToMilliseconds() - changed.ToMilliseconds())
            assert claimed.lease_duration.ToMilliseconds() == seen[-1]
        assert seen == [77_000, 42_000, 1_500, 86_400_000]


async def test_two_workers_never_get_the_same_task(acme: Caller) -> None:
    ids = await acme.enqueue_many(300)
    found: list[str] = []

    async def work(name: str) -> None:
        while claimed := await acme.claim(most=7, worker=name):
            found.extend(task.lease.task_id for task in claimed)

    await asyncio.gather(*(work(f"w{i}") for i in range(8)))
    assert sorted(found) == sorted(ids)


async def test_a_waiting_claim_is_woken_by_an_enqueue_on_another_server(
    acme: Caller, peer: Server, admin: Admin
) -> None:
    for command in ("FIRST", "SECOND"):
        waiting = asyncio.create_task(acme.claim("FIRST", "SECOND", wait=20, timeout=30))
        await armed(admin, command="FIRST")
        await armed(admin, command="SECOND")
        began = time.monotonic()
        task_id = await peer.caller().enqueue(command)
        assert [task.lease.task_id for task in await waiting] == [task_id]
        assert time.monotonic() - began < 1.5


async def test_a_waiting_claim_gets_a_scheduled_task_when_it_is_due(acme: Caller) -> None:
    waiting = asyncio.create_task(acme.claim(wait=20, timeout=30))
    began = time.monotonic()
    await acme.enqueue(delay={"nanos": 300_000_000})
    (task,) = await waiting
    assert 0.3 <= time.monotonic() - began < 1.8
    assert task.attempt == 1


async def test_a_waiting_claim_gets_what_another_worker_gives_back(
    acme: Caller, peer: Server, admin: Admin
) -> None:
    await acme.enqueue(retry_policy={"initial_backoff": {}})
    for end in (acme.abandon, acme.fail):
        held = await acme.claim_one()
        waiting = asyncio.create_task(peer.caller().claim(wait=20, timeout=30))
        await armed(admin)
        await end(held)
        (task,) = await waiting
        await acme.abandon(task)


async def test_each_of_several_waiting_claims_gets_one_task(acme: Caller, peer: Server) -> None:
    callers = [acme, peer.caller()] * 5
    waiting = [asyncio.create_task(one.claim(wait=20, timeout=30)) for one in callers]
    ids = [await acme.enqueue() for _ in callers]
    found = [task.lease.task_id for claim in waiting for task in await claim]
    assert sorted(found) == sorted(ids)


async def test_waiting_ends_when_it_was_asked_to_and_leaves_no_wish_to_be_woken(
    acme: Caller, admin: Admin
) -> None:
    began = time.monotonic()
    assert await acme.claim(wait=0.3) == []
    assert 0.3 <= time.monotonic() - began < 1.8

    await armed(admin, servers=0)


async def test_waiting_ends_before_the_clients_deadline(acme: Caller) -> None:
    for timeout in (0.2, 1.0):
        assert await acme.claim(wait=60, timeout=timeout) == []


async def test_a_client_gone_while_it_waits_takes_no_wake_up_with_it(
    acme: Caller, peer: Server, admin: Admin
) -> None:
    leaver = acme.start("Claim", waiting_claim())
    await armed(admin)
    stayer = asyncio.create_task(peer.caller().claim(wait=20, timeout=30))
    await armed(admin, servers=2)
    leaver.cancel()
    began = time.monotonic()
    await acme.enqueue()
    (task,) = await stayer
    assert task.attempt == 1
    assert time.monotonic() - began < 1.5


async def test_a_client_gone_while_it_claims_has_its_leases_returned_uncounted(
    own_store: StoreProcess, own_server: Server
) -> None:
    acme = own_server.caller()
    ids = await acme.enqueue_many(3)
    for wait in (0, 20):
        own_store.pause()
        request = waiting_claim(most=3)
        request.wait.seconds = wait
        call = acme.start("Claim", request)
        await claiming(own_server)
        call.cancel()
        await no_calls()
        own_store.resume()
        claimed = await acme.claim(most=3, wait=10)
        assert [task.lease.task_id for task in claimed] == ids
        assert {task.attempt for task in claimed} == {1}
        for task in reversed(claimed):
            await acme.abandon(task)


async def test_a_client_gone_while_it_claims_leaves_no_wish_to_be_woken(
    own_store: StoreProcess, own_server: Server
) -> None:
    acme = own_server.caller()
    await acme.enqueue()
    await acme.claim_one()
    own_store.pause()
    call = acme.start("Claim", waiting_claim())
    await claiming(own_server)
    call.cancel()
    await no_calls()
    own_store.resume()
    assert (await acme.stats()).pending == 0  # the claim is through
    with Admin(own_store.socket_path) as admin:
        await armed(admin, servers=0)


def waiting_claim(most: int = 1) -> pb.ClaimRequest:
    """Waits longer than any test."""
    request = pb.ClaimRequest(worker_id="leaver", commands=["RENDER"], max_tasks=most)
    request.wait.seconds = 60
    return request


async def test_replies_are_cut_by_bytes_and_nothing_is_left_out(acme: Caller) -> None:
    big = bytes(1 << 20)
    for command in "ABAB":
        for _ in range(2):
            await acme.enqueue(command, big)
    sizes = []
    for _ in range(8):
        claimed = await acme.claim("A", "B", most=1_000)
        if not claimed:
            break
        sizes.append(len(claimed))
    assert sum(sizes) == 8
    assert max(sizes) >= 2


async def test_the_largest_spec_can_be_claimed_beside_others(acme: Caller) -> None:
    """With payload and headers at their limits, in two queues of one claim."""
    headers = {
        f"{i:03}" + "\N{GRINNING FACE}" * (limits.HEADER_KEY_CHARS - 3): "\N{GRINNING FACE}"
        * limits.HEADER_VALUE_CHARS
        for i in range(limits.HEADERS)
    }
    payload = task_pb2.Payload(data=bytes(limits.PAYLOAD_BYTES))
    for command in ("A", "B"):
        spec = task_pb2.TaskSpec(command=command, payload=payload, headers=headers)
        await acme.start("Enqueue", pb.EnqueueRequest(task=spec))
    found: list[str] = []
    for _ in range(2):
        found += [task.spec.command for task in await acme.claim("A", "B", most=10)]
    assert sorted(found) == ["A", "B"]


async def test_a_claim_gets_past_what_aborted_scripts_left_in_the_list(
    acme: Caller, admin: Admin
) -> None:
    await acme.enqueue("OTHER")
    admin.calls([("RPUSH", queue_key("r5"), *(f"gone{i:03}" for i in range(500)))] * 9)
    task_id = await acme.enqueue()
    began = time.monotonic()
    claimed = await acme.claim(wait=10)
    assert [task.lease.task_id for task in claimed] == [task_id]
    assert time.monotonic() - began < 1.5


async def test_no_call_outlives_the_clients_deadline(acme: Caller) -> None:
    call = acme.start("Claim", waiting_claim(), timeout=0.5)
    response = await call
    assert not response.tasks
    assert await call.code() == grpc.StatusCode.OK


async def test_a_claim_takes_more_than_one_script_may_give(acme: Caller) -> None:
    ids = await acme.enqueue_many(1_000)
    assert [task.lease.task_id for task in await acme.claim(most=1_000)] == ids
