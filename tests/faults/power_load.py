"""Producers and workers that write down what they were told, and what must therefore be true."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import grpc

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from codeq_grpc.core.task import TaskState
from codeq_grpc.store.connection import Connection
from codeq_grpc.store.keys import Queue, parse_task_id
from codeq_grpc.store.reads import Reads
from tests.integration.refusals import read_refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from codeq_grpc.store.reads import Stored
    from tests.support.server import Caller

COMMAND: Final = "POWER"
_LEASE: Final = 5.0
_PATIENCE: Final = 60.0
_GONE: Final = {"LEASE_LOST", "TASK_NOT_FOUND"}
_BATCH: Final = 500


def payload_of(key: str) -> bytes:
    """A key and its hash."""
    return f"{key} {hashlib.sha256(key.encode()).hexdigest()}".encode()


def _is_whole(data: bytes) -> bool:
    return data == payload_of(data.decode().split(" ", maxsplit=1)[0])


@dataclass(slots=True)
class Load:
    """Runs until told to stop, and then until everything is done. Whatever is UNAVAILABLE is
    repeated, with the same idempotency key or fence; nothing else may happen.
    """

    caller: Caller
    seed: int
    producers: int
    workers: int
    acked: dict[str, float] = field(default_factory=dict)
    """Task -> when its producer was told OK."""
    completed: dict[str, bytes] = field(default_factory=dict)
    """Task -> the result that its worker was told OK of, the latest."""
    accepted: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """Task -> fences of completions that were told OK."""
    claims: list[tuple[str, int]] = field(default_factory=list)
    repeated: Counter[str] = field(default_factory=Counter)
    """Reasons of calls that were repeated."""
    damaged: list[str] = field(default_factory=list)
    _stopped: bool = False
    _produced: bool = False
    _keys: int = 0

    def stop(self) -> None:
        """No new tasks from now on."""
        self._stopped = True

    async def run(self) -> None:
        """Ends when it was stopped and all tasks are done."""
        async with asyncio.TaskGroup() as workers:
            for number in range(self.workers):
                workers.create_task(self._work(f"worker-{number}"))
            async with asyncio.TaskGroup() as producers:
                for _ in range(self.producers):
                    producers.create_task(self._produce())
            self._produced = True

    async def _produce(self) -> None:
        while not self._stopped:
            self._keys += 1
            key = f"{self.seed}-{self._keys}"
            task_id = await self._repeat(lambda: self._enqueue(key))  # noqa: B023 - awaited here
            self.acked[task_id] = time.monotonic()

    async def _enqueue(self, key: str) -> str:
        return await self.caller.enqueue(COMMAND, payload_of(key), idempotency_key=key)

    async def _repeat(self, call: Callable[[], Awaitable[Any]]) -> Any:
        async with asyncio.timeout(_PATIENCE):
            while True:
                try:
                    return await call()
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.UNAVAILABLE:
                        raise
                    self.repeated[read_refusal(error).reason] += 1
                    await asyncio.sleep(0.05)

    async def _work(self, worker: str) -> None:
        while not (self._produced and await self._repeat(self._is_empty)):
            tasks = await self._repeat(
                lambda: self.caller.claim(COMMAND, most=50, wait=0.5, lease=_LEASE, worker=worker)
            )
            for task in tasks:
                self.claims.append((task.lease.task_id, task.lease.fence))
                if not _is_whole(task.spec.payload.data):
                    self.damaged.append(task.lease.task_id)
            if tasks:
                await self._report(tasks)

    async def _is_empty(self) -> bool:
        stats = await self.caller.stats(COMMAND)
        return not (stats.pending or stats.in_progress)

    async def _report(self, tasks: Sequence[task_pb2.ClaimedTask]) -> None:
        request = pb.ReportRequest()
        results = {task.lease.task_id: b"%d" % task.lease.fence for task in tasks}
        for task in tasks:
            complete = request.outcomes.add().complete
            complete.lease.CopyFrom(task.lease)
            complete.result.data = results[task.lease.task_id]
        response = await self._repeat(lambda: self.caller.start("Report", request, timeout=30))
        refused = {item.index: item.reason for item in response.failures}
        assert set(refused.values()) <= _GONE, refused
        for index, task in enumerate(tasks):
            if index not in refused:
                task_id = task.lease.task_id
                self.completed[task_id] = results[task_id]
                self.accepted[task_id].add(task.lease.fence)


@dataclass(slots=True)
class Found:
    """What is not there of what was promised."""

    lost: list[str]
    reverted: list[str]


class Witness:
    """Reads the store past the server."""

    def __init__(self, url: str, tenant: str = "acme") -> None:
        self._connection = Connection(url)
        self._reads = Reads(self._connection)
        self._queue = Queue(tenant, COMMAND)

    async def close(self) -> None:
        """Ends its connection."""
        await self._connection.close()

    async def look(self, load: Load) -> Found:
        """Compares what was told OK with what is there; reads must not wait for what comes."""
        acked, completed = list(load.acked), list(load.completed)
        states = await self._states({*acked, *completed})
        return Found(
            [task for task in acked if not states[task]],
            [task for task in completed if states[task] != TaskState.COMPLETED],
        )

    async def _states(self, tasks: Iterable[str]) -> dict[str, int]:
        tasks, states = list(tasks), dict[str, int]()
        for at in range(0, len(tasks), _BATCH):
            part = tasks[at : at + _BATCH]
            read = await self._reads.states(self._queue, [_name(task) for task in part])
            states.update(zip(part, read, strict=True))
        return states

    async def changed_results(self, load: Load) -> list[str]:
        """Completed tasks whose result is another than was told OK."""
        tasks, changed = list(load.completed), list[str]()
        for at in range(0, len(tasks), _BATCH):
            part = tasks[at : at + _BATCH]
            found = await self._reads.read(
                self._queue, [_name(task) for task in part], full=True, max_bytes=1 << 24
            )
            for task, stored in zip(part, found, strict=True):
                if _result(stored) != load.completed[task]:
                    changed.append(task)
        return changed


def _name(task_id: str) -> bytes:
    parsed = parse_task_id(task_id)
    assert parsed is not None, task_id
    return parsed[1]


def _result(stored: Stored | None) -> bytes:
    return task_pb2.Payload.FromString(stored.result).data if stored else b"none"
