"""What one queue should do, in plain Python: no store, no bytes, nothing clever.

Written from the promises, not from the scripts; `twin.py` holds the two against each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from codeq_grpc.core.task import Ending, TaskState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from codeq_grpc.core.retry import RetryPolicy


class NewTask(NamedTuple):
    """What a producer asks for; without a delay, or with one below 0, it is for now."""

    size: int = 4
    priority: int = 5
    max_attempts: int = 3
    lease_ms: int = 0
    delay_ms: int = 0


class Outcome(NamedTuple):
    """One report. `delay_ms` None: the policy decides."""

    name: bytes
    fence: int
    ending: Ending
    delay_ms: int | None = None
    no_retry: bool = False


@dataclass(slots=True)
class ModelTask:
    """One task. `time_ms`: claimable since, due, lease expiry or end, by its state."""

    name: bytes
    new: NewTask
    state: TaskState
    time_ms: int
    attempt: int = 0
    fence: int = 0
    ending: Ending = Ending.NONE
    since_ms: int = 0
    claim_lease_ms: int = 0


@dataclass(slots=True)
class QueueModel:
    """One queue. The test moves `clock_ms`; the queue's own time never goes back."""

    policy: RetryPolicy
    default_lease_ms: int
    clock_ms: int
    seen_ms: int = 0
    tasks: dict[bytes, ModelTask] = field(default_factory=dict)
    lists: dict[int, list[bytes]] = field(default_factory=lambda: {p: [] for p in range(10)})
    enqueued: int = 0
    completed: int = 0
    attempts_failed: int = 0
    expired: int = 0

    @property
    def now_ms(self) -> int:
        """Numbers given out keep the time at which they were."""
        return max(self.clock_ms, self.seen_ms)

    def in_state(self, state: TaskState) -> list[ModelTask]:
        """By time, then by age."""
        found = [task for task in self.tasks.values() if task.state == state]
        return sorted(found, key=lambda task: (task.time_ms, task.name))

    def enqueue(self, names: Sequence[bytes], new: Sequence[NewTask]) -> None:
        """Adds tasks under the names that the store chose."""
        now = self.seen_ms = self.now_ms
        for name, wanted in zip(names, new, strict=True):
            if wanted.delay_ms > 0:
                due = now + wanted.delay_ms
                self.tasks[name] = ModelTask(name, wanted, TaskState.SCHEDULED, due)
            else:
                self.tasks[name] = ModelTask(name, wanted, TaskState.PENDING, now)
                self.lists[wanted.priority].append(name)
        self.enqueued += len(new)

    def promote(self, limit: int) -> int:
        """Due tasks become pending, at the tail; gives how many."""
        due = [t for t in self.in_state(TaskState.SCHEDULED) if t.time_ms <= self.now_ms][:limit]
        for task in due:
            task.state = TaskState.PENDING
            self.lists[task.new.priority].append(task.name)
        return len(due)

    def next_to_claim(self, want: int, max_bytes: int) -> list[ModelTask]:
        """What a claim gives, after promoting what is due."""
        self.promote(500)
        names = [name for priority in range(9, -1, -1) for name in self.lists[priority]]
        chosen: list[ModelTask] = []
        for task in [self.tasks[name] for name in names[:want]]:
            if chosen and sum(t.new.size for t in chosen) + task.new.size > max_bytes:
                break
            chosen.append(task)
        return chosen

    def lease(self, task: ModelTask, fence: int, lease_ms: int) -> None:
        """Hands a pending task out."""
        self.seen_ms = self.now_ms
        self.lists[task.new.priority].remove(task.name)
        task.claim_lease_ms = lease_ms or task.new.lease_ms or self.default_lease_ms
        task.since_ms = task.time_ms
        task.state, task.time_ms = TaskState.IN_PROGRESS, self.now_ms + task.claim_lease_ms
        task.attempt, task.fence, task.ending = task.attempt + 1, fence, Ending.NONE

    def holds(self, name: bytes, fence: int) -> bool:
        """Whether this lease is the current one, and not over."""
        task = self.tasks.get(name)
        return (
            task is not None
            and task.state == TaskState.IN_PROGRESS
            and task.fence == fence
            and task.time_ms > self.now_ms
        )

    def heartbeat(self, name: bytes, fence: int, extend_ms: int) -> bytes:
        """Extends a lease."""
        if name not in self.tasks:
            return b"UNKNOWN"
        if not self.holds(name, fence):
            return b"LOST"
        task = self.tasks[name]
        task.time_ms = max(task.time_ms, self.now_ms + (extend_ms or task.claim_lease_ms))
        return b"EXTENDED"

    def report(self, outcome: Outcome) -> bytes:
        """Ends an attempt."""
        task = self.tasks.get(outcome.name)
        if task is None:
            return b"UNKNOWN"
        if self.holds(outcome.name, outcome.fence):
            self._end(task, outcome)
            return b"DONE"
        over = task.fence == outcome.fence and task.state != TaskState.IN_PROGRESS
        return b"REPEATED" if over and task.ending == outcome.ending else b"LOST"

    def _end(self, task: ModelTask, outcome: Outcome) -> None:
        task.ending = outcome.ending
        if outcome.ending == Ending.COMPLETE:
            task.state, task.time_ms = TaskState.COMPLETED, self.now_ms
            self.completed += 1
        elif outcome.ending == Ending.ABANDON:
            task.attempt -= 1
            if outcome.delay_ms:
                task.state, task.time_ms = TaskState.SCHEDULED, self.now_ms + outcome.delay_ms
            else:
                task.state, task.time_ms = TaskState.PENDING, task.since_ms
        else:
            self.attempts_failed += 1
            self._fail(task, outcome)

    def _fail(self, task: ModelTask, outcome: Outcome) -> None:
        if outcome.no_retry or task.attempt == task.new.max_attempts:
            task.state, task.time_ms = TaskState.FAILED, self.now_ms
            return
        delay_ms = outcome.delay_ms
        if delay_ms is None:
            delay_ms = self.policy.delay_ms(task.attempt, 0.0)
        task.state = TaskState.SCHEDULED if delay_ms else TaskState.PENDING
        task.time_ms = self.now_ms + delay_ms

    def put_back(self, reported: Iterable[Outcome]) -> None:
        """Into the lists, what a batch of reports made pending: failed ones at the tail,
        abandoned ones at the head in the order of the batch."""
        names = [o.name for o in reported if self.tasks[o.name].state == TaskState.PENDING]
        for name in names:
            task = self.tasks[name]
            if task.ending == Ending.FAIL:
                self.lists[task.new.priority].append(name)
        self._put_at_head([n for n in names if self.tasks[n].ending == Ending.ABANDON])

    def _put_at_head(self, names: Sequence[bytes]) -> None:
        for name in reversed(names):
            self.lists[self.tasks[name].new.priority].insert(0, name)

    def reap(self, limit: int) -> list[ModelTask]:
        """Ends leases that ran out; gives their tasks."""
        leased = self.in_state(TaskState.IN_PROGRESS)
        over = [task for task in leased if task.time_ms <= self.now_ms][:limit]
        for task in over:
            task.ending = Ending.EXPIRE
            if task.attempt == task.new.max_attempts:
                task.state, task.time_ms = TaskState.FAILED, self.now_ms
            else:
                task.state, task.time_ms = TaskState.PENDING, task.since_ms
        self.expired += len(over)
        self._put_at_head([task.name for task in over if task.state == TaskState.PENDING])
        return over

    def prune(self, age_ms: int, limit: int, states: Sequence[TaskState]) -> int:
        """Deletes tasks that ended longer ago, of one state after the other."""
        ended = [task for state in states for task in self.in_state(state)]
        old = [task for task in ended if task.time_ms < self.now_ms - age_ms][:limit]
        for task in old:
            del self.tasks[task.name]
        return len(old)
