"""What `codeq schedules update` makes of a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from codeq_grpc.client import rules

if TYPE_CHECKING:
    from codeq.v1.schedule_service_pb2 import Schedule
    from codeq_grpc.cli.schedule_options import Given

_TASK: Final = {
    **{name: name for name in ("payload", "priority", "lease_duration", "attempt_timeout")},
    **{name: name for name in ("concurrency_key", "headers")},
    "task_labels": "labels",
}
"""What `--clear` takes of a task -> its field."""


class Update:
    """A change of a schedule; `paths` are the fields that it is about."""

    def __init__(self, given: Given, cleared: tuple[str, ...]) -> None:
        if not (given.names or cleared):
            raise click.UsageError("what is to change?")
        for name in cleared:
            if name in given.names:
                raise click.UsageError(f"{name} is given and cleared")
        self._given = given
        self._cleared = [_TASK[name] for name in cleared if name in _TASK]
        self._changes: Any = {
            **given.schedule(),
            **{name: None for name in cleared if name not in _TASK},
        }
        self.paths = list(rules.mask(self._changes).paths)
        if given.has_task or self._cleared:
            self.paths.append("task")

    def __call__(self, schedule: Schedule) -> None:
        """Makes it."""
        rules.change(schedule, self._changes)
        for name in self._cleared:
            schedule.task.ClearField(name)
        self._given.change_task(schedule.task)
