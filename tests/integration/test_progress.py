"""Progress and checkpoints: told by heartbeats, kept, and handed to the next attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from codeq_grpc.core import limits
from tests.integration import operating
from tests.integration.operating import progress, seconds
from tests.integration.streaming import StreamReader, stream_request

if TYPE_CHECKING:
    from tests.support.server import Caller, Server

AT_ONCE = task_pb2.RetryPolicy(initial_backoff=seconds(0))


async def test_the_latest_progress_is_kept_until_told_anew(acme: Caller, peer: Server) -> None:
    task_id = await acme.enqueue()
    task = await acme.claim_one()
    assert not (await acme.task(task_id)).HasField("progress")
    await progress(acme, task, fraction=0.25, message="größer")
    await acme.heartbeat(task)
    told = (await peer.caller().task(task_id)).progress
    assert (told.fraction, told.message) == (0.25, "größer")
    await progress(acme, task, message="from the start")
    told = (await acme.task(task_id)).progress
    assert (told.fraction, told.message) == (0.0, "from the start")
    await acme.complete(task)
    assert (await acme.task(task_id)).progress == told


async def test_progress_of_nothing_is_told(acme: Caller) -> None:
    task_id = await acme.enqueue()
    task = await acme.claim_one()
    await progress(acme, task, fraction=1)
    await progress(acme, task)
    stored = await acme.task(task_id)
    assert stored.progress == task_pb2.Progress()
    assert stored.HasField("progress")


async def test_a_checkpoint_stays_until_another_is_told(acme: Caller) -> None:
    task_id = await acme.enqueue()
    task = await acme.claim_one()
    checkpoint = task_pb2.Payload(data=b"half", content_type="a/b")
    await progress(acme, task, fraction=0.5, checkpoint=checkpoint)
    await progress(acme, task, fraction=0.6)
    full, basic = await acme.task(task_id, full=True), await acme.task(task_id)
    assert (full.progress.fraction, full.progress.checkpoint) == (0.6, checkpoint)
    assert not basic.progress.HasField("checkpoint")
    await progress(acme, task, checkpoint=task_pb2.Payload(data=b"more"))
    assert (await acme.task(task_id, full=True)).progress.checkpoint.data == b"more"


async def test_a_checkpoint_is_handed_to_every_later_attempt(acme: Caller) -> None:
    await acme.enqueue(retry_policy=AT_ONCE)
    task = await acme.claim_one()
    assert not task.HasField("checkpoint")
    checkpoint = task_pb2.Payload(data=b"half", content_type="a/b")
    await progress(acme, task, fraction=0.5, checkpoint=checkpoint)
    await acme.fail(task)
    task = await acme.claim_one()
    assert (task.attempt, task.checkpoint) == (2, checkpoint)
    await acme.abandon(task)
    async with StreamReader(acme, stream_request()) as stream:
        (task,) = await stream.take(1)
        assert (task.attempt, task.checkpoint) == (2, checkpoint)
        await acme.fail(task, non_retryable=True)
    await operating.redrive(acme, task.lease.task_id)
    again = await acme.claim_one()
    assert (again.attempt, again.checkpoint) == (1, checkpoint)


async def test_a_checkpoint_survives_an_expired_lease(acme: Caller) -> None:
    await acme.enqueue()
    task = await acme.claim_one(lease=1)
    await progress(acme, task, checkpoint=task_pb2.Payload(data=b"half"))
    (again,) = await acme.claim(wait=8)
    assert (again.attempt, again.checkpoint.data) == (2, b"half")


async def test_a_lost_lease_tells_no_progress(acme: Caller) -> None:
    task_id = await acme.enqueue(retry_policy=AT_ONCE)
    old = await acme.claim_one()
    await acme.fail(old)
    current = await acme.claim_one()
    before = await acme.task(task_id, full=True)
    (directive,) = await progress(
        acme, old, fraction=0.9, checkpoint=task_pb2.Payload(data=b"stale")
    )
    assert directive.kind == pb.DIRECTIVE_KIND_LEASE_LOST
    assert await acme.task(task_id, full=True) == before
    await acme.complete(current)


async def test_the_largest_checkpoints_come_with_a_claim_in_as_many_replies_as_it_takes(
    acme: Caller,
) -> None:
    """Fifteen of them and their payloads would not fit into one message."""
    await acme.enqueue_many(15, retry_policy=AT_ONCE)
    checkpoint = task_pb2.Payload(data=bytes(limits.CHECKPOINT_BYTES))
    for task in await acme.claim(most=15):
        await progress(acme, task, checkpoint=checkpoint)
        await acme.fail(task)
    found: list[task_pb2.ClaimedTask] = []
    while claimed := await acme.claim(most=15):
        assert len(claimed) < 15
        found += claimed
    assert len({task.lease.task_id for task in found}) == 15
    assert {len(task.checkpoint.data) for task in found} == {limits.CHECKPOINT_BYTES}
