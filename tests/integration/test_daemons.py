"""What happens as time passes: promotion, expiry of leases, deletion after the retention."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from tests.integration.looking import queue_key
from tests.support.admin import Admin
from tests.support.server import eventually, running_server

if TYPE_CHECKING:
    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess


async def test_a_dead_workers_task_is_pending_within_a_second_after_its_lease(
    acme: Caller, peer: Server
) -> None:
    ids = await acme.enqueue_many(3)
    await acme.claim(most=3, lease=1)
    began = time.monotonic()

    async def all_pending() -> bool:
        return (await peer.caller().stats()).pending == 3

    await eventually(all_pending, within=1 + 1 + 0.5)
    assert time.monotonic() - began >= 0.9
    tasks = await acme.claim(most=3)
    assert [(task.lease.task_id, task.attempt) for task in tasks] == [(one, 2) for one in ids]
    assert (await acme.task(ids[0])).error.type == "lease_expired"


async def test_a_waiting_worker_gets_a_dead_workers_task(acme: Caller, peer: Server) -> None:
    task_id = await acme.enqueue()
    await acme.claim_one(lease=1)
    task = await peer.caller().claim_one(wait=8)
    assert (task.lease.task_id, task.attempt) == (task_id, 2)


async def test_the_last_lease_that_expires_makes_a_dead_letter(acme: Caller) -> None:
    task_id = await acme.enqueue(retry_policy={"max_attempts": 1})
    await acme.claim_one(lease=1)
    task = await acme.task(task_id, wait=8)
    assert (task.state, task.attempt) == (task_pb2.TASK_STATE_FAILED, 1)
    assert task.error.type == "lease_expired"
    assert await acme.claim() == []


async def test_the_reaper_takes_no_more_in_a_step_than_set(store: StoreProcess) -> None:
    async with running_server(store, requeue_inspect_limit=2) as server:
        acme = server.caller()
        await acme.enqueue_many(7)
        await acme.claim(most=7, lease=1)

        async def all_pending() -> bool:
            return (await acme.stats()).pending == 7

        with Admin(store.socket_path) as monitor, Admin(store.socket_path) as admin:
            monitor.call("MONITOR")
            await eventually(all_pending, within=4)
            admin.call("ECHO", "the end")
            steps = []
            while b'"the end"' not in (line := monitor.receive()):
                # Commands that scripts run are marked as such; of the reaper's call the last four
                # arguments are limit and errors.
                if b" lua]" not in line and b"lease_expired" in line:
                    steps.append(line.split(b'" "')[-4])
        assert len(steps) >= 4
        assert set(steps) == {b"2"}


async def test_scheduled_tasks_become_pending_when_due_though_nobody_claims(
    acme: Caller,
) -> None:
    await acme.enqueue_many(3, delay={"nanos": 200_000_000})
    await acme.enqueue(delay={"seconds": 600})
    assert (await acme.stats()).scheduled == 4

    async def promoted() -> bool:
        stats = await acme.stats()
        return (stats.pending, stats.scheduled) == (3, 1)

    await eventually(promoted, within=4)


async def test_no_task_comes_before_its_time(acme: Caller) -> None:
    ids = [await acme.enqueue(delay={"nanos": ms * 1_000_000}) for ms in range(5, 400, 15)]
    while ids:
        for task in await acme.claim(most=100, wait=5):
            due = (await acme.task(task.lease.task_id)).create_time.ToMilliseconds()
            due += task.spec.delay.ToMilliseconds()
            claimed = (await acme.task(task.lease.task_id)).update_time.ToMilliseconds()
            assert claimed >= due
            ids.remove(task.lease.task_id)


async def test_ended_tasks_are_deleted_after_the_retention(store: StoreProcess) -> None:
    async with running_server(store, retention_hours=0.5 / 3_600) as server:
        acme = server.caller()
        await acme.enqueue_many(4)
        first, second, third, _ = await acme.claim(most=4)
        await acme.complete(first, b"result")
        await acme.fail(second, non_retryable=True)
        await acme.abandon(third)

        async def deleted() -> bool:
            stats = await acme.stats()
            return (stats.completed, stats.failed) == (0, 0)

        await eventually(deleted, within=5)
        stats = await acme.stats()
        assert (stats.pending, stats.in_progress, stats.completed_total) == (1, 1, 1)
        call = acme.start("GetTask", pb.GetTaskRequest(task_id=first.lease.task_id))
        assert (await call.code()).name == "NOT_FOUND"


async def test_within_the_retention_ended_tasks_are_kept(acme: Caller) -> None:
    task_id = await acme.enqueue()
    await acme.complete(await acme.claim_one(), b"result")
    assert (await acme.task(task_id, full=True)).result.data == b"result"


async def test_a_broken_queue_holds_no_other_up(acme: Caller, admin: Admin) -> None:
    for command in ("BROKEN", "FINE"):
        await acme.enqueue(command)
        await acme.claim(command, lease=1)
        await acme.enqueue(command, delay={"nanos": 1_000_000})
    for suffix in ("l", "z"):
        admin.call("SET", queue_key(suffix, "BROKEN"), "of another kind")

    async def goes_on() -> bool:
        stats = await acme.stats("FINE")
        return (stats.pending, stats.lease_expired_total) == (2, 1)

    await eventually(goes_on, within=5)
