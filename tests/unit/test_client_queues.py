"""Settings of queues: what is named changes, what is not stays."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from codeq.v1 import admin_service_pb2 as pb
from codeq_grpc.client import Queue, QueueSettings, RetryPolicy
from codeq_grpc.client.queues import update_request
from codeq_grpc.core.errors import QueueNotFound
from tests.unit.scripted import Answering, serving

if TYPE_CHECKING:
    from typing import Any


def test_every_setting_is_a_field_of_a_queue() -> None:
    theirs = set(Queue.DESCRIPTOR.fields_by_name) - {"command", "paused", "pause_reason"}
    assert set(QueueSettings.__annotations__) == theirs


def test_what_is_given_is_set_and_named() -> None:
    request = update_request("c", lease_duration=60, retention=timedelta(days=1), max_backlog=7)
    assert list(request.update_mask.paths) == ["lease_duration", "retention", "max_backlog"]
    queue = request.queue
    assert (queue.command, queue.max_backlog) == ("c", 7)
    assert (queue.lease_duration.ToSeconds(), queue.retention.ToSeconds()) == (60, 86_400)


def test_none_goes_back_to_the_default_and_zero_is_a_value() -> None:
    request = update_request("c", default_priority=0, lease_duration=None, retain_payload=False)
    assert request.queue == Queue(command="c", default_priority=0)
    assert list(request.update_mask.paths) == [
        "default_priority",
        "lease_duration",
        "retain_payload",
    ]


def test_of_a_retry_policy_what_is_set_changes() -> None:
    policy = RetryPolicy(max_attempts=3, jitter=0.0)
    request = update_request("c", retry_policy=policy)
    assert request.queue.retry_policy == policy
    assert list(request.update_mask.paths) == ["retry_policy.max_attempts", "retry_policy.jitter"]


def test_no_retry_policy_goes_back_to_the_default_in_all_of_it() -> None:
    request = update_request("c", retry_policy=None)
    assert not request.queue.HasField("retry_policy")
    assert set(request.update_mask.paths) == {
        f"retry_policy.{name}" for name in RetryPolicy.DESCRIPTOR.fields_by_name
    }


@pytest.mark.parametrize("settings", [{}, {"retry_policy": RetryPolicy()}])
def test_nothing_to_change_is_a_mistake(settings: Any) -> None:
    with pytest.raises(ValueError, match="nothing to change"):
        update_request("c", **settings)


async def test_the_service_of_operators_is_called() -> None:
    queue = Queue(command="c", max_in_progress=5)
    answering = Answering(
        GetQueue=[pb.GetQueueResponse(queue=queue), QueueNotFound()],
        UpdateQueue=[pb.UpdateQueueResponse(queue=queue)],
        PauseQueue=[pb.PauseQueueResponse()],
        ResumeQueue=[pb.ResumeQueueResponse()],
        PurgeQueue=[pb.PurgeQueueResponse(purged_count=12)],
        ListWorkers=[pb.ListWorkersResponse(workers=[pb.Worker(worker_id="w")])],
    )
    async with serving(answering) as client:
        assert await client.get_queue("c") == queue
        with pytest.raises(QueueNotFound):
            await client.get_queue("d")
        assert await client.update_queue("c", max_in_progress=5) == queue
        await client.pause_queue("c", "too many errors")
        await client.resume_queue("c")
        assert await client.purge_queue("c") == 12
        assert [worker.worker_id for worker in await client.workers("c")] == ["w"]
    sent = {method: requests[0] for method, requests in answering.requests.items()}
    assert sent["PauseQueue"] == pb.PauseQueueRequest(command="c", reason="too many errors")
    assert {sent[method].command for method in ("ResumeQueue", "PurgeQueue", "ListWorkers")} == {
        "c"
    }
