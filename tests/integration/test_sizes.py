"""Tasks with everything at its limit: they can be claimed, pushed, read, listed and watched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from codeq_grpc.core import limits
from tests.integration import operating
from tests.integration.limit_values import SMILE, ms
from tests.integration.streaming import StreamReader, WatchReader, stream_request

if TYPE_CHECKING:
    from tests.support.server import Caller

LABELS = {
    f"{i:03}" + SMILE * (limits.LABEL_KEY_CHARS - 3): SMILE * limits.LABEL_VALUE_CHARS
    for i in range(limits.LABELS)
}
HEADERS = {
    f"{i:03}" + SMILE * (limits.HEADER_KEY_CHARS - 3): SMILE * limits.HEADER_VALUE_CHARS
    for i in range(limits.HEADERS)
}
ERROR = {
    "type": SMILE * limits.ERROR_TYPE_CHARS,
    "message": SMILE * limits.ERROR_MESSAGE_CHARS,
    "detail": SMILE * limits.ERROR_DETAIL_CHARS,
    "retry_delay": ms(0),
}
DATA = bytes(limits.PAYLOAD_BYTES)


async def largest(acme: Caller, key: str = "") -> str:
    """Id of a task with everything at its limit."""
    parents = await acme.enqueue_many(limits.DEPENDENCIES, "PARENT")
    for task in await acme.claim("PARENT", most=limits.DEPENDENCIES):
        await acme.complete(task)
    return await acme.enqueue(
        data=DATA,
        headers=HEADERS,
        labels=LABELS,
        depends_on=parents,
        idempotency_key=key or SMILE * limits.IDEMPOTENCY_KEY_CHARS,
        concurrency_key=SMILE * limits.CONCURRENCY_KEY_CHARS,
        expire_time={"seconds": 253_402_300_799},
        attempt_timeout=ms(limits.ATTEMPT_TIMEOUT_MAX_MS),
        retry_policy={
            "max_attempts": limits.ATTEMPTS_MAX,
            "initial_backoff": ms(0),
            "non_retryable_error_types": [
                f"{i:03}" + SMILE * (limits.ERROR_TYPE_CHARS - 3) for i in range(limits.ERROR_TYPES)
            ],
        },
    )


async def lived(acme: Caller) -> task_pb2.ClaimedTask:
    """Its lease after as many failures as are kept, and the largest progress."""
    worker = SMILE * limits.WORKER_ID_CHARS
    for _ in range(limits.HISTORY_ATTEMPTS):
        await acme.fail(await acme.claim_one(worker=worker), **ERROR)
    held = await acme.claim_one(worker=worker)
    checkpoint = task_pb2.Payload(data=bytes(limits.CHECKPOINT_BYTES))
    message = SMILE * limits.PROGRESS_MESSAGE_CHARS
    await operating.progress(acme, held, fraction=1, message=message, checkpoint=checkpoint)
    return held


async def test_it_can_be_read_listed_and_watched(acme: Caller) -> None:
    await operating.update(acme, retain_payload=True)
    task_id = await largest(acme)
    selector = pb.TaskSelector(filter=operating.matching(labels=LABELS))
    async with WatchReader(acme, selector) as watch:
        held = await lived(acme)
        await acme.complete(held, DATA)
        await watch.sees(task_id, "COMPLETED")
    task = await acme.task(task_id, full=True)
    assert (task.result.data, task.spec.payload.data) == (DATA, DATA)
    assert len(task.error.detail) == limits.ERROR_DETAIL_CHARS
    assert len(task.progress.checkpoint.data) == limits.CHECKPOINT_BYTES
    assert len(task.attempts) == limits.HISTORY_ATTEMPTS
    assert task.ByteSize() > 3 << 20
    for full in (True, False):
        (listed,) = (await operating.page(acme, 10, full=full, labels=LABELS)).tasks
        assert listed == await acme.task(task_id, full=full)


async def test_several_of_them_come_page_by_page(acme: Caller) -> None:
    ids = []
    for key in "abc":
        ids.append(await largest(acme, key))
        await acme.fail(await lived(acme), non_retryable=True)
    found, token = [], ""
    while True:
        response = await operating.page(acme, 10, token, full=True, states=["FAILED"])
        found += [task.task_id for task in response.tasks]
        token = response.next_page_token
        if not token:
            break
    assert sorted(found) == sorted(ids)


@pytest.mark.parametrize("by", ["call", "stream"])
async def test_it_can_be_claimed_with_its_checkpoint(acme: Caller, by: str) -> None:
    task_id = await largest(acme)
    await acme.abandon(await lived(acme))
    if by == "call":
        task = await acme.claim_one()
    else:
        async with StreamReader(acme, stream_request()) as stream:
            (task,) = await stream.take(1)
    assert task.lease.task_id == task_id
    assert len(task.checkpoint.data) == limits.CHECKPOINT_BYTES
    assert task.spec.payload.data == DATA


async def test_a_stream_sends_a_hundred_at_a_time_unless_asked_for_more(acme: Caller) -> None:
    await acme.enqueue_many(300)
    for size, expected in ((0, limits.STREAM_BATCH_DEFAULT), (130, 130)):
        async with StreamReader(
            acme,
            stream_request(
                credit=150, max_batch_size=size, disconnect_policy=pb.DISCONNECT_POLICY_RELEASE
            ),
        ) as stream:
            await stream.take(150)
            assert len(stream.messages[1].batch.tasks) == expected


async def test_a_batch_of_a_thousand_with_keys_labels_and_dependencies(acme: Caller) -> None:
    parent = await acme.enqueue("PARENT")
    more: dict[str, Any] = {"labels": {"a": "b"}, "concurrency_key": "k", "depends_on": [parent]}
    for atomic in (True, False):
        specs = [
            task_pb2.TaskSpec(command="RENDER", idempotency_key=f"{atomic} {i}", **more)
            for i in range(limits.BATCH_TASKS)
        ]
        response = await operating.enqueue_batch(acme, *specs, atomic=atomic)
        assert len({one.task_id for one in response.results}) == limits.BATCH_TASKS
        assert not response.failures
    assert (await acme.stats()).blocked == 2 * limits.BATCH_TASKS
