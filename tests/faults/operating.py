"""An operator: cancels some tasks, pending and running, and redrives some that did not complete."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Final

from codeq.v1 import codeq_service_pb2 as pb
from tests.faults.calling import code_name

if TYPE_CHECKING:
    from tests.faults.calling import Client
    from tests.faults.history import History, Operation

_PAUSE: Final = 0.08
_RECENT: Final = 60
_LATEST: Final = 4
"""Some that have only just come, or that a worker has just got."""
_ENDED: Final = frozenset({"FAILED", "CANCELLED", "EXPIRED"})


class Operator:
    """One task a call, each once redriven at most."""

    def __init__(self, client: Client, history: History, seed: int) -> None:
        self._client = client
        self._history = history
        self._random = random.Random(f"{seed}:{client.name}")
        self._redriven: set[str] = set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Returns after `stopping`, with nothing under way."""
        while not stopping.is_set():
            await asyncio.sleep(_PAUSE * self._random.uniform(0.5, 1.5))
            recent = [op for op in self._history.operations[-10 * _RECENT :] if op.task]
            known = [op for op in recent if op.op in {"enqueue", "claim"}]
            waiting = [op for op in recent if op.state in {"SCHEDULED", "BLOCKED"}]
            pools = [
                pool for pool in (known[-_RECENT:], known[-_LATEST:], waiting[-_LATEST:]) if pool
            ]
            if pools:
                await self._cancel(self._random.choice(self._random.choice(pools)))
            dead = [o for o in recent if o.state in _ENDED and o.task not in self._redriven]
            if dead:
                await self._redrive(self._random.choice(dead))

    async def _cancel(self, known: Operation) -> None:
        request = pb.CancelTasksRequest(reason="an operator says so")
        request.selector.task_ids.append(known.task)
        await self._ask("cancel", "CancelTasks", known, request)

    async def _redrive(self, known: Operation) -> None:
        self._redriven.add(known.task)
        request = pb.RedriveTasksRequest()
        request.selector.task_ids.append(known.task)
        await self._ask("redrive", "RedriveTasks", known, request)

    async def _ask(self, op: str, rpc: str, known: Operation, request: Any) -> None:
        operation = self._history.begin(op, self._client.name, task=known.task, number=known.number)
        answer = await self._client.ask(rpc, request)
        code, reason, state = answer.code, answer.reason, ""
        if answer.message is not None:
            for failure in answer.message.failures:
                code, reason = code_name(failure.code), failure.reason
            if op == "cancel":
                state = "CANCELLED" if answer.message.cancelled_count else "REQUESTED"
        self._history.end(operation, code, reason, state=state * (code == "OK"))
