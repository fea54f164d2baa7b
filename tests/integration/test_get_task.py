"""GetTask: what each view shows, and waiting for the end."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from tests.integration import operating
from tests.integration.looking import waited_for
from tests.integration.refusals import refused

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.server import Caller, Server


async def test_the_basic_view_has_nothing_large(acme: Caller) -> None:
    await operating.update(acme, retain_payload=True)
    task_id = await acme.enqueue(data=b"payload", headers={"a": "b"}, priority=3)
    held = await acme.claim_one()
    await operating.progress(acme, held, fraction=0.5, checkpoint={"data": b"half"})
    await acme.complete(held, b"result")
    basic, full = await acme.task(task_id), await acme.task(task_id, full=True)
    unspecified = await acme.start("GetTask", pb.GetTaskRequest(task_id=task_id))
    assert unspecified.task == basic
    assert (full.spec.payload.data, full.result.data) == (b"payload", b"result")
    assert (full.progress.checkpoint.data, len(full.attempts)) == (b"half", 1)
    assert not basic.spec.HasField("payload")
    assert not basic.HasField("result")
    assert (dict(basic.spec.headers), basic.spec.priority) == ({"a": "b"}, 3)
    full.ClearField("result")
    full.ClearField("attempts")
    full.spec.ClearField("payload")
    full.progress.ClearField("checkpoint")
    assert basic == full


async def test_the_payload_is_dropped_when_a_task_completes_and_only_then(acme: Caller) -> None:
    ids = await acme.enqueue_many(4, headers={"a": "b"})
    completed, failed, *_ = await acme.claim(most=2)
    await acme.complete(completed, b"result")
    await acme.fail(failed, non_retryable=True)
    await operating.cancel(acme, ids[2])
    specs = [(await acme.task(task_id, full=True)).spec for task_id in ids]
    assert [spec.payload.data for spec in specs] == [b"", b"1", b"2", b"3"]
    assert {spec.headers["a"] for spec in specs} == {"b"}


async def test_a_task_shows_the_times_of_its_life(acme: Caller) -> None:
    task_id = await acme.enqueue()
    pending = await acme.task(task_id)
    assert pending.create_time == pending.update_time
    assert pending.worker_id == ""
    claimed = await acme.claim_one(worker="me")
    leased = await acme.task(task_id)
    assert leased.lease_expire_time == claimed.lease_expire_time
    assert leased.create_time == pending.create_time == claimed.create_time
    assert (leased.attempt, leased.worker_id) == (1, "me")
    await acme.complete(claimed)
    done = await acme.task(task_id)
    assert not done.HasField("lease_expire_time")
    assert done.end_time.ToMilliseconds() >= leased.update_time.ToMilliseconds()


async def test_waiting_for_a_task_that_has_ended_answers_at_once(acme: Caller) -> None:
    task_id = await acme.enqueue()
    await acme.complete(await acme.claim_one())
    began = time.monotonic()
    assert (await acme.task(task_id, wait=30)).state == task_pb2.TASK_STATE_COMPLETED
    assert time.monotonic() - began < 1.5


@pytest.mark.parametrize("end", ["complete", "fail", "expire"])
async def test_waiting_ends_when_the_task_ends_on_another_server(
    acme: Caller, peer: Server, admin: Admin, end: str
) -> None:
    task_id = await acme.enqueue(retry_policy={"max_attempts": 1})
    claimed = await acme.claim_one(lease=1 if end == "expire" else None)
    waiting = [asyncio.create_task(one.task(task_id, wait=30)) for one in (acme, acme)]
    await waited_for(admin)
    began = time.monotonic()
    other = peer.caller()
    if end == "complete":
        await other.complete(claimed)
    elif end == "fail":
        await other.fail(claimed, type="T")
    for task in [await call for call in waiting]:
        assert task.state in {task_pb2.TASK_STATE_COMPLETED, task_pb2.TASK_STATE_FAILED}
        assert task.HasField("error") == (end != "complete")
    assert time.monotonic() - began < 1.5 + (2 if end == "expire" else 0)


async def test_a_failure_to_be_retried_does_not_end_the_wait(acme: Caller, admin: Admin) -> None:
    task_id = await acme.enqueue(retry_policy={"initial_backoff": {}})
    claimed = await acme.claim_one()
    waiting = asyncio.create_task(acme.task(task_id, wait=30))
    await waited_for(admin)
    await acme.fail(claimed)
    await acme.complete(await acme.claim_one())
    task = await waiting
    assert (task.state, task.attempt) == (task_pb2.TASK_STATE_COMPLETED, 2)


async def test_waiting_gives_the_task_as_it_is_when_time_is_up(acme: Caller) -> None:
    task_id = await acme.enqueue()
    began = time.monotonic()
    assert (await acme.task(task_id, wait=0.3)).state == task_pb2.TASK_STATE_PENDING
    assert 0.3 <= time.monotonic() - began < 1.8
    request = pb.GetTaskRequest(task_id=task_id)
    request.wait.seconds = 60
    response = await acme.start("GetTask", request, timeout=0.6)
    assert response.task.state == task_pb2.TASK_STATE_PENDING


async def test_waiting_for_a_task_that_is_not_there_fails_at_once(acme: Caller) -> None:
    task_id = await acme.enqueue()
    for unknown in ("x" * 18, "", task_id[:-1], task_id + "=", task_id[:8] + "AAAAAAAAAA"):
        request = pb.GetTaskRequest(task_id=unknown)
        request.wait.seconds = 60
        refusal = await refused(acme.start("GetTask", request, timeout=5))
        assert refusal.kind == (
            ("NOT_FOUND", "TASK_NOT_FOUND") if unknown else ("INVALID_ARGUMENT", "INVALID_FIELD")
        )
