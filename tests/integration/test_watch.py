"""WatchTasks: changes as they happen, from any server, of the tasks asked for and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from tests.integration import operating
from tests.integration.calling import ask, start
from tests.integration.operating import progress, seconds
from tests.integration.refusals import refused
from tests.integration.streaming import StreamReader, WatchReader, stream_request
from tests.integration.test_expiry import soon
from tests.support.server import eventually, running_server

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess


def by_filter(command: str = "RENDER", **fields: object) -> pb.TaskSelector:
    """Tasks of one queue."""
    return pb.TaskSelector(filter=operating.matching(command, **fields))


def by_ids(*task_ids: str) -> pb.TaskSelector:
    """These tasks."""
    return pb.TaskSelector(task_ids=task_ids)


async def told_so_far(watch: WatchReader, acme: Caller, command: str = "RENDER") -> None:
    """Returns once everything that has happened is told."""
    last = await acme.enqueue(command)
    await watch.until(lambda one: one.states(last))


async def test_the_first_message_is_empty_and_comes_before_any_change(acme: Caller) -> None:
    before = await acme.enqueue()
    async with WatchReader(acme, by_filter()) as watch:
        assert watch.messages == [pb.WatchTasksResponse()]
        after = await acme.enqueue()
        await watch.sees(after, "PENDING")
        assert watch.states(before) == []


async def test_every_change_of_a_tasks_life_is_told_in_the_basic_view(
    acme: Caller, peer: Server
) -> None:
    """By whichever server it was made."""
    other = peer.caller()
    async with WatchReader(acme, by_filter()) as watch:
        task_id = await other.enqueue(data=b"payload", labels={"a": "b"})
        await watch.sees(task_id, "PENDING")
        held = await other.claim_one(worker="me")
        await watch.sees(task_id, "IN_PROGRESS")
        assert watch.tasks[-1].worker_id == "me"
        checkpoint = task_pb2.Payload(data=b"half")
        await progress(other, held, fraction=0.5, checkpoint=checkpoint)
        await watch.until(lambda one: one.tasks[-1].progress.fraction == 0.5)
        await other.fail(held, retry_delay=seconds(600))
        await watch.sees(task_id, "SCHEDULED")
        await operating.cancel(other, task_id, reason="why")
        await watch.sees(task_id, "CANCELLED")
        assert watch.tasks[-1].error.message == "why"
        await operating.redrive(other, task_id)
        await watch.sees(task_id, "PENDING")
        await other.complete(await other.claim_one(), b"result")
        await watch.sees(task_id, "COMPLETED")
        assert watch.tasks[-1] == await acme.task(task_id)
        for task in watch.tasks:
            assert not task.spec.HasField("payload")
            assert not task.HasField("result")
            assert not task.progress.HasField("checkpoint")
            assert not task.attempts
        assert watch.gaps == 0


async def test_what_time_does_is_told_too(acme: Caller) -> None:
    async with WatchReader(acme, by_filter()) as watch:
        scheduled = await acme.enqueue(delay=seconds(0.2))
        expires = await acme.enqueue(expire_time=await soon(acme, 0.3), priority=0)
        await watch.sees(scheduled, "PENDING")
        held = await acme.claim_one(lease=1)
        await watch.sees(held.lease.task_id, "IN_PROGRESS")
        await watch.sees(expires, "EXPIRED")
        await watch.sees(scheduled, "PENDING")
        await operating.update(acme, paused=True)
        await operating.purge(acme)
        await watch.sees(scheduled, "CANCELLED")


async def test_what_others_lead_to_is_told_too(acme: Caller) -> None:
    parent = await acme.enqueue("PARENT")
    async with WatchReader(acme, by_filter()) as watch:
        child = await acme.enqueue(depends_on=[parent])
        await watch.sees(child, "BLOCKED")
        await acme.complete(await acme.claim_one("PARENT"))
        await watch.sees(child, "PENDING")


async def test_a_cancel_that_waits_for_a_worker_is_told(acme: Caller) -> None:
    task_id = await acme.enqueue()
    await acme.claim_one()
    async with WatchReader(acme, by_filter()) as watch:
        await operating.cancel(acme, task_id)
        await watch.until(lambda one: one.tasks and one.tasks[-1].cancel_requested)


async def test_a_filter_lets_only_those_through_that_match_now(acme: Caller) -> None:
    async with (
        WatchReader(acme, by_filter(labels={"of": "me"})) as mine,
        WatchReader(acme, by_filter(states=["COMPLETED", "FAILED"])) as ended,
        WatchReader(acme, by_filter(worker_id="w-1")) as worked,
        WatchReader(acme, by_filter(error_type="Bad")) as bad,
        WatchReader(acme, by_filter()) as everything,
    ):
        first = await acme.enqueue(labels={"of": "me"})
        second = await acme.enqueue(labels={"of": "you"})
        await everything.sees(second, "PENDING")
        one, two = await acme.claim(most=2, worker="w-1")
        await everything.sees(second, "IN_PROGRESS")
        await acme.complete(one)
        await acme.fail(two, type="Bad", non_retryable=True)
        await everything.sees(second, "FAILED")
        await ended.sees(second, "FAILED")
        await mine.sees(first, "COMPLETED")
        await bad.sees(second, "FAILED")
        await worked.sees(second, "FAILED")
    assert mine.states(second) == []
    assert set(ended.states(first)) == {"COMPLETED"}
    assert set(ended.states(second)) == {"FAILED"}
    assert "PENDING" not in worked.states(first)
    assert bad.states(first) == []


async def test_ids_of_several_queues_are_watched_and_no_others(acme: Caller, peer: Server) -> None:
    first, other = await acme.enqueue_many(2, "A")
    second = await acme.enqueue("B")
    async with (
        WatchReader(acme, by_ids(first, second)) as here,
        WatchReader(peer.caller(), by_ids(first, second)) as there,
        WatchReader(acme, by_filter("A")) as everything,
    ):
        await operating.cancel(acme, other, first, second)
        for watch in (here, there):
            await watch.sees(first, "CANCELLED")
            await watch.sees(second, "CANCELLED")
        await everything.sees(other, "CANCELLED")
        assert here.states(other) == there.states(other) == []


async def test_watches_of_one_queue_do_not_disturb_each_other(acme: Caller) -> None:
    """One by filter, from before the queue's first task, and one by id."""
    async with WatchReader(acme, by_filter()) as first:
        task_id = await acme.enqueue()
        await first.sees(task_id, "PENDING")
        async with WatchReader(acme, by_ids(task_id)) as second:
            await operating.cancel(acme, task_id)
            await second.sees(task_id, "CANCELLED")
        await operating.redrive(acme, task_id)
        await first.sees(task_id, "PENDING")


async def test_quick_changes_merge_into_what_a_task_is_now(acme: Caller) -> None:
    async with WatchReader(acme, by_filter()) as watch:
        ids = await acme.enqueue_many(300)
        for task in await acme.claim(most=300):
            await acme.complete(task)
        await told_so_far(watch, acme)
        assert {task_id: watch.states(task_id)[-1] for task_id in ids} == dict.fromkeys(
            ids, "COMPLETED"
        )
        assert watch.gaps == 0
        # Of each of its three changes at most; the store told of 300 enqueues in one message.
        assert len(watch.messages) < 300


async def test_a_thousand_tasks_are_told_in_messages_of_bounded_size(acme: Caller) -> None:
    async with WatchReader(acme, by_filter()) as watch:
        headers = {f"k{i}": "x" * 4_000 for i in range(4)}
        ids = await acme.enqueue_many(150, headers=headers)
        ids += await acme.enqueue_many(150, headers=headers)
        await watch.until(lambda one: {task.task_id for task in one.tasks} >= set(ids))
        assert len(watch.tasks) == 300
        assert max(message.ByteSize() for message in watch.messages) < 4 << 20
        assert sum(message.ByteSize() for message in watch.messages) > 4 << 20


async def test_unknown_ids_are_not_found(acme: Caller) -> None:
    known = await acme.enqueue()
    for unknown in ("x" * 18, ""):
        request = pb.WatchTasksRequest(selector=by_ids(known, unknown))
        refusal = await refused(ask(acme, "WatchTasks", request))
        assert refusal.kind == ("NOT_FOUND", "TASK_NOT_FOUND")
        assert refusal.metadata == {"task_id": unknown}


async def test_more_watches_than_allowed_are_refused(store: StoreProcess) -> None:
    async with running_server(store, max_watches=2) as server:
        acme = server.caller()
        request = pb.WatchTasksRequest(selector=by_filter())
        async with WatchReader(acme, by_filter()):
            async with WatchReader(acme, by_filter()):
                refusal = await refused(ask(acme, "WatchTasks", request))
                assert refusal.kind == ("RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS")
                assert refusal.metadata == {"budget": "max_watches", "limit": "2"}
                assert refusal.retry_after

            async def opens() -> bool:
                async with WatchReader(acme, by_filter()) as watch:
                    return watch.refusal is None

            await eventually(opens)


async def test_watches_and_streams_do_not_count_against_each_other(store: StoreProcess) -> None:
    async with running_server(store, max_watches=1, max_streams=1) as server:
        acme = server.caller()
        async with (
            WatchReader(acme, by_filter()) as watch,
            StreamReader(acme, stream_request()) as stream,
        ):
            await acme.enqueue()
            await stream.take(1)
            assert (watch.refusal, stream.refusal) == (None, None)


def publishes(admin: Admin) -> int:
    """How often the store was asked to publish."""
    told = admin.call("INFO", "commandstats").decode()
    lines = [one for one in told.splitlines() if one.startswith("cmdstat_publish:")]
    return int(lines[0].partition("calls=")[2].partition(",")[0]) if lines else 0


async def a_life(acme: Caller) -> None:
    """Of some tasks, with all that a watcher would be told of."""
    ids = await acme.enqueue_many(5)
    first, second, third, fourth = await acme.claim(most=4)
    await progress(acme, first, fraction=0.5)
    await acme.complete(first)
    await acme.fail(second, non_retryable=True)
    await acme.abandon(third)
    await operating.cancel(acme, fourth.lease.task_id, ids[4])
    await acme.fail(fourth)
    await operating.redrive(acme, second.lease.task_id)


async def test_while_nobody_watches_the_store_tells_nothing(acme: Caller, admin: Admin) -> None:
    before = publishes(admin)
    await a_life(acme)
    assert publishes(admin) == before
    async with WatchReader(acme, by_filter()):
        await a_life(acme)
        assert publishes(admin) > before + 5
        # Nor of other queues.
        between = publishes(admin)
        await acme.enqueue("OTHER")
        assert publishes(admin) == between


async def test_a_watch_that_is_not_renewed_is_forgotten_by_the_store(
    acme: Caller, server: Server, admin: Admin
) -> None:
    """By its server that is; here it lives, and is renewed before that."""
    async with WatchReader(acme, by_filter()) as watch:
        first = admin.call("HGET", "codeq:{acme/RENDER/0}:s", "watch")
        assert first.startswith(server.app.server_id.encode() + b":")
        await eventually(lambda: admin.call("HGET", "codeq:{acme/RENDER/0}:s", "watch") != first)
        task_id = await acme.enqueue()
        await watch.sees(task_id, "PENDING")


async def test_a_watcher_who_leaves_is_forgotten(acme: Caller, server: Server) -> None:
    calls = [start(acme, "WatchTasks", pb.WatchTasksRequest(selector=by_filter())) for _ in "abc"]
    for call in calls:
        await call.read()
    assert len(server.app._watches._open) == 3
    for call in calls:
        call.cancel()
    await eventually(lambda: not server.app._watches._open)
    assert server.app._waiters._watchers == {}
