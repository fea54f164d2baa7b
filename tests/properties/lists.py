"""The model of what can be claimed: lists by priority, and tasks parked for a concurrency key.

Entries of lists may be stale: cancelling, replacing and purging leave them for claims to pass over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from codeq_grpc.core.task import TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.properties.tasks import ModelTask


@dataclass(slots=True)
class Lists:
    """Changes of one call are collected, and written by `flush` as the scripts do."""

    tasks: dict[bytes, ModelTask]
    is_purged: Callable[[ModelTask], bool]
    by_priority: dict[int, list[bytes]] = field(default_factory=lambda: {p: [] for p in range(10)})
    holders: dict[str, list[bytes]] = field(default_factory=dict)
    limit: int = 0
    _tails: list[ModelTask] = field(default_factory=list)
    _heads: list[ModelTask] = field(default_factory=list)
    _freed: dict[str, list[bytes]] = field(default_factory=dict)

    def add(self, task: ModelTask, *, at_head: bool = False) -> None:
        """It is pending now."""
        (self._heads if at_head else self._tails).append(task)

    def free(self, key: str, *names: bytes) -> None:
        """Somebody lets go of a key, or may have."""
        self._freed.setdefault(key, []).extend(names)

    def push_tails(self) -> None:
        """Claims see what they have promoted themselves."""
        for task in self._tails:
            self.by_priority[task.priority].append(task.name)
        self._tails.clear()

    def _put_at_head(self, tasks: Iterable[ModelTask]) -> None:
        for task in reversed(list(tasks)):
            self.by_priority[task.priority].insert(0, task.name)

    def flush(self, changed: Callable[[ModelTask], None]) -> None:
        """New ones at the tail, then those let in, and in front of them those given back."""
        unparked = self._release(changed)
        self.push_tails()
        self._put_at_head(unparked)
        self._put_at_head(self._heads)
        self._heads.clear()

    def living(self, key: str, taken: Iterable[bytes] = ()) -> list[bytes]:
        """Of those that hold a key, the ones that are in progress."""
        return [
            name
            for name in self.holders.get(key, [])
            if name in taken
            or (name in self.tasks and self.tasks[name].held and self.tasks[name].key == key)
        ]

    def parked_under(self, key: str) -> list[ModelTask]:
        """In the order in which they go."""
        found = [
            task
            for task in self.tasks.values()
            if task.parked and task.key == key and not self.is_purged(task)
        ]
        return sorted(found, key=lambda task: (-task.priority, task.name))

    def _release(self, changed: Callable[[ModelTask], None]) -> list[ModelTask]:
        unparked: list[ModelTask] = []
        freed, self._freed = self._freed, {}
        for key, names in freed.items():
            left = [name for name in self.holders.pop(key, []) if name not in names]
            if left:
                self.holders[key] = left
            if self.limit and len(left) >= self.limit:
                left = self.living(key)
                self.holders[key] = left
            room = self.limit - len(left) if self.limit else 500
            for task in self.parked_under(key)[: max(0, room)]:
                task.parked = False
                changed(task)
                unparked.append(task)
        return unparked

    def pick(
        self, want: int, max_bytes: int, now_ms: int, changed: Callable[[ModelTask], None]
    ) -> list[ModelTask]:
        """What a claim takes; everything that it has seen leaves the lists."""
        chosen: list[ModelTask] = []
        for priority in range(9, -1, -1):
            names = self.by_priority[priority]
            while names and len(chosen) < want:
                task = self.tasks.get(names[0])
                if task is not None and self._is_claimable(task, priority, now_ms):
                    taken = {one.name for one in chosen}
                    size = task.new.size + task.new.payload
                    if task.name not in taken:
                        if chosen and size > max_bytes:
                            return chosen
                        if self._admits(task, taken, changed):
                            max_bytes -= size
                            chosen.append(task)
                names.pop(0)
        return chosen

    def _is_claimable(self, task: ModelTask, priority: int, now_ms: int) -> bool:
        if task.state != TaskState.PENDING or task.priority != priority or self.is_purged(task):
            return False
        return not task.expire_ms or task.expire_ms > now_ms

    def _admits(
        self, task: ModelTask, taken: set[bytes], changed: Callable[[ModelTask], None]
    ) -> bool:
        if not self.limit or not task.key:
            return True
        names = self.holders.get(task.key, [])
        if len(names) >= self.limit:
            names = self.living(task.key, taken)
        if len(names) >= self.limit:
            if not task.parked:
                task.parked = True
                changed(task)
            return False
        self.holders[task.key] = [*[name for name in names if name != task.name], task.name]
        return True
