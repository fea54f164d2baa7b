"""StreamClaim: what is sent, in which order, and never more than the worker has credit for."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from codeq.v1 import codeq_service_pb2 as pb
from tests.integration.looking import armed, in_progress
from tests.integration.refusals import refused
from tests.integration.streaming import StreamReader, stream_request
from tests.support.server import eventually, running_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from codeq.v1.task_pb2 import ClaimedTask
    from tests.support.admin import Admin
    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess

PROMPT = 1.5
"""Seconds; less than a stream takes to look by itself, so that what comes in time was told."""


async def test_opened_comes_first_and_tells_what_holds(acme: Caller) -> None:
    await acme.enqueue()
    async with StreamReader(acme, stream_request(credit=7, idle=33)) as stream:
        await stream.take(1)
        assert stream.kinds == ["opened", "batch"]
        opened = stream.messages[0].opened
        assert (opened.max_outstanding, opened.idle_interval.ToSeconds()) == (7, 33)
        assert opened.stream_id
    async with StreamReader(acme, stream_request()) as stream:
        assert stream.messages[0].opened.idle_interval.ToSeconds() == 15
        assert stream.messages[0].opened.stream_id != opened.stream_id


async def test_a_worker_that_reports_nothing_gets_exactly_its_credit(acme: Caller) -> None:
    await acme.enqueue_many(30)
    async with StreamReader(acme, stream_request(credit=7, idle=1)) as stream:
        await stream.take(7)
        await acme.enqueue_many(30)
        await stream.until(lambda one: one.kinds[-1] == "idle")
        assert len(stream.tasks) == 7
        stats = await acme.stats()
        assert (stats.in_progress, stats.pending) == (7, 53)
        told = stream.messages[-1].idle.server_time.ToMilliseconds()
        assert abs(told - stats.read_time.ToMilliseconds()) < 1_500


async def test_a_worker_that_reads_nothing_is_bounded_by_its_credit(acme: Caller) -> None:
    await acme.enqueue_many(20)
    call = acme.start("StreamClaim", stream_request(credit=5, max_batch_size=1), timeout=None)
    await in_progress(acme, 5)
    assert len(await acme.claim(most=100)) == 15
    await acme.enqueue()
    assert len(await acme.claim(wait=5)) == 1
    call.cancel()


async def test_credit_returns_when_reports_land_on_another_server(
    acme: Caller, peer: Server
) -> None:
    other = peer.caller()
    ids = await acme.enqueue_many(8, retry_policy={"initial_backoff": {"seconds": 60}})
    endings: list[Callable[[ClaimedTask], Awaitable[object]]]
    endings = [other.complete, other.fail, other.abandon, other.complete]
    async with StreamReader(acme, stream_request(credit=2)) as stream:
        await stream.take(2)
        for count, end in enumerate(endings, start=3):
            await end(stream.tasks[count - 3])
            await stream.take(count, within=PROMPT)
        report = pb.ReportRequest(
            outcomes=[
                pb.Outcome(complete=pb.CompleteRequest(lease=task.lease))
                for task in stream.tasks[4:6]
            ]
        )
        await other.start("Report", report)
        await stream.take(8, within=PROMPT)
        assert {task.lease.task_id for task in stream.tasks} <= set(ids)
    assert (await acme.stats()).completed == 4


async def test_a_message_has_at_most_max_batch_size_tasks(acme: Caller) -> None:
    ids = await acme.enqueue_many(10)
    async with StreamReader(acme, stream_request(credit=9, max_batch_size=4)) as stream:
        await stream.take(9)
        sizes = [len(message.batch.tasks) for message in stream.messages[1:]]
        assert sizes == [4, 4, 1]
        assert [task.lease.task_id for task in stream.tasks] == ids[:9]


async def test_tasks_come_by_priority_and_by_preference_of_commands(acme: Caller) -> None:
    wanted = []
    for command in ("SECOND", "FIRST"):
        for priority in (0, 9, 5):
            wanted.append((command, priority))
            await acme.enqueue(command, priority=priority)
    wanted.sort(key=lambda one: (one[0], -one[1]))
    async with StreamReader(acme, stream_request("FIRST", "SECOND")) as stream:
        tasks = await stream.take(6)
        assert [(task.spec.command, task.spec.priority) for task in tasks] == wanted


async def test_work_enqueued_on_another_server_comes_promptly(
    acme: Caller, peer: Server, admin: Admin
) -> None:
    async with StreamReader(acme, stream_request()) as stream:
        for count in range(1, 4):
            await armed(admin)
            await peer.caller().enqueue()
            await stream.take(count, within=PROMPT)


async def test_a_scheduled_task_comes_when_it_is_due(acme: Caller, admin: Admin) -> None:
    async with StreamReader(acme, stream_request()) as stream:
        await armed(admin)
        began = time.monotonic()
        await acme.enqueue(delay={"nanos": 200_000_000})
        await stream.take(1, within=PROMPT)
        assert time.monotonic() - began >= 0.2


async def test_a_lease_that_expires_is_named_and_its_credit_returns(acme: Caller) -> None:
    await acme.enqueue()
    async with StreamReader(acme, stream_request(credit=1, lease=1)) as stream:
        await stream.take(2, within=1 + 1 + PROMPT)
        first, second = stream.tasks
        assert stream.lost == [(first.lease.task_id, first.lease.fence)]
        assert stream.kinds[:4] == ["opened", "batch", "directive", "batch"]
        assert stream.messages[2].directive.kind == pb.DIRECTIVE_KIND_LEASE_LOST
        assert (second.lease.task_id, second.attempt) == (first.lease.task_id, 2)


async def test_a_heartbeat_keeps_a_streams_lease(acme: Caller) -> None:
    await acme.enqueue()
    async with StreamReader(acme, stream_request(credit=1, lease=1)) as stream:
        (task,) = await stream.take(1)
        assert await acme.heartbeat(task, extend=60) == []
        before = task.lease_expire_time.ToMilliseconds() + 100

        async def passed() -> bool:
            return (await acme.stats()).read_time.ToMilliseconds() > before

        await eventually(passed)
        assert stream.kinds == ["opened", "batch"]
        await acme.complete(task)


async def test_a_stream_is_told_to_reopen_when_it_is_old(store: StoreProcess) -> None:
    async with running_server(store, max_stream_age_seconds=0.3) as server:
        acme = server.caller()
        await acme.enqueue()
        began = time.monotonic()
        async with StreamReader(acme, stream_request()) as stream:
            await stream.until(lambda one: one.ended)
            assert stream.kinds == ["opened", "batch", "drain"]
            assert stream.refusal is None
            assert time.monotonic() - began >= 0.3
            await acme.complete(stream.tasks[0])


async def work_off(acme: Caller, stream: StreamReader, done: list[ClaimedTask]) -> None:
    """Completes what the stream gives, for ever."""
    at = 0
    while True:
        await stream.take(at + 1)
        done.append(stream.tasks[at])
        await acme.complete(stream.tasks[at])
        at += 1


async def test_streams_of_two_servers_share_the_work(acme: Caller, peer: Server) -> None:
    other = peer.caller()
    async with (
        StreamReader(acme, stream_request(credit=3)) as here,
        StreamReader(acme, stream_request(credit=3)) as beside,
        StreamReader(other, stream_request(credit=3)) as there,
    ):
        done: list[list[ClaimedTask]] = [[], [], []]
        workers = [
            asyncio.create_task(work_off(caller, stream, mine))
            for caller, stream, mine in zip(
                (acme, acme, other), (here, beside, there), done, strict=True
            )
        ]
        ids = await acme.enqueue_many(120)
        await eventually(lambda: sum(map(len, done)) >= 120)
        for worker in workers:
            worker.cancel()
        await asyncio.wait(workers)
    found = [task.lease.task_id for mine in done for task in mine]
    assert sorted(found) == sorted(ids)
    assert all(done)


async def test_a_stream_without_credit_keeps_no_wake_up_from_others(
    acme: Caller, peer: Server, admin: Admin
) -> None:
    async with StreamReader(acme, stream_request("A", "B", credit=1)) as stream:
        await armed(admin, command="B")
        waiting = asyncio.create_task(peer.caller().claim("B", wait=20, timeout=30))
        await armed(admin, servers=2, command="B")
        await acme.enqueue("A")
        await stream.take(1)
        began = time.monotonic()
        await acme.enqueue("B")
        assert len(await waiting) == 1
        assert time.monotonic() - began < PROMPT


async def test_more_streams_than_allowed_are_refused(store: StoreProcess) -> None:
    async with running_server(store, max_streams=2) as server:
        acme = server.caller()
        async with StreamReader(acme, stream_request()):
            async with StreamReader(acme, stream_request()):
                refusal = await refused(
                    acme.start("StreamClaim", stream_request(), timeout=5).read()
                )
                assert refusal.kind == ("RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS")
                assert refusal.metadata == {"budget": "max_streams", "limit": "2"}
                assert refusal.retry_after

            async def opens() -> bool:
                async with StreamReader(acme, stream_request()) as stream:
                    return stream.refusal is None

            await eventually(opens)


async def test_no_burst_opens_more_streams_than_allowed(store: StoreProcess) -> None:
    async with running_server(store, max_streams=3) as server:
        acme = server.caller()
        readers = [StreamReader(acme, stream_request()) for _ in range(20)]
        for reader in await asyncio.gather(*(reader.__aenter__() for reader in readers)):
            assert reader.ended == (reader.refusal is not None)
        assert sum(not reader.ended for reader in readers) == 3
        for reader in readers:
            await reader.close()
