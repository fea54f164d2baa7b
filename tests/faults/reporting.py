"""How attempts are ended and leases extended, each call written down; and all known fences.

Every fence that a claim told is kept for the length of a run. Those that are over, because a later
one of the task is known or an end of theirs was accepted, are tried again and again: nothing may
come of that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from codeq.v1 import codeq_service_pb2 as pb
from codeq.v1.task_pb2 import LeaseRef, Payload, TaskError, TaskState
from tests.faults.asking import digest, ms_of
from tests.faults.calling import Answer, code_name
from tests.faults.history import ENDS

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from tests.faults.calling import Client
    from tests.faults.history import History, Operation

_LOST: Final = ("FAILED_PRECONDITION", "LEASE_LOST")
_EXTEND_MS: Final = 1_000
AGAIN: Final = "again"
"""A complete that repeats an accepted one, with another result: accepted, without effect."""


@dataclass(slots=True)
class Fence:
    """One claim that somebody was told of."""

    task: str
    number: int
    fence: int
    asked: set[str] = field(default_factory=set)
    """Ends that were sent with it by the worker that held it."""
    ended: bool = False
    """One of them was accepted."""
    tried: int = 0
    """How often it was tried after it was over."""


class Fences:
    """All fences of a run."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, int], Fence] = {}
        self._latest: dict[str, int] = {}

    def add(self, task: str, number: int, fence: int) -> Fence:
        """One that a claim told."""
        self._latest[task] = max(fence, self._latest.get(task, 0))
        return self.known.setdefault((task, fence), Fence(task, number, fence))

    def over(self, most_tries: int) -> list[Fence]:
        """Those that must not be good for anything any more: first those whose task may be held
        under another one, then those least tried.
        """
        found = [f for f in self.known.values() if f.tried < most_tries and self.stale_ends(f)]
        return sorted(found, key=lambda fence: (self._latest_has_ended(fence), fence.tried))

    def _latest_has_ended(self, fence: Fence) -> bool:
        return self.known[fence.task, self._latest[fence.task]].ended

    def stale_ends(self, fence: Fence) -> list[str]:
        """The calls with it that must change nothing."""
        if fence.fence < self._latest[fence.task]:
            return [*ENDS, "heartbeat"]
        if fence.ended and len(fence.asked) == 1:
            again = [AGAIN] if "complete" in fence.asked else []
            return [*(set(ENDS) - fence.asked), "heartbeat", *again]
        return []


class Reports:
    """Ends attempts for one client."""

    def __init__(self, client: Client, history: History, fences: Fences) -> None:
        self._client = client
        self._history = history
        self._fences = fences

    async def end(self, fence: Fence, op: str, dice: random.Random) -> Operation:
        """One end, sent once: by a call of its own or by Report."""
        request = _request(fence, op, dice)
        operation = self._begin(fence, op)
        fence.asked.add(op)
        if dice.random() < 0.3:
            outcome = pb.Outcome(**{op: request})
            answer = await self._client.ask("Report", pb.ReportRequest(outcomes=[outcome]))
            answer = _of_item(answer, 0)
        else:
            answer = await self._client.ask(op.capitalize(), request)
        told: dict[str, Any] = {}
        if isinstance(answer.message, pb.FailResponse):
            told["state"] = TaskState.Name(answer.message.state).removeprefix("TASK_STATE_")
            told["store_ms"] = ms_of(answer.message.run_time)
        self._history.end(operation, answer.code, answer.reason, **told)
        fence.ended = fence.ended or operation.ok
        return operation

    async def extend(self, fence: Fence) -> Operation:
        """One heartbeat."""
        operation = self._begin(fence, "heartbeat")
        (answer,) = await self._beat([fence])
        self._history.end(operation, answer.code, answer.reason)
        return operation

    async def try_again(self, fences: Sequence[Fence], dice: random.Random) -> None:
        """Sends what must be refused, in one Report and one Heartbeat."""
        ends: list[tuple[Fence, str]] = []
        beats: list[tuple[Fence, str]] = []
        for fence in fences:
            op = dice.choice(sorted(self._fences.stale_ends(fence)))
            (beats if op == "heartbeat" else ends).append((fence, op))
        if ends:
            operations = [self._begin(fence, op) for fence, op in ends]
            outcomes = [pb.Outcome(**{_rpc(op): _request(fence, op, dice)}) for fence, op in ends]
            answer = await self._client.ask("Report", pb.ReportRequest(outcomes=outcomes))
            self._settle(operations, ends, [_of_item(answer, i) for i in range(len(ends))])
        if beats:
            operations = [self._begin(fence, op) for fence, op in beats]
            self._settle(operations, beats, await self._beat([fence for fence, _ in beats]))

    def _settle(
        self,
        operations: Sequence[Operation],
        tried: Sequence[tuple[Fence, str]],
        answers: Sequence[Answer],
    ) -> None:
        for operation, (fence, op), answer in zip(operations, tried, answers, strict=True):
            key = AGAIN if op == AGAIN else "stale"
            self._history.end(operation, answer.code, answer.reason, key=key)
            fence.tried += not operation.unknown

    async def _beat(self, fences: Sequence[Fence]) -> list[Answer]:
        request = pb.HeartbeatRequest()
        for fence in fences:
            item = request.leases.add(lease=_lease(fence))
            item.extend.FromMilliseconds(_EXTEND_MS)
        answer = await self._client.ask("Heartbeat", request)
        if answer.message is None:
            return [answer] * len(fences)
        lost = {
            (d.lease.task_id, d.lease.fence)
            for d in answer.message.directives
            if d.kind == pb.DIRECTIVE_KIND_LEASE_LOST
        }
        return [
            Answer(*_LOST) if (fence.task, fence.fence) in lost else Answer("OK", "")
            for fence in fences
        ]

    def _begin(self, fence: Fence, op: str) -> Operation:
        told: dict[str, Any] = {}
        if op in {"complete", AGAIN}:
            told["hash"] = digest(_result(fence, op))
        if op == "heartbeat":
            told["expiry_ms"] = _EXTEND_MS
        return self._history.begin(
            _rpc(op),
            self._client.name,
            task=fence.task,
            number=fence.number,
            fence=fence.fence,
            **told,
        )


def _lease(fence: Fence) -> LeaseRef:
    return LeaseRef(task_id=fence.task, fence=fence.fence)


def _rpc(op: str) -> str:
    return "complete" if op == AGAIN else op


def _result(fence: Fence, op: str) -> bytes:
    return b"%d %s under %d" % (fence.number, op.encode(), fence.fence)


def _request(fence: Fence, op: str, dice: random.Random) -> Any:
    if op in {"complete", AGAIN}:
        result = Payload(data=_result(fence, op))
        return pb.CompleteRequest(lease=_lease(fence), result=result)
    if op == "abandon":
        request = pb.AbandonRequest(lease=_lease(fence))
        if dice.random() < 0.3:
            request.delay.FromMilliseconds(100)
        return request
    error = TaskError(type="Unlucky", message=f"fence {fence.fence}")
    error.retry_delay.FromMilliseconds(dice.choice((0, 100, 300)))
    return pb.FailRequest(lease=_lease(fence), error=error)


def _of_item(answer: Answer, index: int) -> Answer:
    """The outcome of one item of a batch."""
    if answer.message is None:
        return answer
    for failure in answer.message.failures:
        if failure.index == index:
            return Answer(code_name(failure.code), failure.reason)
    return Answer("OK", "")
