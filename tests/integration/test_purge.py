"""PurgeQueue: everything but what is leased or has ended is gone at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codeq.v1 import task_pb2
from tests.integration import operating
from tests.integration.dependents import becomes
from tests.integration.looking import queue_key
from tests.integration.operating import seconds
from tests.integration.streaming import StreamReader, stream_request
from tests.support.server import eventually, running_server

if TYPE_CHECKING:
    import pytest

    from tests.support.admin import Admin
    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess


async def mixed(acme: Caller) -> tuple[task_pb2.ClaimedTask, dict[str, str]]:
    """A leased task, and one in every other state that a purge meets."""
    completed, failed, held = await acme.enqueue_many(3)
    claimed = {task.lease.task_id: task for task in await acme.claim(most=3)}
    await acme.complete(claimed[completed])
    await acme.fail(claimed[failed], non_retryable=True)
    found = {
        "COMPLETED": completed,
        "FAILED": failed,
        "PENDING": await acme.enqueue(),
        "SCHEDULED": await acme.enqueue(delay=seconds(600)),
        "BLOCKED": await acme.enqueue(depends_on=[held]),
    }
    return claimed[held], found


async def test_a_purge_leaves_what_is_leased_and_what_has_ended(acme: Caller, peer: Server) -> None:
    held, found = await mixed(acme)
    assert await operating.purge(peer.caller()) == 3
    assert await acme.claim() == []
    stats = await acme.stats()
    assert (stats.pending, stats.scheduled, stats.blocked, stats.in_progress) == (0, 0, 0, 1)
    for state, task_id in found.items():
        kept = state in {"COMPLETED", "FAILED"}
        assert await acme.state(task_id) == (state if kept else "CANCELLED")
    assert await acme.heartbeat(held) == []
    await acme.complete(held)
    assert (await acme.stats()).completed == 2


async def test_what_comes_after_a_purge_is_not_touched(acme: Caller) -> None:
    held, _ = await mixed(acme)
    await operating.purge(acme)
    fresh = await acme.enqueue()
    await acme.abandon(held)
    claimed = [task.lease.task_id for task in await acme.claim(most=9)]
    assert claimed == [held.lease.task_id, fresh]


async def test_purged_tasks_are_cancelled_ones_in_the_end(acme: Caller, admin: Admin) -> None:
    ids = await acme.enqueue_many(700, labels={"a": "b"})
    assert await operating.purge(acme) == 700
    assert (await acme.task(ids[0])).state == task_pb2.TASK_STATE_CANCELLED

    async def swept() -> bool:
        return (await acme.stats()).cancelled == 700

    await eventually(swept)
    task = await acme.task(ids[0])
    assert (task.error.type, task.error.message) == ("cancelled", "the queue was purged")
    assert set(await operating.ids(acme, 1_000, states=["CANCELLED"])) == set(ids)
    assert await operating.ids(acme, states=["PENDING"]) == []
    await eventually(lambda: not admin.call("LLEN", queue_key("r5")))


async def test_a_purge_of_an_empty_queue_and_twice_in_a_row(acme: Caller) -> None:
    await acme.enqueue()
    assert [await operating.purge(acme) for _ in range(3)] == [1, 0, 0]
    await acme.enqueue_many(2)
    assert await operating.purge(acme) == 2

    async def swept() -> bool:
        return (await acme.stats()).cancelled == 3

    await eventually(swept)


async def test_a_purged_task_can_be_redriven_at_once(
    acme: Caller, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_sweeping(server, monkeypatch)
    task_id = await acme.enqueue(data=b"payload")
    await operating.purge(acme)
    assert (await operating.redrive(acme, task_id)).redriven_count == 1
    task = await acme.claim_one()
    assert (task.lease.task_id, task.spec.payload.data) == (task_id, b"payload")
    await acme.complete(task)
    stats = await acme.stats()
    assert (stats.pending, stats.completed, stats.cancelled) == (0, 1, 0)


def stop_sweeping(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its purges are left to others."""

    async def nothing(*_: Any) -> None:
        return

    monkeypatch.setattr(server.app._sweeper, "_visit", nothing)


async def test_another_server_sweeps_what_the_first_one_left(
    store: StoreProcess, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme = server.caller()
    stop_sweeping(server, monkeypatch)
    await acme.enqueue_many(600)
    await operating.purge(acme)
    assert (await acme.stats()).cancelled < 600
    async with running_server(store) as other:

        async def swept() -> bool:
            return (await other.caller().stats()).cancelled == 600

        await eventually(swept)


async def test_those_that_depend_on_purged_tasks_fail(acme: Caller) -> None:
    parent = await acme.enqueue("PARENT")
    child = await acme.enqueue(depends_on=[parent])
    await operating.purge(acme, "PARENT")
    await becomes(acme, child, "FAILED")
    assert (await acme.task(child)).error.type == "dependency_cancelled"


async def test_a_stream_gets_nothing_that_was_purged(acme: Caller, peer: Server) -> None:
    await acme.enqueue_many(20)
    async with StreamReader(peer.caller(), stream_request(credit=5)) as stream:
        await stream.take(5)
        await operating.purge(acme)
        for task in stream.tasks:
            await acme.complete(task)
        last = await acme.enqueue()
        await stream.take(6)
        assert stream.tasks[5].lease.task_id == last


async def test_counts_add_up_while_a_purge_is_swept(acme: Caller, peer: Server) -> None:
    """Every count is taken in one script: nothing is in two states, nothing in none."""
    await acme.enqueue_many(1_000)
    await acme.enqueue_many(1_000, delay=seconds(600))
    await operating.purge(acme)
    other = peer.caller()
    while True:
        stats = await other.stats()
        assert stats.pending == stats.scheduled == stats.blocked == 0
        assert stats.cancelled <= 2_000
        if stats.cancelled == 2_000:
            break
