"""What has to change so that a server has what a file says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from codeq_grpc.cli.exporting import document_of, queues_of
from codeq_grpc.core.errors import QueueNotFound, ScheduleNotFound
from codeq_grpc.files import messages
from codeq_grpc.files.model import QueueEntry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from codeq.v1.schedule_service_pb2 import Schedule
    from codeq_grpc.cli.settings_files import SettingsFile
    from codeq_grpc.cli.stepwise import StepwiseClient
    from codeq_grpc.files.model import ScheduleEntry

Entry = dict[str, Any]
_PAGE: Final = 1_000
_FEW: Final = 100
"""Schedules that are read one by one, rather than all that there are."""
_CHANGING: Final = {"paused", "pause_reason"}


class Step(NamedTuple):
    """One change: of `before` into `after`, either None if there is none."""

    kind: Literal["queue", "schedule"]
    name: str
    before: Entry | None
    after: Entry | None
    etag: str = ""
    """Of the schedule that was read."""

    @property
    def word(self) -> str:
        """What it is: `create`, `update` or `delete`."""
        if self.before is None:
            return "create"
        return "delete" if self.after is None else "update"

    @property
    def place(self) -> tuple[str, str]:
        """Where it stands in a file."""
        return f"{self.kind}s", self.name

    @property
    def paths(self) -> list[str]:
        """The fields that differ."""
        before, after = self.before or {}, self.after or {}
        names = dict.fromkeys((*before, *after))
        found = [name for name in names if before.get(name) != after.get(name)]
        # Why it was paused goes with the pause.
        return list(dict.fromkeys([*found, *["pause_reason"] * ("paused" in found)]))


class Plan:
    """The steps for a file; `same` counts what is as it says already."""

    def __init__(self, client: StepwiseClient, source: SettingsFile, *, prune: bool) -> None:
        self._client = client
        self._source = source
        self._prune = prune
        self.steps: list[Step] = []
        self.same = 0

    async def make(self) -> None:
        """Reads what there is. What cannot be is told, and is among the problems of the source.

        Raises:
            CodeQError: A call failed.
        """
        file = self._source.file
        if file.queues is not None:
            async for step in self._queues(file.queues):
                self._add(step)
        if file.schedules is not None:
            async for step in self._schedules(file.schedules):
                self._add(step)

    def _add(self, step: Step) -> None:
        if step.after is not None and not step.paths:
            self.same += 1
        else:
            self.steps.append(step)

    async def _queues(self, entries: dict[str, QueueEntry | None]) -> AsyncIterator[Step]:
        for name, given in sorted(entries.items()):
            entry = given or QueueEntry()
            try:
                queue = await self._client.get_queue(name, only_set=True)
                before = messages.queue_entry(queue).document()
            except QueueNotFound:
                before = {}
            yield Step("queue", name, *_compared(before, entry.document()))
        if self._prune:
            for name, before in (await queues_of(self._client)).items():
                if name not in entries:
                    yield Step("queue", name, *_compared(before, {}))

    async def _schedules(self, entries: dict[str, ScheduleEntry]) -> AsyncIterator[Step]:
        found = await self._read(list(entries))
        for name, entry in sorted(entries.items()):
            schedule = found.get(name)
            if schedule is None:
                yield Step("schedule", name, None, entry.document())
            elif schedule.system:
                told = "is a part of codeQ and cannot be changed"
                self._source.wrong(("schedules", name), told)
            else:
                before = document_of(schedule)
                both = _compared(before, entry.document())
                yield Step("schedule", name, *both, etag=schedule.etag)
        if self._prune:
            for name, schedule in sorted(found.items()):
                if name not in entries and not schedule.system:
                    before = document_of(schedule)
                    yield Step("schedule", name, before, None)

    async def _read(self, names: list[str]) -> dict[str, Schedule]:
        found: dict[str, Schedule] = {}
        if self._prune or len(names) > _FEW:
            async for schedule in self._client.schedules(page_size=_PAGE):
                found[schedule.schedule_id] = schedule
            return found
        for name in names:
            try:
                found[name] = await self._client.get_schedule(name)
            except ScheduleNotFound:
                continue
        return found


def _compared(before: Entry, after: Entry) -> tuple[Entry, Entry]:
    """Whether it is paused counts only where the file has a word about it."""
    if "paused" not in after:
        kept = {name: value for name, value in before.items() if name not in _CHANGING}
        return kept, {name: value for name, value in after.items() if name not in _CHANGING}
    before = {**before, "paused": bool(before.get("paused"))}
    if "pause_reason" not in after or not after["paused"]:
        before.pop("pause_reason", None)
        after = {name: value for name, value in after.items() if name != "pause_reason"}
    return before, after
