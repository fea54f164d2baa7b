"""Workers on raw stubs: some ask by Claim, some keep a stream open; both know every fence."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc
from typing_extensions import override

from codeq.v1 import codeq_service_pb2 as pb
from tests.faults.asking import digest, is_whole, ms_of, number_in
from tests.faults.calling import reason_of
from tests.faults.history import Operation, now_ns
from tests.faults.reporting import Reports

if TYPE_CHECKING:
    from codeq.v1 import task_pb2
    from tests.faults.asking import Asking
    from tests.faults.calling import Client
    from tests.faults.history import History
    from tests.faults.reporting import Fence, Fences

_HELD: Final = 8
"""Tasks that a worker has at once."""
_SILENCE: Final = 3.0
"""Seconds without a message after which a stream is dead; its idle_interval is 1 s."""
_REPEATS: Final = 20
_PAUSE: Final = 0.1


@dataclass(slots=True)
class Desk:
    """What workers of one process share."""

    history: History
    fences: Fences
    asking: Asking

    def deliver(
        self, client: str, since_ns: int, task: task_pb2.ClaimedTask, *, called: bool = False
    ) -> Fence:
        """Writes down a task that a client got: claimed between then and now."""
        spec, number = task.spec, number_in(task.spec)
        lease_ms = task.lease_duration.ToMilliseconds()
        expiry_ms = ms_of(task.lease_expire_time)
        is_good = is_whole(spec.payload.data, number)
        capped = spec.HasField("expire_time") and expiry_ms == ms_of(spec.expire_time)
        ended_ns = now_ns()
        latest_ms = min(self.history.wall(ended_ns), expiry_ms)
        claim = Operation(
            op="claim",
            client=client,
            start_ns=since_ns,
            end_ns=ended_ns,
            code="OK",
            number=number,
            task=task.lease.task_id,
            fence=task.lease.fence,
            attempt=task.attempt,
            most=task.max_attempts,
            store_ms=latest_ms if capped else expiry_ms - lease_ms,
            capped=capped,
            expiry_ms=expiry_ms,
            due_ms=ms_of(spec.run_time) if spec.HasField("run_time") else 0,
            called=called,
            key=spec.concurrency_key,
            hash=digest(spec.payload.data) if is_good else "torn",
        )
        self.history.add(claim)
        return self.fences.add(claim.task, number, claim.fence)


class Worker(ABC):
    """Handles tasks until it is cancelled; a subclass says how it gets them."""

    def __init__(self, client: Client, desk: Desk, *, worker_id: str = "") -> None:
        self.client = client
        self.desk = desk
        self.worker_id = worker_id or client.name
        self.reports = Reports(client, desk.history, desk.fences)
        self.dice = random.Random(f"{desk.asking.seed}:{client.name}")

    async def run(self) -> None:
        """Never returns by itself."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self.take(group)

    @abstractmethod
    async def take(self, group: asyncio.TaskGroup) -> None:
        """Gets some tasks and has them handled."""

    async def work(self, task: task_pb2.ClaimedTask, fence: Fence) -> None:
        """One attempt, in the manner that its number and attempt ask for."""
        manner = self.desk.asking.manner(fence.number, fence.fence)
        lease = task.lease_duration.ToMilliseconds() / 1000
        if manner == "vanish":
            return
        if manner == "late":
            await asyncio.sleep(lease + self.dice.uniform(0.05, 0.3))
        elif manner == "extend":
            for _ in range(3):
                await asyncio.sleep(lease / 2)
                await self.reports.extend(fence)
        else:
            await asyncio.sleep(self.dice.uniform(0.0, 0.03))
        op = manner if manner in {"fail", "abandon"} else "complete"
        for _ in range(_REPEATS):
            operation = await self.reports.end(fence, op, self.dice)
            if not operation.unknown:
                return
            await asyncio.sleep(_PAUSE)


class Puller(Worker):
    """Asks by Claim, for as many tasks as it has room for."""

    def __init__(self, client: Client, desk: Desk, *, worker_id: str = "") -> None:
        super().__init__(client, desk, worker_id=worker_id)
        self._room = asyncio.Semaphore(_HELD)

    @override
    async def take(self, group: asyncio.TaskGroup) -> None:
        asked = 1
        await self._room.acquire()
        while not self._room.locked() and asked < 4:
            await self._room.acquire()
            asked += 1
        request = pb.ClaimRequest(
            worker_id=self.worker_id, commands=[self.desk.asking.queue], max_tasks=asked
        )
        request.wait.FromMilliseconds(800)
        since = now_ns()
        call = self.desk.history.begin("claim", self.client.name)
        answer = await self.client.ask("Claim", request)
        self.desk.history.end(call, answer.code, answer.reason)
        tasks = answer.message.tasks if answer.message is not None else ()
        for task in tasks:
            fence = self.desk.deliver(self.client.name, since, task, called=True)
            group.create_task(self._work(task, fence))
        for _ in range(asked - len(tasks)):
            self._room.release()
        if answer.message is None:
            await asyncio.sleep(_PAUSE)

    async def _work(self, task: task_pb2.ClaimedTask, fence: Fence) -> None:
        await self.work(task, fence)
        self._room.release()


class Streamer(Worker):
    """Keeps a StreamClaim open, and opens another when it breaks or falls silent."""

    @override
    async def take(self, group: asyncio.TaskGroup) -> None:
        policy = self.dice.choice((pb.DISCONNECT_POLICY_KEEP, pb.DISCONNECT_POLICY_RELEASE))
        request = pb.StreamClaimRequest(
            worker_id=self.worker_id,
            commands=[self.desk.asking.queue],
            max_outstanding=_HELD,
            disconnect_policy=policy,
        )
        request.idle_interval.FromSeconds(1)
        opened = self.desk.history.begin("claim", self.client.name)
        call = self.client.start("StreamClaim", request, None)
        code, reason = "CANCELLED", ""
        try:
            await self._read(call, group, opened.start_ns)
            code = "OK"
        except TimeoutError:
            code = "DEADLINE_EXCEEDED"
        except grpc.aio.AioRpcError as error:
            code, reason = error.code().name, reason_of(error)
        finally:
            call.cancel()
            self.desk.history.end(opened, code, reason)
        self.client.turn_away(hung=code == "DEADLINE_EXCEEDED")
        await asyncio.sleep(_PAUSE)

    async def _read(self, call: Any, group: asyncio.TaskGroup, since: int) -> None:
        while True:
            async with asyncio.timeout(_SILENCE):
                message = await call.read()
            if message is grpc.aio.EOF or message.HasField("drain"):
                return
            for task in message.batch.tasks:
                fence = self.desk.deliver(self.client.name, since, task)
                group.create_task(self.work(task, fence))
