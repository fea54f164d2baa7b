"""Deploys do not show: servers are restarted one after the other under load (G14)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from typing import TYPE_CHECKING, TypeVar

import grpc
import pytest

from codeq.v1.task_pb2 import TASK_STATE_COMPLETED
from codeq_grpc.client import Client, code_of
from codeq_grpc.core.errors import CodeQError
from codeq_grpc.worker import TaskContext, Worker
from tests.acceptance.servers import Serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from tests.support.stores import StoreProcess

pytestmark = pytest.mark.alone

T = TypeVar("T")

_ROUNDS = 5
_PRODUCERS = 4
_PACE = 0.01
_LEAST = 10
"""Tasks handled during each restart, or it has shown nothing."""
_PUSHED, _PULLED = "pushed", "pulled"


class Load:
    """Producers, workers on streams, and one that claims by waiting calls.

    Every caller repeats what is UNAVAILABLE and nothing else.
    """

    def __init__(self, connect: Callable[[], Client]) -> None:
        self.acked: dict[str, str] = {}
        self.handled: Counter[str] = Counter()
        self.repeated: Counter[str] = Counter()
        self._connect = connect
        self._numbers = itertools.count()
        self._stopping = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """At the end the producers stop and the queues run empty."""
        async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            client = await stack.enter_async_context(self._connect())
            producers = [group.create_task(self._produce()) for _ in range(_PRODUCERS)]
            workers = [
                Worker(await stack.enter_async_context(self._connect()), {_PUSHED: self._handle})
                for _ in range(2)
            ]
            working = [group.create_task(worker.run()) for worker in workers]
            pulling = group.create_task(self._pull())
            yield
            self._stopping.set()
            await asyncio.wait(producers)
            await self._until_empty(client)
            for worker in workers:
                worker.drain()
            await asyncio.wait([*working, pulling])

    async def _repeat(self, call: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await call()
            except CodeQError as error:
                if code_of(error) is not grpc.StatusCode.UNAVAILABLE:
                    raise
                self.repeated[error.reason] += 1
                await asyncio.sleep(error.retry_after or 0.05)

    async def _produce(self) -> None:
        async with self._connect() as client:
            while not self._stopping.is_set():
                n = next(self._numbers)
                command = _PULLED if n % 10 == 0 else _PUSHED
                reply = await self._repeat(lambda: client.enqueue(command, {"n": n}))  # noqa: B023
                self.acked[reply.task_id] = command
                await asyncio.sleep(_PACE)

    async def _handle(self, task: TaskContext) -> object:
        self.handled[task.task_id] += 1
        await asyncio.sleep(_PACE)
        return task.json()

    async def _pull(self) -> None:
        async with self._connect() as client:
            while True:
                claimed = await self._repeat(
                    lambda: client.claim([_PULLED], worker_id="puller", max_tasks=5, wait=1)
                )
                if not claimed.tasks and self._stopping.is_set():
                    return
                for task in claimed.tasks:
                    self.handled[task.lease.task_id] += 1
                    data = task.spec.payload.data
                    await self._repeat(lambda: client.complete(task.lease, data))  # noqa: B023

    async def _until_empty(self, client: Client) -> None:
        while True:
            response = await self._repeat(lambda: client.queues([_PUSHED, _PULLED]))
            if not any(queue.pending + queue.in_progress for queue in response.queues):
                return
            await asyncio.sleep(0.05)


@pytest.fixture(autouse=True)
def grpc_engine(store: StoreProcess, monkeypatch: pytest.MonkeyPatch) -> str:
    """Comes with the store: each of the two with one of the two."""
    monkeypatch.setenv("CODEQ_GRPC_ENGINE", store.engine.grpc)
    return store.engine.grpc


@pytest.fixture
def servers(store: StoreProcess, credential: tuple[str, Path]) -> Iterator[list[Serve]]:
    env = {"CODEQ_REDIS_URL": store.url, "CODEQ_TOKENS_FILE": str(credential[1])}
    with Serve(env) as one, Serve(env) as other:
        yield [one.start(), other.start()]


@pytest.mark.timeout(120)
async def test_five_rolling_restarts_of_two_servers_lose_nothing_and_delay_nothing(
    servers: list[Serve], credential: tuple[str, Path]
) -> None:
    target = "ipv4:" + ",".join(server.address for server in servers)

    def connect() -> Client:
        round_robin = [("grpc.lb_policy_name", "round_robin")]
        return Client(target, token=credential[0], options=round_robin)

    load = Load(connect)
    async with connect() as client:
        for command in (_PUSHED, _PULLED):
            await client.update_queue(command, retain_payload=True)
    async with load.running():
        for server in servers * _ROUNDS:
            before = load.handled.total()
            assert await asyncio.to_thread(server.program.stop) == 0
            await asyncio.to_thread(server.start)
            assert load.handled.total() >= before + _LEAST, "too little was done meanwhile"

    assert set(load.repeated) <= {"DRAINING", "SERVER_UNAVAILABLE"}
    assert load.handled == dict.fromkeys(load.acked, 1), "exactly the acknowledged ones, once each"
    async with connect() as client:
        for task_id in load.acked:
            task = await client.get_task(task_id, full=True)
            assert (task.state, task.attempt) == (TASK_STATE_COMPLETED, 1)
            assert task.result.data == task.spec.payload.data
        queues = (await client.queues([_PUSHED, _PULLED])).queues
    assert sum(queue.enqueued_total for queue in queues) == len(load.acked)
    assert sum(queue.lease_expired_total for queue in queues) == 0, "one waited for its lease"
