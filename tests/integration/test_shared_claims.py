"""All who wait for a queue in one process share its claims: fair, in order, and never too much."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock

import grpc
import pytest

from codeq_grpc.broker import claims
from codeq_grpc.core.errors import StoreUnavailable
from tests.integration.looking import armed, in_progress
from tests.integration.streaming import StreamReader, stream_request
from tests.support.server import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.tasks import Claimant, Claimed
    from tests.support.admin import Admin
    from tests.support.server import Caller, Server

STREAMS = 40


class Claiming:
    """What a server asks of the store; calls for a queue of `held_up` are not made, replies to
    those for a queue of `broken` are lost in favour of its error.
    """

    def __init__(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, list[int]]] = []
        self.held_up: set[str] = set()
        self.broken: dict[str, Exception] = {}
        self._claim: Any = server.app._store.claim
        monkeypatch.setattr(server.app._store, "claim", self._note)

    async def _note(self, queue: Queue, claimants: Sequence[Claimant], **more: Any) -> Claimed:
        self.calls.append((queue.command, [one.want for one in claimants]))
        if queue.command in self.held_up:
            await asyncio.Event().wait()
        claimed: Claimed = await self._claim(queue, claimants, **more)
        if queue.command in self.broken:
            raise self.broken[queue.command]
        return claimed


@pytest.fixture
def claiming(server: Server, monkeypatch: pytest.MonkeyPatch) -> Claiming:
    return Claiming(server, monkeypatch)


async def streams(stack: AsyncExitStack, acme: Caller, *requests: Any) -> list[StreamReader]:
    """Open ones."""
    return [await stack.enter_async_context(StreamReader(acme, one)) for one in requests]


async def test_one_task_costs_few_claims_however_many_streams_wait(
    acme: Caller, admin: Admin, claiming: Claiming
) -> None:
    async with AsyncExitStack() as stack:
        opened = await streams(stack, acme, *[stream_request(credit=3)] * STREAMS)
        await armed(admin)
        claiming.calls.clear()
        for _ in range(10):
            await acme.enqueue()
        await eventually(lambda: sum(len(one.tasks) for one in opened) == 10)
        # One for each task, two when the next one came before the server was noted again, and
        # ticks of those who wait long.
        assert len(claiming.calls) <= 2 * 10 + STREAMS // 10


async def test_waiting_streams_get_their_parts(acme: Caller, admin: Admin) -> None:
    async with AsyncExitStack() as stack:
        opened = await streams(stack, acme, *[stream_request(credit=100)] * 5)
        await armed(admin)
        await acme.enqueue_many(10)
        await eventually(lambda: sum(len(one.tasks) for one in opened) == 10)
        assert sorted(len(one.tasks) for one in opened) == [2, 2, 2, 2, 2]


async def test_a_greedy_stream_leaves_something_to_others(acme: Caller) -> None:
    await acme.enqueue_many(300)
    greedy = stream_request(credit=10_000, max_batch_size=1000, worker="greedy")
    async with AsyncExitStack() as stack:
        (first,) = await streams(stack, acme, greedy)
        await first.take(300)
        others = await streams(stack, acme, *[stream_request(credit=5)] * 4)
        await acme.enqueue_many(25)
        await eventually(lambda: sum(len(one.tasks) for one in (first, *others)) == 325)
        assert all(len(one.tasks) >= 1 for one in others)


async def test_calls_and_streams_wait_in_one_line(acme: Caller, admin: Admin) -> None:
    async with AsyncExitStack() as stack:
        (stream,) = await streams(stack, acme, stream_request(credit=1))
        await armed(admin)
        calls = [asyncio.create_task(acme.claim(most=1, wait=8)) for _ in range(3)]
        await acme.enqueue_many(4)
        claimed = [task.lease.task_id for call in calls for task in await call]
        await stream.take(1)
        assert len({*claimed, stream.tasks[0].lease.task_id}) == 4


async def test_the_preferred_queue_goes_first_whoever_waits(acme: Caller) -> None:
    await acme.enqueue_many(20, "LIKED")
    await acme.enqueue_many(20, "OTHER")
    async with AsyncExitStack() as stack:
        requests = [stream_request("LIKED", "OTHER", credit=4)] * 5
        opened = await streams(stack, acme, *requests)
        await eventually(lambda: all(len(one.tasks) == 4 for one in opened))
        assert {task.spec.command for one in opened for task in one.tasks} == {"LIKED"}
        for one in opened:
            for task in one.tasks[:4]:
                await acme.complete(task)
        await eventually(lambda: all(len(one.tasks) == 8 for one in opened))
        assert {task.spec.command for one in opened for task in one.tasks[4:]} == {"OTHER"}


async def test_nobody_holds_more_than_its_credit_while_queues_race(acme: Caller) -> None:
    commands, credit = [f"Q{i}" for i in range(6)], 3
    requests = [stream_request(*commands, credit=credit)] * 4
    async with AsyncExitStack() as stack:
        opened = await streams(stack, acme, *requests)
        async with asyncio.TaskGroup() as group:
            for command in commands:
                group.create_task(acme.enqueue_many(10, command))
        completed = 0
        while completed < 60:
            await eventually(lambda: any(len(one.tasks) for one in opened))
            for one in opened:
                tasks = one.tasks
                assert len(tasks) <= credit
                one.messages.clear()
                for task in tasks:
                    await acme.complete(task)
                completed += len(tasks)
        stats = [await acme.stats(command) for command in commands]
        assert [one.completed for one in stats] == [10] * 6


async def test_a_wake_up_for_one_who_left_is_handed_on(
    server: Server, peer: Server, admin: Admin
) -> None:
    acme, other, request = server.caller(), peer.caller(), stream_request(credit=1)
    async with StreamReader(acme, request) as first, StreamReader(other, request) as second:
        await armed(admin, servers=2)
        await first.close()
        await acme.enqueue()
        await second.take(1, within=1.5)


async def test_a_poll_that_one_queue_serves_leaves_the_others_to_those_who_wait(
    acme: Caller, admin: Admin
) -> None:
    async with StreamReader(acme, stream_request("B", "C", credit=1)) as stream:
        await armed(admin, command="B")
        await armed(admin, command="C")
        await acme.enqueue("A")
        assert len(await acme.claim("A", "B", most=1)) == 1
        await acme.enqueue("C")
        await stream.take(1, within=1.5)


async def test_a_call_that_is_cancelled_between_two_claims_gives_back_what_it_has(
    acme: Caller, claiming: Claiming, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_MORE", 60)
    await acme.enqueue_many(5, "A")
    await acme.enqueue_many(5, "B")
    claiming.held_up.add("B")
    call = asyncio.create_task(acme.claim("A", "B", most=10, wait=8))
    await eventually(lambda: [command for command, _ in claiming.calls] == ["A", "B"])
    assert (await acme.stats("A")).in_progress == 5
    call.cancel()
    await in_progress(acme, 0, "A")
    assert (await acme.stats("A")).pending == 5
    claiming.held_up.clear()


async def test_a_call_that_has_tasks_does_not_wait_long_for_the_rest(
    acme: Caller, claiming: Claiming
) -> None:
    await acme.enqueue_many(5, "A")
    await acme.enqueue_many(5, "B")
    claiming.held_up.add("B")
    assert len(await acme.claim("A", "B", most=10)) == 5
    assert claiming.calls == [("A", [10]), ("B", [5])]


async def test_who_fails_keeps_no_wake_up_from_others(
    acme: Caller, admin: Admin, claiming: Claiming
) -> None:
    claiming.broken["RENDER"] = StoreUnavailable()
    for _ in range(3):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await acme.claim(wait=8)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await armed(admin, servers=0)


async def test_tasks_of_a_claim_whose_reply_was_lost_go_back_uncounted(
    acme: Caller, claiming: Claiming
) -> None:
    await acme.enqueue_many(30)
    claiming.broken["RENDER"] = StoreUnavailable()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await acme.claim(most=20)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    claiming.broken.clear()
    await in_progress(acme, 0)
    tasks = await acme.claim(most=30)
    assert [task.attempt for task in tasks] == [1] * 30


async def test_a_stream_goes_on_with_what_a_lost_reply_had_leased(
    acme: Caller, admin: Admin, claiming: Claiming
) -> None:
    async with StreamReader(acme, stream_request(credit=50)) as stream:
        await armed(admin)
        claiming.broken["RENDER"] = StoreUnavailable()
        await acme.enqueue_many(30)
        await in_progress(acme, 30)
        claiming.broken.clear()
        tasks = await stream.take(30)
        assert [task.attempt for task in tasks] == [1] * 30


async def test_what_breaks_a_claim_breaks_the_calls_it_was_for(
    acme: Caller, claiming: Claiming, caplog: pytest.LogCaptureFixture
) -> None:
    claiming.broken["RENDER"] = ValueError("a reply that nobody understands")
    for wait in (0.0, 8.0):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await acme.claim(wait=wait)
        assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "a reply that nobody understands" in caplog.text
    claiming.broken.clear()
    await acme.enqueue()
    assert len(await acme.claim()) == 1


async def test_tasks_of_a_queue_whose_number_cannot_be_found_out_go_back(
    server: Server, peer: Server, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme, other = server.caller(), peer.caller()
    call = asyncio.create_task(acme.claim(wait=8))
    await armed(admin)
    registry: Any = server.app._registry
    with monkeypatch.context() as patch:
        patch.setattr(registry, "find", AsyncMock(side_effect=StoreUnavailable()))
        await other.enqueue()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await in_progress(other, 0)
    (task,) = await acme.claim()
    assert task.attempt == 1


async def test_no_message_has_more_than_the_stream_asked_for(acme: Caller, admin: Admin) -> None:
    request = stream_request(credit=90, max_batch_size=10)
    async with StreamReader(acme, request) as stream:
        await armed(admin)
        for _ in range(5):
            await acme.enqueue_many(60)
            for task in (await stream.take(60))[:60]:
                await acme.complete(task)
            assert max(len(message.batch.tasks) for message in stream.messages) <= 10
            stream.messages.clear()


async def test_a_wake_up_for_those_who_prefer_another_queue_is_handed_on(
    server: Server, peer: Server, admin: Admin, claiming: Claiming
) -> None:
    acme, other = server.caller(), peer.caller()
    async with AsyncExitStack() as stack:
        await streams(stack, acme, stream_request("A", "B", credit=5, max_batch_size=2))
        await armed(admin, command="B")
        (stream,) = await streams(stack, other, stream_request("B", credit=1))
        await armed(admin, servers=2, command="B")
        claiming.held_up.add("A")
        await other.enqueue("A")
        await eventually(lambda: claiming.calls[-1][0] == "A")
        await other.enqueue("B")
        await stream.take(1, within=1.5)


async def test_every_slow_reader_has_a_thread(server: Server) -> None:
    """pygrpc-native waits for each in a thread of the loop's executor, so that fewer threads than
    streams would let some slow readers hold up all others.
    """
    if server.native:
        executor: Any = asyncio.get_running_loop()._default_executor  # type: ignore[attr-defined]
        settings = server.app._settings
        assert executor._max_workers >= settings.max_streams + settings.max_watches
