"""Concurrency keys with real workers: order within a key, and what a killed worker leaves."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import grpc
import pytest

from codeq.v1 import (
    admin_service_pb2 as admin_pb,
    admin_service_pb2_grpc,
    codeq_service_pb2 as pb,
    codeq_service_pb2_grpc,
)
from codeq.v1.queue_pb2 import Queue
from codeq.v1.task_pb2 import TASK_STATE_IN_PROGRESS, TaskSpec
from codeq_grpc.client import Client
from codeq_grpc.worker import TaskContext, Worker
from tests.acceptance.programs import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codeq.v1.task_pb2 import Task
    from tests.acceptance.api import Api
    from tests.acceptance.conftest import Working
    from tests.acceptance.servers import Dev

_KEYS, _TASKS, _BATCH = 1_000, 10_000, 1_000


@pytest.fixture
def channel(server: Dev) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture
def one_per_key(channel: grpc.Channel, command: str, api: Api) -> str:
    """A queue in which one task of a key runs at a time."""
    stub = admin_service_pb2_grpc.AdminServiceStub(channel)
    queue = Queue(command=command, max_in_progress_per_key=1)
    stub.UpdateQueue(admin_pb.UpdateQueueRequest(queue=queue), metadata=api.metadata)
    return command


def _key(number: int) -> str:
    return f"key-{number % _KEYS}"


async def test_ten_thousand_tasks_under_a_thousand_keys_run_one_at_a_time_in_key_order(
    server: Dev, one_per_key: str
) -> None:
    begun: dict[str, list[int]] = {}
    running: set[str] = set()
    overlaps: list[str] = []
    async with Client(server.address, token=server.token) as client:
        worker: Worker

        async def handle(context: TaskContext) -> None:
            number = int(context.payload)
            key = _key(number)
            if key in running:
                overlaps.append(key)
            running.add(key)
            begun.setdefault(key, []).append(number)
            if sum(map(len, begun.values())) == _TASKS:
                worker.drain()
            await asyncio.sleep(0)
            running.discard(key)

        for at in range(0, _TASKS, _BATCH):
            specs = [
                client.spec(one_per_key, str(n).encode(), concurrency_key=_key(n))
                for n in range(at, at + _BATCH)
            ]
            [_ async for _ in client.enqueue_many(specs)]
        worker = Worker(client, {one_per_key: handle}, concurrency=2 * _KEYS)
        await worker.run()
        (stats,) = (await client.queues([one_per_key])).queues
    assert (stats.completed, stats.pending, stats.in_progress) == (_TASKS, 0, 0)
    assert overlaps == []
    assert begun == {_key(k): list(range(k, _TASKS, _KEYS)) for k in range(_KEYS)}


def test_killed_worker_leaves_no_key_taken(
    channel: grpc.Channel, one_per_key: str, working: Working, api: Api
) -> None:
    """The lease of its task runs out, and the next of the key is claimable."""
    stub = codeq_service_pb2_grpc.CodeQServiceStub(channel)

    def enqueue() -> str:
        spec = TaskSpec(command=one_per_key, concurrency_key="k")
        spec.retry_policy.max_attempts = 1
        spec.lease_duration.FromSeconds(2)
        response = stub.Enqueue(pb.EnqueueRequest(task=spec), metadata=api.metadata)
        return str(response.task_id)

    def task(task_id: str) -> Task:
        return api.task(task_id)

    first = enqueue()
    with working(one_per_key, "--exec", "sleep 600") as worker:
        wait_until(lambda: task(first).state == TASK_STATE_IN_PROGRESS, "the first lease")
        second = enqueue()
        assert api.claim(one_per_key, wait=0) == []
        os.kill(worker.pid, signal.SIGKILL)
        assert api.claim(one_per_key, wait=30) == [second]
    (attempt,) = task(first).attempts
    assert attempt.error.type == "lease_expired"
    assert attempt.end_time.ToMilliseconds() <= task(second).attempts[0].start_time.ToMilliseconds()
