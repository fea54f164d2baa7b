"""codeQ's own schedules: there, protected, visible to their tenant, and done by servers."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest

from codeq.v1 import (
    codeq_service_pb2 as pb,
    schedule_service_pb2 as sb,
    schedule_service_pb2_grpc as services,
)
from codeq.v1.task_pb2 import TASK_STATE_COMPLETED, TASK_STATE_FAILED, TASK_VIEW_FULL
from codeq_grpc.wire import chores
from codeq_grpc.wire.chores import CHECK, COMMANDS, HEALTH, PRUNE_TASKS
from tests.integration import scheduling
from tests.support.server import eventually, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from codeq.v1.task_pb2 import Task
    from tests.support.admin import Admin
    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess

TENANT: Final = "acme"
"""In whose name they are here."""


@pytest.fixture
async def server(store: StoreProcess) -> AsyncIterator[Server]:
    async with running_server(store, system_tenant=TENANT) as server:
        yield server


@pytest.fixture
async def caller(server: Server) -> Caller:
    caller = server.caller(TENANT, "admin")
    await eventually(lambda: _all_there(caller))
    return caller


async def _call(caller: Caller, rpc: str, request: Any) -> Any:
    stub: Any = services.ScheduleServiceStub(caller.channel)
    return await getattr(stub, rpc)(request, timeout=10, metadata=caller.metadata)


async def _listed(caller: Caller) -> list[sb.Schedule]:
    found = await _call(caller, "ListSchedules", sb.ListSchedulesRequest())
    return list(found.schedules)


async def _all_there(caller: Caller) -> bool:
    return {one.schedule_id for one in await _listed(caller)} == set(COMMANDS)


async def _done(caller: Caller, name: str) -> Task:
    """The task of a firing that was asked for, once it has ended."""
    request = sb.TriggerScheduleRequest(schedule_id=name)
    fired = (await _call(caller, "TriggerSchedule", request)).firing
    get = pb.GetTaskRequest(task_id=fired.task_id, view=TASK_VIEW_FULL)
    get.wait.FromSeconds(20)
    task: Task = (await caller.start("GetTask", get, timeout=30)).task
    return task


async def test_they_are_there_and_of_the_system(caller: Caller) -> None:
    for one in await _listed(caller):
        assert one.system
        assert one.description
        assert one.task.command == one.schedule_id
        assert len(one.status.next_times) == 5


async def test_another_tenant_sees_none(server: Server, caller: Caller) -> None:
    assert await _listed(server.caller("rival", "admin")) == []


@pytest.mark.parametrize("rpc", ["DeleteSchedule", "UpdateSchedule"])
async def test_they_can_be_neither_deleted_nor_changed(caller: Caller, rpc: str) -> None:
    if rpc == "DeleteSchedule":
        request: Any = sb.DeleteScheduleRequest(schedule_id=CHECK)
    else:
        request = sb.UpdateScheduleRequest(schedule=sb.Schedule(schedule_id=CHECK, max_firings=7))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _call(caller, rpc, request)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert await _all_there(caller)


async def test_one_that_was_paused_stays_so_when_a_server_starts(
    store: StoreProcess, caller: Caller
) -> None:
    operation = sb.SCHEDULE_OPERATION_PAUSE
    request = sb.BatchSchedulesRequest(operation=operation, schedule_ids=[HEALTH], reason="calm")
    assert not (await _call(caller, "BatchSchedules", request)).failures
    async with running_server(store, system_tenant=TENANT) as other:
        same = other.caller(TENANT, "admin")
        await eventually(lambda: _all_there(same))
        paused = {one.schedule_id: one.paused for one in await _listed(same)}
    assert paused == {name: name == HEALTH for name in COMMANDS}


async def test_those_of_a_later_version_stand(
    store: StoreProcess, server: Server, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def told() -> tuple[str, int]:
        (health,) = [one for one in await _listed(caller) if one.schedule_id == HEALTH]
        return health.description, health.version

    with monkeypatch.context() as later:
        chore = chores._CHORES[HEALTH]
        later.setitem(chores._CHORES, HEALTH, chore._replace(description="Later."))
        later.setattr(chores, "REVISION", chores.REVISION + 1)
        async with running_server(store, system_tenant=TENANT) as newer:
            await newer.app._housekeeping.ensure()
    assert await told() == ("Later.", 2)
    await server.app._housekeeping.ensure()
    assert await told() == ("Later.", 2)


async def test_nobody_makes_one_before_a_server_does(store: StoreProcess) -> None:
    async with running_server(store) as before:
        await scheduling.create(before.caller(TENANT), HEALTH, labels={"revision": "99"})
    async with running_server(store, system_tenant=TENANT) as server:
        await server.app._housekeeping.ensure()
        found = await scheduling.get(server.caller(TENANT), HEALTH)
        assert (found.system, found.task.command) == (True, HEALTH)


def test_a_change_of_any_is_a_new_revision() -> None:
    """Add the next one below; servers of the version before are up while this one starts."""
    known = {1: "bd0542bc48b72742"}
    all_of_them = b"".join(
        one.SerializeToString(deterministic=True) for one in chores.system_schedules()
    )
    digest = hashlib.blake2b(all_of_them, digest_size=8).hexdigest()
    assert known == {**known, chores.REVISION: digest}


@pytest.mark.parametrize("name", COMMANDS)
async def test_each_is_done_by_a_server(caller: Caller, name: str) -> None:
    task = await _done(caller, name)
    assert task.state == TASK_STATE_COMPLETED
    assert isinstance(json.loads(task.result.data), dict)
    assert task.worker_id.startswith("codeq ")


async def test_ended_tasks_that_are_too_old_are_deleted(store: StoreProcess) -> None:
    async with running_server(store, system_tenant=TENANT, retention_hours=1e-9) as server:
        caller = server.caller(TENANT, "admin")
        await eventually(lambda: _all_there(caller))
        for task_id in await caller.enqueue_many(3):
            (leased,) = await caller.claim()
            assert leased.lease.task_id == task_id
            await caller.complete(leased)
        task = await _done(caller, PRUNE_TASKS)
    # Whoever came first: the pruner of the server goes its rounds, too.
    assert 0 <= json.loads(task.result.data)["removed"] <= 3


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        ("codeq:{acme/RENDER/0}:r5", "unlisted acme/RENDER r5"),
        ("codeq:{acme}:schedules:t", "unindexed acme/ t"),
    ],
)
async def test_a_check_that_finds_errors_fails(
    caller: Caller, admin: Admin, lost: str, told: str
) -> None:
    assert await caller.enqueue()
    assert admin.call("DEL", lost) == 1
    task = await _done(caller, CHECK)
    assert task.state == TASK_STATE_FAILED
    assert task.error.type == "chore"
    assert told in task.error.message
    assert task.attempt == 1
