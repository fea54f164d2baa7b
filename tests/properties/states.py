"""What a queue is made of in the model, and how a task goes from one state to the next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from codeq_grpc.core.queues import QueueSettings
from codeq_grpc.core.task import TaskState
from tests.properties.lists import Lists

if TYPE_CHECKING:
    from codeq_grpc.core.retry import RetryPolicy
    from tests.properties.tasks import ModelTask


_LITTLE_MS: Final = 2_000
"""A step back of the clock that is waited out."""


@dataclass(slots=True)
class Remembered:
    """Of an idempotency key; `final` is the state in which its task was deleted."""

    name: bytes
    payload: int
    window_ms: int
    final: int = 0


@dataclass
class QueueBase:
    """One queue. The test moves `clock_ms`; the queue's own time does not go back a little."""

    policy: RetryPolicy
    default_lease_ms: int
    clock_ms: int
    seen_ms: int = 0
    purged_ms: int = 0
    to_sweep: bool = False
    to_unpark: bool = False
    settings: QueueSettings = field(default_factory=QueueSettings)
    tasks: dict[bytes, ModelTask] = field(default_factory=dict)
    keys: dict[str, Remembered] = field(default_factory=dict)
    totals: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("enqueued", "completed", "failed", "expired"), 0)
    )
    lists: Lists = field(init=False)

    def __post_init__(self) -> None:
        self.lists = Lists(self.tasks, self.is_purged)

    @property
    def now_ms(self) -> int:
        """Not before the numbers given out, but for a step back of the clock that is not little;
        and past a purge, until that is swept.
        """
        now = self.clock_ms if self.seen_ms - self.clock_ms > _LITTLE_MS else self.seen_ms
        return max(now, self.clock_ms, self.purged_ms + 1 if self.purged_ms else 0)

    def is_purged(self, task: ModelTask) -> bool:
        """Whether it is cancelled by a purge, and not swept yet."""
        return task.unheld and task.changed_ms <= self.purged_ms

    def seen_state(self, name: bytes) -> int:
        """As callers see it; 0 if there is no such task."""
        task = self.tasks.get(name)
        if task is None:
            return 0
        return TaskState.CANCELLED if self.is_purged(task) else task.state

    def in_state(self, *states: TaskState) -> list[ModelTask]:
        """By time, then by age, whatever a purge says."""
        found = [task for task in self.tasks.values() if task.state in states]
        return sorted(found, key=lambda task: (task.time_ms, task.name))

    def touch(self, task: ModelTask) -> None:
        task.changed_ms = self.now_ms

    def flush(self) -> None:
        """Into the lists, what a call made pending."""
        self.lists.flush(self.touch)

    def leave(self, task: ModelTask, to: TaskState) -> None:
        """Whoever goes on lets others in: who held the key, or was let in to take it."""
        let_in = task.state == TaskState.PENDING and to != TaskState.IN_PROGRESS and not task.parked
        if task.key and (task.held or let_in):
            self.lists.free(task.key, task.name)
        task.parked = False

    def move(
        self, task: ModelTask, state: TaskState, time_ms: int, *, at_head: bool = False
    ) -> None:
        self.leave(task, state)
        if task.state == TaskState.BLOCKED and state != TaskState.BLOCKED:
            task.parents = []
        task.state, task.time_ms = state, time_ms
        task.put_off_ms, task.unexpiring = 0, False
        if state == TaskState.PENDING:
            self.lists.add(task, at_head=at_head)
        if task.ended:
            task.owes = task.followed
        self.touch(task)

    def promote(self, limit: int) -> int:
        """Due tasks become pending, at the tail; gives how many."""
        scheduled = sorted(
            (max(task.time_ms, task.put_off_ms), task.name)
            for task in self.in_state(TaskState.SCHEDULED)
        )
        count = 0
        for task in [self.tasks[name] for at, name in scheduled if at <= self.now_ms][:limit]:
            if self.is_purged(task):
                task.put_off_ms = self.now_ms + 60_000
            else:
                self.move(task, TaskState.PENDING, task.time_ms)
                count += 1
        return count
