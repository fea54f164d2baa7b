"""All that is known of a run, as checkers look at it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from codeq.v1 import task_pb2
from tests.faults.asking import ms_of, number_in
from tests.faults.history import ENDS

if TYPE_CHECKING:
    from tests.faults.history import History, Operation
    from tests.faults.load import Found

SLACK_MS: Final = 20
"""By how much the wall clock as a history reckons it may differ from that of the store."""
TERMINAL: Final = frozenset(
    {
        task_pb2.TASK_STATE_COMPLETED,
        task_pb2.TASK_STATE_FAILED,
        task_pb2.TASK_STATE_CANCELLED,
        task_pb2.TASK_STATE_EXPIRED,
    }
)


class Violation(NamedTuple):
    """Of a promise."""

    checker: str
    task: str
    text: str


@dataclass
class Evidence:
    """All that is known of a run."""

    history: History
    found: Found
    skewed: bool = False
    """The store's clock was not that of the clients, or was set: no times are compared."""
    stored: list[str] = field(default_factory=list)
    """What is inconsistent in the store."""

    @cached_property
    def claims(self) -> dict[str, list[Operation]]:
        """Of each task, by fence."""
        found = defaultdict(list)
        for op in self.history.of("claim"):
            if op.task:
                found[op.task].append(op)
        return {
            task: [self._dated(op) for op in sorted(ops, key=lambda op: op.fence)]
            for task, ops in found.items()
        }

    def _dated(self, claim: Operation) -> Operation:
        """A lease that its task's expire_time ends does not tell when it began: the store does."""
        if claim.capped:
            for attempt in self.attempts(claim.task):
                if attempt.fence == claim.fence:
                    return replace(claim, store_ms=ms_of(attempt.start_time), capped=False)
        return claim

    @cached_property
    def ends(self) -> dict[tuple[str, int], list[Operation]]:
        """Of each fence, what was asked for with it, in order, but for what was refused."""
        found = defaultdict(list)
        for op in sorted(self.history.of(*ENDS), key=lambda op: op.start_ns):
            if not op.refused:
                found[op.task, op.fence].append(op)
        return found

    @cached_property
    def beats(self) -> dict[tuple[str, int], list[Operation]]:
        """Of each fence, its heartbeats that were not refused."""
        found = defaultdict(list)
        for op in self.history.of("heartbeat"):
            if not op.refused:
                found[op.task, op.fence].append(op)
        return found

    def _wished(self, op: str) -> dict[str, list[Operation]]:
        found = defaultdict(list)
        for one in self.history.of(op):
            if not one.refused:
                found[one.task].append(one)
        return found

    @cached_property
    def cancels(self) -> dict[str, list[Operation]]:
        """Of each task, but for those that were refused."""
        return self._wished("cancel")

    @cached_property
    def redrives(self) -> dict[str, list[Operation]]:
        """Of each task, but for those that were refused."""
        return self._wished("redrive")

    def may_be_redriven(self, task: str, since_ns: float, until_ns: float) -> bool:
        """Whether a redrive may have taken effect between these times."""
        found = self.redrives.get(task, [])
        return any(op.start_ns < until_ns and op.last_ns > since_ns for op in found)

    @cached_property
    def asked(self) -> dict[int, Operation]:
        """Of each number, its first enqueue."""
        found: dict[int, Operation] = {}
        for op in self.history.of("enqueue"):
            found.setdefault(op.number, op)
        return found

    @cached_property
    def tasks(self) -> dict[str, task_pb2.Task]:
        """As they ended."""
        return {task.task_id: task for task in self.found.tasks}

    @cached_property
    def ids(self) -> dict[int, set[str]]:
        """The ids under which a number was ever seen."""
        found = defaultdict(set)
        for op in self.history.operations:
            if op.task and op.number:
                found[op.number].add(op.task)
        for task in self.found.tasks:
            found[number_in(task.spec)].add(task.task_id)
        return found

    def attempts(self, task: str) -> list[task_pb2.Attempt]:
        """As the store kept them, oldest first."""
        return list(self.tasks[task].attempts) if task in self.tasks else []

    def was_given_back(self, claim: Operation, later: Operation) -> bool:
        """Whether a server may have taken a lease back that its client had heard of, as it does
        when a connection breaks: such a claim does not count.
        """
        if later.attempt <= claim.attempt:
            return True
        between = range(claim.fence + 1, later.fence)
        return any(attempt.fence in between for attempt in self.attempts(claim.task))
