"""What one queue should do, in plain Python: no store, no bytes, nothing clever.

Written from the promises, not from the scripts; `twin.py` holds the two against each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from codeq_grpc.core.task import REDRIVABLE, UNHELD, Ending, TaskState
from tests.properties.producing import Producing
from tests.properties.working import Working

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from codeq_grpc.core.queues import QueueSettings
    from tests.properties.tasks import ModelTask


@dataclass
class QueueModel(Producing, Working):
    """One queue; here what time and operators do to it."""

    def reap(self, limit: int) -> list[ModelTask]:
        """Ends leases that ran out, and tasks that have expired; gives those that were leased."""
        now = self.now_ms
        over = [t for t in self.in_state(TaskState.IN_PROGRESS) if t.time_ms <= now][:limit]
        late = sorted(
            (
                task
                for task in self.tasks.values()
                if 0 < task.expire_ms <= now and not task.ended and not task.unexpiring
            ),
            key=lambda task: (task.expire_ms, task.name),
        )[: limit - len(over)]
        for task in over:
            self._run_out(task)
        leased = list(over)
        for task in late:
            if task in over:
                continue
            if self.is_purged(task):
                task.unexpiring = True
            elif task.held:
                leased.append(task)
                self._run_out(task)
            else:
                self.move(task, TaskState.EXPIRED, now)
        self.flush()
        return leased

    def _run_out(self, task: ModelTask) -> None:
        cancelling, task.cancelling = task.cancelling, False
        task.ending = Ending.EXPIRE
        task.history = min(20, task.history + 1)
        self.totals["expired"] += 1
        if cancelling:
            self.move(task, TaskState.CANCELLED, self.now_ms)
        elif 0 < task.expire_ms <= self.now_ms:
            self.move(task, TaskState.EXPIRED, self.now_ms)
        elif task.attempt >= task.max_attempts:
            self.move(task, TaskState.FAILED, self.now_ms)
        else:
            self.move(task, TaskState.PENDING, task.since_ms, at_head=True)

    def cancel(self, names: Iterable[bytes]) -> list[bytes]:
        """Word for each."""
        words = [self._cancel(name) for name in names]
        self.flush()
        return words

    def _cancel(self, name: bytes) -> bytes:
        state = self.seen_state(name)
        if not state:
            return b"UNKNOWN"
        task = self.tasks[name]
        if task.held:
            task.cancelling = True
            self.touch(task)
            return b"REQUESTED"
        if state == TaskState.CANCELLED:
            return b"CANCELLED"
        if task.ended:
            return b"ENDED"
        self.move(task, TaskState.CANCELLED, self.now_ms)
        return b"CANCELLED"

    def redrive(self, names: Iterable[bytes], delay_ms: int) -> list[bytes]:
        """Word for each."""
        words = [self._redrive(name, delay_ms) for name in names]
        self.flush()
        return words

    def _redrive(self, name: bytes, delay_ms: int) -> bytes:
        state = self.seen_state(name)
        if not state:
            return b"UNKNOWN"
        if state not in REDRIVABLE:
            return b"REFUSED"
        task = self.tasks[name]
        if self._is_superseded(task):
            return b"SUPERSEDED"
        task.attempt, task.ending, task.owes = 0, Ending.NONE, False
        due = self.now_ms + delay_ms
        self.move(task, TaskState.SCHEDULED if delay_ms else TaskState.PENDING, due)
        if task.expire_ms <= due:
            task.expire_ms = 0
        return b"REDRIVEN"

    def _is_superseded(self, task: ModelTask) -> bool:
        """Whether another task has its idempotency key."""
        key = task.new.idempotency
        known = self.keys.get(key.text) if key else None
        if known is None or known.name == task.name or known.name not in self.tasks:
            return False
        return known.window_ms == 0 or known.window_ms > self.now_ms

    def prune(self, age_ms: int, limit: int, states: Sequence[TaskState]) -> int:
        """Deletes tasks that ended longer ago, of one state after the other, and old keys."""
        ended = [task for state in states for task in self.in_state(state)]
        ended.sort(key=lambda task: (states.index(task.state), task.time_ms, task.name))
        old = [task for task in ended if task.time_ms < self.now_ms - age_ms]
        gone = [task for task in old if not task.owes][:limit]
        for task in gone:
            del self.tasks[task.name]
            key = task.new.idempotency
            known = self.keys.get(key.text) if key else None
            if key and known and known.name == task.name:
                known.final = task.state
                if known.window_ms <= self.now_ms:
                    del self.keys[key.text]
        for text in [t for t, known in self.keys.items() if 0 < known.window_ms <= self.now_ms]:
            del self.keys[text]
        return len(gone)

    def purge(self) -> int:
        """Cancels what is neither leased nor ended, by a mark."""
        count = sum(not task.held for task in self.unended())
        self.purged_ms = max(self.now_ms, self.seen_ms)
        self.seen_ms = self.purged_ms + 1
        self.to_sweep = True
        return count

    def sweep(self) -> None:
        """Makes true what a purge says, and lets in whom new settings allow."""
        for task in list(self.tasks.values()) if self.to_sweep else ():
            if self.is_purged(task):
                self.move(task, TaskState.CANCELLED, self.purged_ms)
        if self.to_unpark:
            for key in sorted({task.key for task in self.tasks.values() if task.parked}):
                self.lists.free(key)
        self.flush()
        self.purged_ms = 0 if self.to_sweep else self.purged_ms
        self.to_sweep = self.to_unpark = False

    def configure(self, settings: QueueSettings) -> None:
        """New settings hold at once."""
        self.settings, self.to_unpark = settings, True
        self.lists.limit = settings.max_in_progress_per_key

    def deliver(self) -> None:
        """Whoever is blocked hears of those that it depends on."""
        while changed := [task for task in self.tasks.values() if self._hears(task)]:
            for task in changed:
                self._resolve(task)
        for task in self.tasks.values():
            task.followed = task.followed and not task.owes
            task.owes = False
        self.flush()

    def _heard_state(self, task: ModelTask, name: bytes) -> int:
        """Before it follows others a task asks how they are; afterwards they tell it."""
        parent = self.tasks.get(name)
        if parent is None or not task.follows:
            return self.seen_state(name)
        return parent.state if parent.owes else TaskState.PENDING

    def _hears(self, task: ModelTask) -> bool:
        if task.state != TaskState.BLOCKED or self.is_purged(task):
            return False
        states = [self._heard_state(task, name) for name in task.parents]
        return not task.follows or any(s not in {*UNHELD, TaskState.IN_PROGRESS} for s in states)

    def _resolve(self, task: ModelTask) -> None:
        states = {name: self._heard_state(task, name) for name in task.parents}
        for name in task.parents if not task.follows else ():
            if states[name] in {*UNHELD, TaskState.IN_PROGRESS}:
                self.tasks[name].followed = True
        task.follows = True
        task.parents = [n for n, s in states.items() if s != TaskState.COMPLETED]
        going = {*UNHELD, TaskState.IN_PROGRESS, TaskState.COMPLETED}
        if any(state not in going for state in states.values()):
            self.move(task, TaskState.FAILED, self.now_ms)
        elif not task.parents:
            due = task.time_ms > self.now_ms
            state = TaskState.SCHEDULED if due else TaskState.PENDING
            self.move(task, state, task.time_ms if due else self.now_ms)
