"""GetQueue, UpdateQueue, PauseQueue, ResumeQueue: what is set, and that it holds everywhere."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from codeq.v1 import codeq_service_pb2 as pb, queue_pb2, task_pb2
from codeq_grpc.core import limits
from tests.integration import operating
from tests.integration.looking import armed, contents
from tests.integration.operating import seconds
from tests.integration.refusals import refused
from tests.integration.streaming import StreamReader, stream_request
from tests.support.server import eventually, running_server

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess

PROMPT = 1.5


async def test_a_queue_that_does_not_exist_has_no_settings(acme: Caller, admin: Admin) -> None:
    await acme.claim("NEVER")
    before = contents(admin)
    for call in (
        operating.settings(acme, "NEVER"),
        operating.pause(acme, "NEVER"),
        operating.resume(acme, "NEVER"),
        operating.purge(acme, "NEVER"),
    ):
        refusal = await refused(call)
        assert refusal.kind == ("NOT_FOUND", "QUEUE_NOT_FOUND")
        assert refusal.metadata == {"command": "NEVER"}
    assert contents(admin) == before


async def test_a_new_queue_has_the_defaults_of_the_server(store: StoreProcess) -> None:
    async with running_server(store, default_lease_seconds=77, retention_hours=2) as server:
        acme = server.caller()
        await acme.enqueue()
        queue = await operating.settings(acme)
        assert (queue.command, queue.default_priority) == ("RENDER", limits.PRIORITY_DEFAULT)
        assert (queue.lease_duration.seconds, queue.retention.seconds) == (77, 7_200)
        policy = queue.retry_policy
        assert (policy.max_attempts, policy.backoff_multiplier, policy.jitter) == (5, 2, 0.5)
        assert (policy.initial_backoff.seconds, policy.max_backoff.seconds) == (1, 300)
        assert not queue.paused
        assert queue.max_backlog == queue.max_in_progress == queue.max_claims_per_second == 0


async def test_what_was_set_can_be_told_from_defaults(acme: Caller) -> None:
    await acme.enqueue()
    assert await operating.settings(acme, only_set=True) == queue_pb2.Queue(command="RENDER")
    await operating.update(acme, retry_policy={"max_attempts": 5}, max_backlog=3)
    queue = queue_pb2.Queue(command="RENDER", max_backlog=3, retry_policy={"max_attempts": 5})
    assert await operating.settings(acme, only_set=True) == queue
    await operating.update(acme, mask=["max_backlog", "retry_policy"])
    assert await operating.settings(acme, only_set=True) == queue_pb2.Queue(command="RENDER")


async def test_an_update_makes_a_queue_and_changes_what_it_names(
    acme: Caller, peer: Server
) -> None:
    made = await operating.update(acme, "NEW", max_in_progress=7, retain_payload=True)
    assert (made.max_in_progress, made.retain_payload) == (7, True)
    assert (await acme.stats("NEW")).pending == 0
    changed = await operating.update(
        peer.caller(), "NEW", ["paused", "retain_payload"], paused=True, max_in_progress=9
    )
    assert (changed.max_in_progress, changed.retain_payload, changed.paused) == (7, False, True)
    assert await operating.settings(acme, "NEW") == changed


async def test_a_named_setting_that_is_not_set_goes_back_to_the_default(acme: Caller) -> None:
    await operating.update(
        acme,
        default_priority=0,
        lease_duration=seconds(9),
        max_backlog=3,
        retry_policy={"max_attempts": 2, "jitter": 0},
    )
    changed = await operating.update(
        acme, mask=["default_priority", "lease_duration", "retry_policy.jitter"]
    )
    assert (changed.default_priority, changed.lease_duration.seconds) == (5, 300)
    assert (changed.retry_policy.max_attempts, changed.retry_policy.jitter) == (2, 0.5)
    assert changed.max_backlog == 3
    changed = await operating.update(acme, mask=["retry_policy", "max_backlog"])
    assert (changed.retry_policy.max_attempts, changed.max_backlog) == (5, 0)


async def test_an_unknown_path_changes_nothing(acme: Caller, admin: Admin) -> None:
    await operating.update(acme, max_backlog=3)
    before = contents(admin)
    for mask in (["max_backlog", "max_in_progres"], ["command"], ["retry_policy.max"], [""]):
        refusal = await refused(operating.update(acme, mask=mask, max_backlog=9))
        assert refusal.fields == (f"update_mask.paths[{len(mask) - 1}]",)
    assert contents(admin) == before


async def test_concurrent_updates_of_different_settings_all_land(
    acme: Caller, peer: Server
) -> None:
    settings = {
        "default_priority": 3,
        "max_claims_per_second": 2.5,
        "max_in_progress": 4,
        "max_in_progress_per_key": 5,
        "max_backlog": 6,
        "retain_payload": True,
        "pause_reason": "why",
        "lease_duration": seconds(7),
        "retention": seconds(8),
    }
    calls = [
        asyncio.create_task(operating.update(caller, mask=[name], **{name: value}))
        for caller, (name, value) in zip(
            [acme, peer.caller()] * len(settings), settings.items(), strict=False
        )
    ]
    for call in calls:
        await call
    queue = await operating.settings(acme)
    assert {name: getattr(queue, name) for name in settings} == settings


async def test_many_concurrent_updates_all_land_or_say_that_they_did_not(acme: Caller) -> None:
    names = ["paused", "retain_payload", "max_backlog", "max_in_progress"]
    given = {"paused": True, "retain_payload": True, "max_backlog": 1, "max_in_progress": 1}
    calls = [
        asyncio.create_task(operating.update(acme, mask=[names[number % 4]], **given))
        for number in range(60)
    ]
    await asyncio.wait(calls)
    for call in calls:
        if call.exception():
            assert (await refused(call)).kind == ("UNAVAILABLE", "STORE_UNAVAILABLE")
    queue = await operating.settings(acme)
    assert {name: getattr(queue, name) for name in names} == given


async def test_the_defaults_of_a_queue_hold_for_tasks_that_do_not_say(
    acme: Caller, peer: Server
) -> None:
    await peer.caller().enqueue()  # both servers know the queue
    await acme.claim_one()
    await operating.update(
        acme,
        default_priority=8,
        lease_duration=seconds(44),
        retry_policy={"max_attempts": 3, "initial_backoff": seconds(0)},
    )
    other = peer.caller()
    plain = await other.enqueue()
    urgent = await other.enqueue(priority=9)
    own = await other.enqueue(
        priority=7, lease_duration=seconds(55), retry_policy={"max_attempts": 1}
    )
    claimed = await other.claim(most=3)
    assert [task.lease.task_id for task in claimed] == [urgent, plain, own]
    assert [task.max_attempts for task in claimed] == [3, 3, 1]
    assert [task.lease_duration.seconds for task in claimed] == [44, 44, 55]
    assert (await other.fail(claimed[1])).state == task_pb2.TASK_STATE_PENDING


async def test_a_retained_payload_outlives_its_task(acme: Caller, peer: Server) -> None:
    await operating.update(acme, retain_payload=True)
    kept = await acme.enqueue(data=b"payload", headers={"a": "b"})
    await acme.complete(await acme.claim_one())
    await operating.update(peer.caller(), mask=["retain_payload"])
    dropped = await acme.enqueue(data=b"payload", headers={"a": "b"})
    await acme.complete(await acme.claim_one())
    found = [(await acme.task(one, full=True)).spec for one in (kept, dropped)]
    assert [spec.payload.data for spec in found] == [b"payload", b""]
    assert {spec.headers["a"] for spec in found} == {"b"}


async def test_the_retention_of_a_queue_goes_before_that_of_the_server(
    store: StoreProcess,
) -> None:
    async with running_server(store, retention_hours=0.5 / 3_600) as server:
        acme = server.caller()
        await operating.update(acme, "KEEPS", retention=seconds(600))
        await operating.update(acme, "SHORT", retention=seconds(1))
        for command in ("KEEPS", "SHORT", "PLAIN"):
            await acme.enqueue(command)
            await acme.complete(await acme.claim_one(command))

        async def deleted() -> bool:
            kept = [(await acme.stats(one)).completed for one in ("KEEPS", "SHORT", "PLAIN")]
            return kept == [1, 0, 0]

        await eventually(deleted)


async def test_a_paused_queue_takes_tasks_and_gives_none(acme: Caller, peer: Server) -> None:
    other = peer.caller()
    await acme.enqueue("OTHER")
    await acme.enqueue_many(2)
    (running,) = await other.claim()
    await operating.pause(acme, reason="deploy")
    queue = await operating.settings(other)
    assert (queue.paused, queue.pause_reason) == (True, "deploy")
    assert (await other.stats()).paused
    assert await other.claim() == []
    assert len(await other.claim("RENDER", "OTHER")) == 1
    # Who works goes on; what comes back waits too.
    assert await other.heartbeat(running) == []
    await other.abandon(running)
    await other.enqueue()
    assert await acme.claim(most=9) == []
    assert (await acme.stats()).pending == 3


async def test_waiting_workers_wake_when_a_queue_is_resumed(
    acme: Caller, peer: Server, admin: Admin
) -> None:
    await operating.update(acme, paused=True)
    await acme.enqueue_many(2)
    async with (
        StreamReader(acme, stream_request(credit=1)) as stream,
        operating.meanwhile(peer.caller().claim(wait=20, timeout=30)) as waiting,
    ):
        await armed(admin, servers=2)
        assert stream.tasks == []
        await operating.resume(peer.caller())
        async with asyncio.timeout(PROMPT):
            assert len(await waiting) == 1
        await stream.take(1, within=PROMPT)
    queue = await operating.settings(acme)
    assert (queue.paused, queue.pause_reason) == (False, "")


async def test_a_queue_paused_before_its_first_task_is_paused(acme: Caller) -> None:
    await operating.update(acme, "NEW", paused=True, pause_reason="not yet")
    await acme.enqueue("NEW")
    assert await acme.claim("NEW") == []
    await operating.resume(acme, "NEW")
    assert len(await acme.claim("NEW")) == 1


async def test_pausing_and_resuming_twice_is_fine(acme: Caller) -> None:
    await acme.enqueue()
    for _ in range(2):
        await operating.pause(acme, reason="a")
    await operating.pause(acme, reason="b")
    assert (await operating.settings(acme)).pause_reason == "b"
    for _ in range(2):
        await operating.resume(acme)
    assert len(await acme.claim()) == 1


async def test_settings_survive_servers(store: StoreProcess) -> None:
    async with running_server(store) as server:
        made = await operating.update(server.caller(), max_backlog=5, paused=True)
    async with running_server(store) as server:
        assert await operating.settings(server.caller()) == made
        await server.caller().enqueue()
        assert await server.caller().claim() == []


@pytest.mark.parametrize("paused", [True, False])
async def test_tasks_that_wait_for_a_paused_queue_expire_and_can_be_cancelled(
    acme: Caller, paused: bool
) -> None:
    await operating.update(acme, paused=paused)
    cancelled = await acme.enqueue()
    at = (await acme.stats()).read_time
    at.FromMilliseconds(at.ToMilliseconds() + 200)
    expired = await acme.enqueue(expire_time=at)
    done: pb.CancelTasksResponse = await operating.cancel(acme, cancelled)
    assert done.cancelled_count == 1
    assert (await acme.task(expired, wait=8)).state == task_pb2.TASK_STATE_EXPIRED
