"""The load of a run: producers, workers of both kinds, somebody who tries old fences and somebody
who reads, all at once and all written down.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from codeq.v1 import admin_service_pb2 as admin_pb, codeq_service_pb2 as pb, task_pb2
from tests.faults.asking import ATTEMPTS, PER_KEY, Asking, digest, ms_of, number_in
from tests.faults.calling import Client
from tests.faults.history import ENDS, History
from tests.faults.operating import Operator
from tests.faults.producing import Producer
from tests.faults.reporting import Fences, Reports
from tests.faults.working import Desk, Puller, Streamer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.faults.working import Worker

_PRODUCERS: Final = 4
_WORKERS: Final = 8
_TRIES: Final = 2
_PAGE: Final = 500
UNENDED: Final = ("pending", "scheduled", "blocked", "in_progress")


@dataclass(slots=True)
class Found:
    """What the store says of all tasks of the queue when everything has ended."""

    tasks: list[task_pb2.Task] = field(default_factory=list)
    again: list[task_pb2.Task] = field(default_factory=list)
    """The same, read once more."""
    unended: dict[str, int] = field(default_factory=dict)
    """Numbers of tasks by state that were not drained in time; empty when all were."""


class Load:
    """Everything that calls codeQ during a run."""

    def __init__(
        self, addresses: Sequence[str], token: str, queue: str, seed: int, *, pace: float = 0.03
    ) -> None:
        self.addresses, self.token = list(addresses), token
        self.history = History()
        self.asking = Asking(queue, seed)
        self.desk = Desk(self.history, Fences(), self.asking)
        self.pace = pace
        self._dice = random.Random(f"{seed}:load")
        self._stopping = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._clients: list[Client] = []

    def client(self, name: str, at: int = 0) -> Client:
        """Another caller, closed with the load."""
        self._clients.append(Client(name, self.addresses, self.token, at))
        return self._clients[-1]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All of them work while the block runs; `drain` first."""
        await self._prepare_queue()
        numbers = itertools.count(1)
        producers = [
            Producer(self.client(f"p{i}", i), self.history, self.asking, numbers, pace=self.pace)
            for i in range(_PRODUCERS)
        ]
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                operator = Operator(self.client("boss", 1), self.history, self.asking.seed)
                busy: list[Producer | Operator] = [*producers, operator]
                self._producing = [group.create_task(one.run(self._stopping)) for one in busy]
                others = [group.create_task(self._try_old_fences())]
                others.append(group.create_task(self._read_ended()))
                self._others = others
                for i in range(_WORKERS):
                    kind = Puller if i % 2 else Streamer
                    self.employ(kind(self.client(f"w{i}", i // 2), self.desk))
                yield
                for task in (*self._producing, *others):
                    task.cancel()
        finally:
            self._group = None
            for client in self._clients:
                await client.close()

    def employ(self, worker: Worker) -> asyncio.Task[None]:
        """Has one more worker at work, until the load ends."""
        assert self._group is not None, "the load does not run"
        task = self._group.create_task(worker.run())
        self._others.append(task)
        return task

    async def _prepare_queue(self) -> None:
        request = admin_pb.UpdateQueueRequest()
        request.queue.command = self.asking.queue
        request.queue.max_in_progress_per_key = PER_KEY
        request.queue.retry_policy.max_attempts = ATTEMPTS
        request.queue.retry_policy.initial_backoff.FromMilliseconds(50)
        request.queue.retry_policy.max_backoff.FromMilliseconds(200)
        await self.client("operator").until("UpdateQueue", request, within=30)

    async def _try_old_fences(self) -> None:
        reports = Reports(self.client("late"), self.history, self.desk.fences)
        while True:
            over = self.desk.fences.over(_TRIES)[:20]
            if over:
                await reports.try_again(over, self._dice)
            await asyncio.sleep(0.1)

    async def _read_ended(self) -> None:
        client = self.client("reader")
        while True:
            ended = [o.task for o in self.history.of("complete", "enqueue") if o.ok]
            for task_id in self._dice.sample(ended, min(2, len(ended))):
                await self._read(client, task_id)
            await asyncio.sleep(0.1)

    async def _read(self, client: Client, task_id: str) -> None:
        operation = self.history.begin("read", client.name, task=task_id)
        request = pb.GetTaskRequest(task_id=task_id, view=task_pb2.TASK_VIEW_FULL)
        answer = await client.ask("GetTask", request)
        told = told_of(answer.message.task) if answer.message else {}
        self.history.end(operation, answer.code, answer.reason, **told)

    def stop_producing(self) -> None:
        """No task is enqueued from now on, but those under way."""
        self._stopping.set()

    async def drain(self, within: float) -> Found:
        """Waits until every task has ended, tries every old fence once more, and reads all."""
        self.stop_producing()
        await asyncio.wait(self._producing)
        client, found = self.client("checker"), Found()
        try:
            found.unended = await self._until_ended(client, within)
            await self._try_every_old_fence(client, within)
            found.tasks = await self._list(client)
            found.again = await self._list(client)
        except AssertionError as error:
            found.unended[str(error)] = 1
        return found

    async def _try_every_old_fence(self, client: Client, within: float) -> None:
        reports = Reports(client, self.history, self.desk.fences)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while over := self.desk.fences.over(_TRIES + 1)[:200]:
                    await reports.try_again(over, self._dice)

    async def _until_ended(self, client: Client, within: float) -> dict[str, int]:
        request = pb.AdminQueuesRequest(commands=[self.asking.queue])
        deadline = asyncio.get_running_loop().time() + within
        while True:
            response = await client.until("AdminQueues", request, within=30)
            stats = response.queues[0]
            left = {name: getattr(stats, name) for name in UNENDED if getattr(stats, name)}
            if not left or asyncio.get_running_loop().time() > deadline:
                return left
            await asyncio.sleep(0.05)

    async def _list(self, client: Client) -> list[task_pb2.Task]:
        tasks, token = [], ""
        while True:
            request = pb.ListTasksRequest(
                page_size=_PAGE, page_token=token, view=task_pb2.TASK_VIEW_FULL
            )
            request.filter.command = self.asking.queue
            start = self.history.begin("list", client.name)
            response = await client.until("ListTasks", request, within=30)
            self.history.end(start, "OK")
            for task in response.tasks:
                operation = self.history.begin("read", client.name, task=task.task_id)
                operation.start_ns = start.start_ns
                self.history.end(operation, "OK", **told_of(task))
            tasks += response.tasks
            token = response.next_page_token
            if not token:
                return tasks

    def count(self, *ops: str) -> int:
        """How many operations of these kinds were carried out."""
        return sum(operation.ok and bool(operation.task) for operation in self.history.of(*ops))

    def ended(self) -> int:
        """How many attempts have been ended."""
        return self.count(*ENDS)


def told_of(task: task_pb2.Task) -> dict[str, Any]:
    """What a read tells, for the history."""
    has_result = task.state == task_pb2.TASK_STATE_COMPLETED
    return {
        "number": number_in(task.spec),
        "state": task_pb2.TaskState.Name(task.state).removeprefix("TASK_STATE_"),
        "attempt": task.attempt,
        "store_ms": ms_of(task.end_time),
        "hash": digest(task.result.data) if has_result else "",
    }
