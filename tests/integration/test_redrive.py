"""RedriveTasks: what failed, was cancelled or expired is claimable again, as if new."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from tests.integration import operating
from tests.integration.looking import queue_key
from tests.integration.operating import seconds
from tests.integration.refusals import item_kind
from tests.integration.streaming import StreamReader, stream_request
from tests.integration.test_expiry import soon
from tests.support.server import eventually

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.server import Caller, Server

ONCE = task_pb2.RetryPolicy(max_attempts=1)
PENDING = task_pb2.TASK_STATE_PENDING


async def dead(acme: Caller, count: int = 1, kind: str = "T", **spec: Any) -> list[str]:
    """Dead letters."""
    ids = await acme.enqueue_many(count, retry_policy=ONCE, **spec)
    for task in await acme.claim(most=count):
        await acme.fail(task, type=kind)
    return ids


async def test_what_failed_was_cancelled_or_expired_can_be_claimed_again(acme: Caller) -> None:
    (failed,) = await dead(acme, labels={"a": "b"})
    cancelled = await acme.enqueue(data=b"payload")
    await operating.cancel(acme, cancelled)
    expired = await acme.enqueue(expire_time=await soon(acme, 0.2))
    assert (await acme.task(expired, wait=8)).state == task_pb2.TASK_STATE_EXPIRED
    done = await operating.redrive(acme, failed, cancelled, expired)
    assert (done.redriven_count, len(done.failures)) == (3, 0)
    for task_id in (failed, cancelled, expired):
        stored = await acme.task(task_id)
        assert (stored.state, stored.attempt) == (PENDING, 0)
        assert not stored.HasField("end_time")
    assert await operating.ids(acme, labels={"a": "b"}) == [failed]
    claimed = {task.lease.task_id: task for task in await acme.claim(most=9)}
    assert claimed.keys() == {failed, cancelled, expired}
    assert {task.attempt for task in claimed.values()} == {1}
    assert claimed[cancelled].spec.payload.data == b"payload"
    for task in claimed.values():
        await acme.complete(task)
    stats = await acme.stats()
    assert (stats.completed, stats.failed, stats.cancelled, stats.expired) == (3, 0, 0, 0)


async def test_a_redriven_task_has_all_its_attempts_and_an_expiry_only_if_it_is_to_come(
    acme: Caller,
) -> None:
    (task_id,) = await dead(acme, expire_time=await soon(acme, 600))
    await operating.redrive(acme, task_id)
    held = await acme.claim_one(lease=1_000)
    assert (held.attempt, held.max_attempts) == (1, 1)
    assert held.lease_duration.ToMilliseconds() <= 600_000
    await acme.fail(held)
    # Spread beyond it, the expiry would come first.
    (gone,) = await dead(acme, expire_time=await soon(acme, 0.3))

    async def passed() -> bool:
        now = (await acme.stats()).read_time.ToMilliseconds()
        return now > (await acme.task(gone)).spec.expire_time.ToMilliseconds()

    await eventually(passed)
    await operating.redrive(acme, gone)
    held = await acme.claim_one(lease=1_000)
    assert held.lease_duration.ToMilliseconds() == 1_000_000


async def test_others_are_refused_one_by_one(acme: Caller, rival: Caller) -> None:
    (failed,) = await dead(acme)
    (theirs,) = await dead(rival)
    completed = await acme.enqueue()
    await acme.complete(await acme.claim_one())
    held = await acme.enqueue()
    await acme.claim_one()
    pending = await acme.enqueue()
    scheduled = await acme.enqueue(delay=seconds(60))
    done = await operating.redrive(
        acme, completed, held, failed, pending, theirs, scheduled, "x" * 18
    )
    assert done.redriven_count == 1
    state = ("FAILED_PRECONDITION", "INVALID_STATE")
    unknown = ("NOT_FOUND", "TASK_NOT_FOUND")
    assert [item_kind(item) for item in done.failures] == [
        *((0, *state), (1, *state), (3, *state), (4, *unknown), (5, *state), (6, *unknown)),
    ]
    assert [item.metadata.get("state") for item in done.failures] == [
        *("COMPLETED", "IN_PROGRESS", "PENDING", None, "SCHEDULED", None),
    ]
    assert await rival.state(theirs) == "FAILED"


async def test_a_filter_takes_those_that_match_page_by_page(acme: Caller) -> None:
    await dead(acme, 120, "Timeout")
    await dead(acme, 20, "Other")
    cancelled = await acme.enqueue()
    await operating.cancel(acme, cancelled)
    token, counts = "", []
    while True:
        done = await operating.redrive(acme, error_type="Timeout", limit=50, page_token=token)
        counts.append(done.redriven_count)
        token = done.next_page_token
        assert done.more == bool(token)
        if not token:
            break
    assert (sum(counts), max(counts)) == (120, 50)
    stats = await acme.stats()
    assert (stats.pending, stats.failed, stats.cancelled) == (120, 20, 1)
    await operating.redrive(acme, states=["CANCELLED"])
    assert (await acme.stats()).failed == 20
    done = await operating.redrive(acme)
    assert (done.redriven_count, (await acme.stats()).pending) == (20, 141)


@pytest.mark.parametrize("by_filter", [False, True])
async def test_a_spread_keeps_them_from_coming_all_at_once(acme: Caller, by_filter: bool) -> None:
    ids = await dead(acme, 100)
    fields: dict[str, Any] = {"limit": 100} if by_filter else {}
    done = await operating.redrive(acme, *(() if by_filter else ids), spread=10_000, **fields)
    assert done.redriven_count == 100
    tasks = await operating.listed(acme, states=["SCHEDULED"])
    assert len({task.task_id for task in tasks}) >= 99
    assert {task.attempt for task in tasks} == {0}


async def test_a_spread_by_filter_uses_the_whole_time_though_few_match(
    acme: Caller, admin: Admin
) -> None:
    await dead(acme, 20)
    await operating.redrive(acme, spread=10_000)
    scores = admin.call("ZRANGE", queue_key("z"), 0, -1, "WITHSCORES")[1::2]
    due_ms = [int(score) for score in scores]
    assert due_ms[-1] - due_ms[0] >= 10_000_000 * 0.8


async def test_of_a_spread_the_first_come_soon_and_the_last_late(acme: Caller) -> None:
    await dead(acme, 40)
    await operating.redrive(acme, spread=4, limit=40)
    early = await acme.claim(most=40, wait=3)
    assert 1 <= len(early) < 40


async def test_a_task_that_gave_its_key_to_another_one_is_told_apart(acme: Caller) -> None:
    keyed: dict[str, Any] = {"idempotency_key": "k", "conflict_policy": "CONFLICT_POLICY_REPLACE"}
    (old,) = await dead(acme, **keyed)
    new = await acme.enqueue(**keyed)
    assert new != old
    done = await operating.redrive(acme, old)
    assert item_kind(done.failures[0]) == (0, "FAILED_PRECONDITION", "INVALID_STATE")
    assert done.failures[0].metadata["state"] == "FAILED"
    assert (await operating.redrive(acme, states=["FAILED"])).redriven_count == 0
    assert await acme.state(old) == "FAILED"


async def test_a_waiting_stream_gets_what_is_redriven(acme: Caller, peer: Server) -> None:
    (task_id,) = await dead(acme)
    async with StreamReader(peer.caller(), stream_request()) as stream:
        await operating.redrive(acme, task_id)
        (task,) = await stream.take(1, within=1.5)
        assert task.lease.task_id == task_id


async def test_an_old_fence_of_a_redriven_task_changes_nothing(acme: Caller) -> None:
    task_id = await acme.enqueue(retry_policy=ONCE)
    old = await acme.claim_one()
    await acme.fail(old)
    await operating.redrive(acme, task_id)
    call = acme.start("Complete", pb.CompleteRequest(lease=old.lease))
    assert (await call.code()).name == "FAILED_PRECONDITION"
    assert await acme.state(task_id) == "PENDING"
