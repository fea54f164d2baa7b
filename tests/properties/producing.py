"""What producers do to a queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from codeq_grpc.core.task import UNHELD, Conflict, TaskState
from tests.properties.states import QueueBase, Remembered
from tests.properties.tasks import ModelTask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.properties.tasks import NewTask

Special = tuple[bytes, bytes, int]
"""Word, name and state of a task that was not simply added."""


@dataclass
class Producing(QueueBase):
    """Enqueue, with idempotency keys."""

    def enqueue(self, names: Sequence[bytes], new: Sequence[NewTask]) -> dict[int, Special]:
        """Adds tasks under the names that the store chose; what is special about some."""
        now = self.now_ms
        self.seen_ms = max(self.seen_ms, now)
        room = self.settings.max_backlog - len(self.unended())
        specials: dict[int, Special] = {}
        plans: dict[bytes, ModelTask] = {}
        for i, wanted in enumerate(new):
            special = self._judge(wanted, names[i], now, plans)
            key = wanted.idempotency
            replaces = key is not None and key.conflict == Conflict.REPLACE
            if wanted.invalid and (special is None or (replaces and special[0] != b"OVERDUE")):
                special = b"INVALID", names[i], 0
            if special is None and self.settings.max_backlog and room < 1:
                special = b"FULL", names[i], 0
            if special is not None:
                specials[i] = special
            if special is None or special[0] == b"REPLACED":
                name = special[1] if special else names[i]
                room -= special is None
                self._remember(wanted, name, now)
                plans.pop(name, None)
                plans[name] = self._make(name, wanted, now)
                self.totals["enqueued"] += special is None
        for task in plans.values():
            self._add(task)
        self.flush()
        return specials

    def unended(self) -> list[ModelTask]:
        return [t for t in self.tasks.values() if not t.ended and not self.is_purged(t)]

    def _make(self, name: bytes, wanted: NewTask, now: int) -> ModelTask:
        time_ms = now + max(0, wanted.delay_ms)
        attempts = wanted.retry.max_attempts or self.settings.retry.max_attempts
        priority = wanted.priority
        if priority is None:
            priority = self.settings.default_priority
        later = TaskState.SCHEDULED if time_ms > now else TaskState.PENDING
        return ModelTask(
            name,
            wanted,
            TaskState.BLOCKED if wanted.parents else later,
            time_ms,
            5 if priority is None else priority,
            attempts or self.policy.max_attempts,
            now + wanted.expire_in_ms if wanted.expire_in_ms else 0,
            now,
            parents=list(wanted.parents),
        )

    def _judge(
        self, wanted: NewTask, name: bytes, now: int, plans: dict[bytes, ModelTask]
    ) -> Special | None:
        overdue = 0 < wanted.expire_in_ms <= max(0, wanted.delay_ms)
        replaces = wanted.idempotency and wanted.idempotency.conflict == Conflict.REPLACE
        # A repeat finds its task, however late it comes.
        found = None if overdue and replaces else self._settle(wanted, name, now, plans)
        return found or ((b"OVERDUE", name, 0) if overdue else None)

    def _settle(
        self, wanted: NewTask, name: bytes, now: int, plans: dict[bytes, ModelTask]
    ) -> Special | None:
        key = wanted.idempotency
        known = self.keys.get(key.text) if key else None
        if key is None or known is None or 0 < known.window_ms <= now:
            return None
        planned = plans.get(known.name)
        state = planned.state if planned else self.seen_state(known.name) or known.final
        task = planned or self.tasks.get(known.name)
        if key.conflict == Conflict.REPLACE:
            overdue = task is not None and 0 < task.expire_ms <= now
            if state not in {*UNHELD, TaskState.IN_PROGRESS} or overdue:
                return None
            if state != TaskState.IN_PROGRESS:
                return b"REPLACED", known.name, self._make(name, wanted, now).state
        if key.conflict != Conflict.USE_EXISTING:
            return b"EXISTS", known.name, state
        same = known.payload == key.payload
        return b"EXISTING" if same else b"MISMATCH", known.name, state

    def _remember(self, wanted: NewTask, name: bytes, now: int) -> None:
        key = wanted.idempotency
        if key:
            window = now + key.ttl_ms if key.ttl_ms else 0
            self.keys[key.text] = Remembered(name, key.payload, window)

    def _add(self, task: ModelTask) -> None:
        old = self.tasks.get(task.name)
        pending = task.state == TaskState.PENDING
        stays = old is not None and old.state == TaskState.PENDING and pending and not old.parked
        if old is not None and not (stays and old.priority == task.priority):
            self.leave(old, task.state)
        if pending and not (stays and old is not None and old.priority == task.priority):
            self.lists.add(task)
        task.followed = old is not None and old.followed
        self.tasks[task.name] = task
