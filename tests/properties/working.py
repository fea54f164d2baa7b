"""What workers do to a queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from codeq_grpc.core.task import Ending, TaskState
from tests.properties.states import QueueBase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.properties.tasks import ModelTask, Outcome


@dataclass
class Working(QueueBase):
    """Claim, heartbeat, report."""

    def may_claim(self, want: int) -> int:
        """How many tasks the limits of the queue allow."""
        if self.settings.paused:
            return 0
        if self.settings.max_in_progress:
            leased = len(self.in_state(TaskState.IN_PROGRESS))
            want = min(want, self.settings.max_in_progress - leased)
        return max(0, want)

    def claim(self, want: int, max_bytes: int) -> list[ModelTask]:
        """What a claim gives, after promoting what is due."""
        want = self.may_claim(want)
        if not want:
            return []
        self.promote(500)
        self.lists.push_tails()
        chosen = self.lists.pick(want, max_bytes, self.now_ms, self.touch)
        self.flush()
        return chosen

    def lease(self, task: ModelTask, fence: int, lease_ms: int) -> None:
        """Hands a pending task out."""
        now = self.now_ms
        self.seen_ms = max(self.seen_ms, now)
        asked = lease_ms or task.new.lease_ms or self.settings.lease_ms
        task.lease_ms = asked or self.default_lease_ms
        task.since_ms, task.start_ms = task.time_ms, now
        self.move(task, TaskState.IN_PROGRESS, self._capped(task, now + task.lease_ms))
        task.attempt, task.fence, task.ending = task.attempt + 1, fence, Ending.NONE

    @staticmethod
    def _capped(task: ModelTask, time_ms: int) -> int:
        if task.expire_ms:
            time_ms = min(time_ms, task.expire_ms)
        if task.new.timeout_ms:
            time_ms = min(time_ms, task.start_ms + task.new.timeout_ms)
        return time_ms

    def holds(self, name: bytes, fence: int) -> bool:
        """Whether this lease is the current one, and not over."""
        task = self.tasks.get(name)
        return task is not None and task.held and task.fence == fence and task.time_ms > self.now_ms

    def heartbeat(self, name: bytes, fence: int, extend_ms: int) -> bytes:
        """Extends a lease."""
        if name not in self.tasks:
            return b"UNKNOWN"
        if not self.holds(name, fence):
            return b"LOST"
        task = self.tasks[name]
        end = self._capped(task, self.now_ms + (extend_ms or task.lease_ms))
        task.time_ms = max(task.time_ms, end)
        self.touch(task)
        return b"CANCEL" if task.cancelling else b"EXTENDED"

    def report(self, outcomes: Sequence[Outcome]) -> list[bytes]:
        """Ends attempts."""
        words = [self._report(outcome) for outcome in outcomes]
        self.flush()
        return words

    def _report(self, outcome: Outcome) -> bytes:
        task = self.tasks.get(outcome.name)
        if task is None:
            return b"UNKNOWN"
        if self.holds(outcome.name, outcome.fence):
            task.ending = outcome.ending
            self._end(task, outcome)
            return b"DONE"
        over = task.fence == outcome.fence and not task.held
        return b"REPEATED" if over and task.ending == outcome.ending else b"LOST"

    def _end(self, task: ModelTask, outcome: Outcome) -> None:
        cancelling, task.cancelling = task.cancelling, False
        if outcome.ending == Ending.COMPLETE:
            task.has_payload = task.has_payload and self.settings.retain_payload
            self.totals["completed"] += 1
            self.move(task, TaskState.COMPLETED, self.now_ms)
            return
        if outcome.ending == Ending.ABANDON:
            task.attempt -= 1
        else:
            self._fail(task)
        if cancelling:
            self.move(task, TaskState.CANCELLED, self.now_ms)
        elif outcome.ending == Ending.ABANDON:
            self._put_back(task, outcome.delay_ms or 0, task.since_ms)
        elif self._is_final(task, outcome):
            self.move(task, TaskState.FAILED, self.now_ms)
        else:
            delay_ms = outcome.delay_ms
            self._put_back(task, self._backoff(task) if delay_ms is None else delay_ms, None)

    def _fail(self, task: ModelTask) -> None:
        self.totals["failed"] += 1
        task.history = min(20, task.history + 1)

    def _put_back(self, task: ModelTask, delay_ms: int, since_ms: int | None) -> None:
        if delay_ms:
            self.move(task, TaskState.SCHEDULED, self.now_ms + delay_ms)
        else:
            since = self.now_ms if since_ms is None else since_ms
            self.move(task, TaskState.PENDING, since, at_head=since_ms is not None)

    def _is_final(self, task: ModelTask, outcome: Outcome) -> bool:
        types = task.new.retry.non_retryable or self.settings.retry.non_retryable
        used_up = task.attempt >= task.max_attempts
        return outcome.no_retry or used_up or outcome.error_type in types

    def _backoff(self, task: ModelTask) -> int:
        wishes = (task.new.retry, self.settings.retry)

        def value(name: str, default: float) -> float:
            said = [getattr(wish, name) for wish in wishes if getattr(wish, name) is not None]
            return float(said[0]) if said else default

        first = value("initial_backoff_ms", self.policy.initial_backoff_ms)
        growth = value("multiplier", self.policy.multiplier)
        cap = value("max_backoff_ms", self.policy.max_backoff_ms)
        return int(min(cap, first * growth ** (task.attempt - 1)))
