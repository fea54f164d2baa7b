"""Short ways to tell a history in which something is wrong, for the tests of the checkers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from codeq.v1 import task_pb2
from tests.faults.asking import ATTEMPTS, NUMBER, digest
from tests.faults.checkers import check
from tests.faults.evidence import Evidence, Violation
from tests.faults.history import History, Operation
from tests.faults.load import Found

if TYPE_CHECKING:
    from typing import Self

START_MS: Final = 1_000_000
TASK: Final = "t1"
RESULT: Final = b"done"


class Tale:
    """One good life of a task, unless more is told. Times are ms since the start."""

    def __init__(self) -> None:
        self.history = History()
        self.history.wall_ms = START_MS
        self.tasks: list[task_pb2.Task] = []
        self.unended: dict[str, int] = {}

    def op(self, op: str, start: int, end: int | None = None, **about: Any) -> Self:
        """One call; with `end` None its outcome is unknown."""
        given: dict[str, Any] = {"client": "c", "task": TASK, "number": 1, "code": "OK", **about}
        if end is None:
            given["code"] = about.get("code", "UNAVAILABLE")
        else:
            given["end_ns"] = end * 1_000_000
        self.history.add(Operation(op=op, start_ns=start * 1_000_000, **given))
        return self

    def claim(self, at: int, fence: int, *, lease: int = 1_000, **about: Any) -> Self:
        """A claim that took 2 ms."""
        given = {"attempt": 1, "most": ATTEMPTS, **about}
        times = {"store_ms": START_MS + at, "expiry_ms": START_MS + at + lease}
        return self.op("claim", at - 1, at + 1, fence=fence, **{**times, **given})

    def complete(self, at: int, fence: int, **about: Any) -> Self:
        """An accepted end."""
        return self.op("complete", at, at + 1, fence=fence, **{"hash": digest(RESULT), **about})

    def refused(self, op: str, at: int, fence: int) -> Self:
        """An end or heartbeat that came to nothing."""
        told = {"code": "FAILED_PRECONDITION", "reason": "LEASE_LOST"}
        return self.op(op, at, at + 1, fence=fence, **told)

    def ended(self, at: int, **about: Any) -> Self:
        """The task as the store has it when all is over."""
        given = {"task_id": TASK, "state": task_pb2.TASK_STATE_COMPLETED, "attempt": 1, **about}
        number = given.pop("number", 1)
        result = given.pop("result", RESULT)
        attempts = given.pop("attempts", ())
        task = task_pb2.Task(**given)
        task.end_time.FromMilliseconds(START_MS + at)
        task.result.data = result
        task.spec.headers[NUMBER] = str(number)
        for i, (fence, start, end) in enumerate(attempts, 1):
            attempt = task.attempts.add(number=i, fence=fence)
            attempt.start_time.FromMilliseconds(START_MS + start)
            attempt.end_time.FromMilliseconds(START_MS + end)
        self.tasks.append(task)
        return self

    def evidence(self, **about: Any) -> Evidence:
        """For the checkers."""
        found = Found(tasks=self.tasks, again=list(self.tasks), unended=self.unended)
        return Evidence(self.history, found, **about)

    def broken(self, **about: Any) -> dict[str, list[Violation]]:
        """Violations by the checker that found them."""
        found: dict[str, list[Violation]] = {}
        for violation in check(self.evidence(**about)):
            found.setdefault(violation.checker, []).append(violation)
        return found


def good_tale() -> Tale:
    """Enqueued, claimed, completed."""
    return Tale().op("enqueue", 0, 2).claim(10, 5).complete(20, 5).ended(20)
