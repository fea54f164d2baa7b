"""StreamClaim when clients leave and stores restart: no task is lost, none waits for nothing."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

import grpc
import pytest

from codeq.v1 import codeq_service_pb2 as pb
from tests.integration.looking import claiming, in_progress, no_calls
from tests.integration.streaming import StreamReader, stream_request
from tests.support.server import eventually

if TYPE_CHECKING:
    from codeq.v1.task_pb2 import ClaimedTask
    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess

KEEP, RELEASE = pb.DISCONNECT_POLICY_KEEP, pb.DISCONNECT_POLICY_RELEASE


async def leave_at_random(
    acme: Caller, request: pb.StreamClaimRequest, times: int
) -> dict[str, ClaimedTask]:
    """Opens and cancels streams; completes what came in time. Gives those."""
    rng = random.Random(7)
    done: dict[str, ClaimedTask] = {}
    for _ in range(times):
        got: list[ClaimedTask] = []
        call = acme.start("StreamClaim", request, timeout=None)

        async def read(call: object = call, got: list[ClaimedTask] = got) -> None:
            async for message in call:  # type: ignore[attr-defined]
                got += message.batch.tasks

        reading = asyncio.create_task(read())
        await asyncio.wait([reading], timeout=rng.choice((0, rng.random() * 0.02)))
        call.cancel()
        await asyncio.wait([reading])
        for task in got:
            try:
                await acme.complete(task)
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.FAILED_PRECONDITION  # noqa: PT017
            else:
                assert task.lease.task_id not in done
                done[task.lease.task_id] = task
    return done


async def finish(acme: Caller, left: int) -> dict[str, ClaimedTask]:
    """Claims and completes so many tasks."""
    done: dict[str, ClaimedTask] = {}
    while len(done) < left:
        claimed = await acme.claim(most=1_000, wait=5)
        assert claimed, f"{left - len(done)} tasks cannot be claimed"
        for task in claimed:
            await acme.complete(task)
            done[task.lease.task_id] = task
    return done


async def test_leaving_at_any_time_loses_no_task_and_counts_no_attempt_unseen(
    acme: Caller,
) -> None:
    ids = await acme.enqueue_many(150)
    request = stream_request(credit=6, lease=1, max_batch_size=2, disconnect_policy=KEEP)
    done = await leave_at_random(acme, request, 60)
    left = await finish(acme, len(ids) - len(done))
    assert done.keys() | left.keys() == set(ids)
    stats = await acme.stats()
    assert stats.completed_total == len(ids)
    # Only what was on its way to a client that had left waited for its lease, and was counted.
    counted = sum(task.attempt - 1 for task in (*done.values(), *left.values()))
    assert counted == stats.lease_expired_total


async def test_leaving_with_release_returns_everything_at_once_and_uncounted(
    acme: Caller,
) -> None:
    ids = await acme.enqueue_many(100)
    request = stream_request(credit=6, lease=600, max_batch_size=2, disconnect_policy=RELEASE)
    done = await leave_at_random(acme, request, 60)
    await in_progress(acme, 0)
    left = await finish(acme, len(ids) - len(done))
    assert done.keys() | left.keys() == set(ids)
    assert {task.attempt for task in left.values()} == {1}
    assert (await acme.stats()).lease_expired_total == 0


@pytest.mark.parametrize("policy", [pb.DISCONNECT_POLICY_UNSPECIFIED, KEEP])
async def test_a_kept_lease_can_be_reported_after_the_stream_broke(
    acme: Caller, peer: Server, policy: pb.DisconnectPolicy
) -> None:
    await acme.enqueue_many(2)
    async with StreamReader(acme, stream_request(credit=2, disconnect_policy=policy)) as stream:
        first, second = await stream.take(2)
    assert await peer.caller().heartbeat(first, second) == []
    await acme.complete(first)
    await peer.caller().abandon(second)
    assert (await acme.claim_one()).attempt == 1


async def test_a_released_lease_goes_to_another_worker_and_a_late_report_changes_nothing(
    acme: Caller,
) -> None:
    await acme.enqueue()
    request = stream_request(credit=1, disconnect_policy=RELEASE)
    async with StreamReader(acme, request) as stream:
        (task,) = await stream.take(1)
    again = await acme.claim_one(wait=5)
    assert (again.attempt, again.lease.task_id) == (1, task.lease.task_id)
    call = acme.start("Complete", pb.CompleteRequest(lease=task.lease))
    assert await call.code() is grpc.StatusCode.FAILED_PRECONDITION
    await acme.complete(again)


async def test_release_returns_only_what_is_not_reported(acme: Caller) -> None:
    await acme.enqueue_many(3)
    request = stream_request(credit=3, disconnect_policy=RELEASE)
    async with StreamReader(acme, request) as stream:
        first, second, _ = await stream.take(3)
        await acme.complete(first)
        await acme.fail(second, non_retryable=True)
    await in_progress(acme, 0)
    stats = await acme.stats()
    assert (stats.completed, stats.failed, stats.pending) == (1, 1, 1)


async def test_a_stream_gone_while_it_claims_returns_what_it_was_given(
    own_store: StoreProcess, own_server: Server
) -> None:
    acme = own_server.caller()
    ids = await acme.enqueue_many(5)
    own_store.pause()
    async with StreamReader(acme, stream_request(credit=5)) as stream:
        assert stream.kinds == ["opened"]
        await claiming(own_server)
        await stream.close()
        await no_calls()
    own_store.resume()
    tasks = await acme.claim(most=10, wait=5)
    assert [(task.lease.task_id, task.attempt) for task in tasks] == [(one, 1) for one in ids]


async def test_a_stream_survives_the_death_of_the_store(
    own_store: StoreProcess, own_server: Server
) -> None:
    acme = own_server.caller()
    await acme.enqueue_many(3)
    async with StreamReader(acme, stream_request(credit=4)) as stream:
        held = (await stream.take(3))[:3]
        own_store.kill()
        own_store.start()
        began = time.monotonic()

        async def enqueued() -> bool:
            call = acme.start("Enqueue", pb.EnqueueRequest(task={"command": "RENDER"}))
            return await call.code() is grpc.StatusCode.OK

        await eventually(enqueued, within=2)
        await stream.take(4)
        assert time.monotonic() - began < 2
        for task in held:
            await acme.complete(task)
        await acme.enqueue_many(3)
        await stream.take(7)
        assert stream.kinds.count("opened") == 1


async def test_tasks_left_in_the_store_come_when_it_is_back(
    own_store: StoreProcess, own_server: Server
) -> None:
    acme = own_server.caller()
    await acme.enqueue("KNOWN")
    async with StreamReader(acme, stream_request("KNOWN", credit=1)) as stream:
        (first,) = await stream.take(1)
        await acme.enqueue_many(2, "KNOWN")
        await acme.complete(first)
        await stream.take(2)
        own_store.kill()
        # The report fails now; repeated later it brings the credit for the next task.
        call = acme.start("Complete", pb.CompleteRequest(lease=stream.tasks[1].lease))
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        own_store.start()
        began = time.monotonic()

        async def reported() -> bool:
            call = acme.start("Complete", pb.CompleteRequest(lease=stream.tasks[1].lease))
            return await call.code() is grpc.StatusCode.OK

        await eventually(reported, within=2)
        await stream.take(3)
        assert time.monotonic() - began < 2


async def test_a_stream_says_that_it_lives_while_the_store_is_gone(
    own_store: StoreProcess, own_server: Server
) -> None:
    acme = own_server.caller()
    await acme.enqueue()
    async with StreamReader(acme, stream_request(credit=2, idle=1)) as stream:
        (task,) = await stream.take(1)
        own_store.kill()
        await stream.until(lambda reader: reader.kinds.count("idle") >= 2, within=4)
        told = [one.idle.server_time for one in stream.messages if one.HasField("idle")]
        assert told[0].ToMilliseconds() > task.create_time.ToMilliseconds()
        assert told[1].ToMilliseconds() > told[0].ToMilliseconds()
        assert not stream.ended
