"""Schedules that people send, checked: what is stored of them, and what a change makes of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from codeq.v1 import schedule_service_pb2 as pb
from codeq_grpc.core import limits
from codeq_grpc.core.errors import InvalidField
from codeq_grpc.core.firing import Change
from codeq_grpc.core.schedules import Mark, Misfire, NewSchedule, Overlap
from codeq_grpc.rules.rule import Rule
from codeq_grpc.rules.spec import RuleError, RuleSpec
from codeq_grpc.wire.checks import (
    check_labels,
    check_number,
    check_text,
    duration_ms,
    timestamp_ms,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.field_mask_pb2 import FieldMask

    from codeq.v1 import task_pb2
    from codeq_grpc.core.schedules import Stored

_ID: Final = re.compile(rf"[A-Za-z0-9._:-]{{1,{limits.SCHEDULE_ID_CHARS}}}")
_ETAG: Final = re.compile(r"([0-9a-f]{14})-([1-9][0-9]{0,15})")
_PREFIX: Final = re.compile(rf"[A-Za-z0-9._:-]{{0,{limits.SCHEDULE_ID_CHARS}}}")
_KEPT: Final = (
    *("description", "spec", "task", "overlap_policy", "misfire_policy", "misfire_grace"),
    *("max_firings", "pause_after_failures", "labels"),
)
"""Fields of a version; `paused` and `pause_reason` are no part of one."""
SETTABLE: Final = frozenset({*_KEPT, "paused", "pause_reason"})
_FIRING_SETS: Final = (
    *("run_time", "expire_time", "depends_on"),
    *("idempotency_key", "idempotency_ttl", "conflict_policy"),
)
"""Fields of a task that a firing sets itself or has no use for."""
_MS: Final = 1_000_000
_PATH: Final = "schedule"


def check_schedule_id(schedule_id: str, path: str) -> str:
    """A caller's name for a schedule."""
    if not _ID.fullmatch(schedule_id):
        problem = f"must be 1 to {limits.SCHEDULE_ID_CHARS} letters, digits and ._:- characters"
        raise InvalidField.at(path, problem)
    return schedule_id


def check_prefix(prefix: str, path: str) -> str:
    """What ids may begin with."""
    if not _PREFIX.fullmatch(prefix):
        problem = f"must be at most {limits.SCHEDULE_ID_CHARS} letters, digits and ._:- characters"
        raise InvalidField.at(path, problem)
    return prefix


def check_ids(schedule_ids: list[str], path: str) -> list[str]:
    """Some schedules, each once."""
    if not 1 <= len(schedule_ids) <= limits.BATCH_SCHEDULES:
        raise InvalidField.at(path, f"must have 1 to {limits.BATCH_SCHEDULES} entries")
    for i, schedule_id in enumerate(schedule_ids):
        check_schedule_id(schedule_id, f"{path}[{i}]")
    if len(set(schedule_ids)) != len(schedule_ids):
        raise InvalidField.at(path, "must not name a schedule twice")
    return schedule_ids


def rule_of(spec: pb.ScheduleSpec, path: str) -> Rule:
    """The rule that a spec is. Raises InvalidField."""
    every = start = end = None
    jitter = 0
    if spec.HasField("every"):
        least, most = limits.SCHEDULE_EVERY_MIN_MS, limits.SCHEDULE_EVERY_MAX_MS
        every = _whole_ms(spec.every, f"{path}.every", least, most)
    if spec.HasField("jitter"):
        jitter = _whole_ms(spec.jitter, f"{path}.jitter", 0, limits.SCHEDULE_JITTER_MAX_MS)
    if spec.HasField("start_time"):
        start = timestamp_ms(spec.start_time, f"{path}.start_time")
    if spec.HasField("end_time"):
        end = timestamp_ms(spec.end_time, f"{path}.end_time")
    if len(spec.times) > limits.SCHEDULE_TIMES:
        problem = f"must have at most {limits.SCHEDULE_TIMES} entries"
        raise InvalidField.at(f"{path}.times", problem)
    times = [timestamp_ms(time, f"{path}.times[{i}]") for i, time in enumerate(spec.times)]
    try:
        wanted = RuleSpec(
            tuple(spec.crons), every, tuple(times), spec.time_zone, start, end, jitter
        )
        return Rule(wanted)
    except RuleError as error:
        raise InvalidField.at(f"{path}.{error.field}", error.message) from None


def _whole_ms(duration: Duration, path: str, least: int, most: int) -> int:
    if duration.nanos % _MS:
        raise InvalidField.at(path, "must be in whole milliseconds")
    return duration_ms(duration, path, least, most)


class ScheduleChecker:
    """Checks schedules. `check_task` checks the task of a body as a firing would have it, gives its
    command, and raises InvalidField with paths that begin with `schedule.task`.
    """

    def __init__(self, check_task: Callable[[bytes], str]) -> None:
        self._check_task = check_task

    def created(self, schedule: pb.Schedule, who: str, why: str = "") -> Change:
        """A new schedule. What only the server sets counts for nothing."""
        kept = pb.Schedule(created_by=who)
        _merge(schedule, kept, [name for name in _KEPT if _is_set(schedule, name)])
        wanted = pb.Schedule(paused=schedule.paused, pause_reason=schedule.pause_reason)
        return self._checked(kept, wanted, who, why)

    def changed(
        self, update: pb.Schedule, mask: FieldMask, who: str, why: str
    ) -> Callable[[Stored], Change]:
        """What an update makes of what is stored. Raises InvalidField."""
        for i, name in enumerate(mask.paths):
            if name not in SETTABLE:
                problem = f"{name!r} is not a field of a schedule that can be changed"
                raise InvalidField.at(f"update_mask.paths[{i}]", problem)
        names = list(mask.paths) or [name for name in SETTABLE if _is_set(update, name)]
        versioned = [name for name in names if name in _KEPT]
        # What is wrong is told whether there is such a schedule or not.
        alone = pb.Schedule()
        _merge(update, alone, names)
        _check_plain(alone)
        if "spec" in names:
            rule_of(alone.spec, f"{_PATH}.spec")
        if "task" in names:
            self._check_task(alone.SerializeToString())

        def change(stored: Stored) -> Change:
            row, kept = stored.row, pb.Schedule.FromString(stored.record.body)
            _merge(update, kept, versioned)
            wanted = None
            if not {"paused", "pause_reason"}.isdisjoint(names):
                wanted = pb.Schedule(
                    paused=update.paused if "paused" in names else row.paused,
                    pause_reason=update.pause_reason
                    if "pause_reason" in names
                    else row.pause_reason,
                )
            return self._checked(kept, wanted, who, why, stored)

        return change

    def rolled_back(self, body: bytes, who: str, why: str) -> Callable[[Stored], Change]:
        """An earlier version as the current one."""

        def change(stored: Stored) -> Change:
            return self._checked(pb.Schedule.FromString(body), None, who, why, stored)

        return change

    def _checked(
        self,
        kept: pb.Schedule,
        wanted: pb.Schedule | None,
        who: str,
        why: str,
        stored: Stored | None = None,
    ) -> Change:
        numbers = _check_plain(kept)
        rule = rule_of(kept.spec, f"{_PATH}.spec")
        paused, reason = (wanted.paused, wanted.pause_reason) if wanted is not None else (None, "")
        check_text(reason, f"{_PATH}.pause_reason", limits.PAUSE_REASON_CHARS)
        body = kept.SerializeToString(deterministic=True)
        command = self._check_task(body)
        if len(body) > limits.SCHEDULE_BYTES:
            raise InvalidField.at(_PATH, f"must have at most {limits.SCHEDULE_BYTES} bytes")
        new = NewSchedule(
            body=body,
            command=command,
            creator=kept.created_by,
            labels=tuple(sorted(kept.labels.items())),
            overlap=Overlap(kept.overlap_policy or Overlap.ALLOW),
            misfire=Misfire(kept.misfire_policy or Misfire.FIRE_ONCE),
            grace_ms=numbers[0],
            max_firings=numbers[1],
            pause_after_failures=numbers[2],
            paused=paused,
            pause_reason=reason if paused else "",
            by=who,
            why=why,
        )
        return Change(new, rule, stored is None or _is_retimed(kept, paused, stored))


def _is_retimed(kept: pb.Schedule, paused: bool | None, stored: Stored) -> bool:  # noqa: FBT001
    """Whether it fires at other times than before. One that goes on after a pause, or its end, does
    not make up for it; but what is due, and still to be fired, is not lost to another change.
    """
    row, before = stored.row, pb.Schedule.FromString(stored.record.body).spec
    resumed = row.paused and paused is False
    return resumed or row.ended or _bytes(before) != _bytes(kept.spec)


def _bytes(spec: pb.ScheduleSpec) -> bytes:
    return spec.SerializeToString(deterministic=True)


def _check_plain(schedule: pb.Schedule) -> tuple[int, int, int]:
    """All but rule and task; grace, firings and failures."""
    check_text(schedule.description, f"{_PATH}.description", limits.DESCRIPTION_CHARS)
    check_text(schedule.pause_reason, f"{_PATH}.pause_reason", limits.PAUSE_REASON_CHARS)
    check_labels(schedule.labels, f"{_PATH}.labels")
    for name in _FIRING_SETS:
        if _is_set(schedule.task, name):
            problem = "must not be set: a firing sets it, or has no use for it"
            raise InvalidField.at(f"{_PATH}.task.{name}", problem)
    for name, policies in (
        ("overlap_policy", pb.OverlapPolicy.values()),
        ("misfire_policy", pb.MisfirePolicy.values()),
    ):
        if getattr(schedule, name) not in policies:
            raise InvalidField.at(f"{_PATH}.{name}", "is not a known policy")
    grace = limits.MISFIRE_GRACE_DEFAULT_MS
    if schedule.HasField("misfire_grace"):
        least, most = limits.MISFIRE_GRACE_MIN_MS, limits.MISFIRE_GRACE_MAX_MS
        grace = _whole_ms(schedule.misfire_grace, f"{_PATH}.misfire_grace", least, most)
    firings = check_number(schedule.max_firings, f"{_PATH}.max_firings", 0, limits.FIRINGS_MAX)
    failures = check_number(
        schedule.pause_after_failures, f"{_PATH}.pause_after_failures", 0, limits.FAILURES_MAX
    )
    return grace, int(firings), int(failures)


def _is_set(message: pb.Schedule | task_pb2.TaskSpec, name: str) -> bool:
    return any(field.name == name for field, _ in message.ListFields())


def _merge(source: pb.Schedule, target: pb.Schedule, names: list[str]) -> None:
    for name in names:
        target.ClearField(name)
        if name == "labels":
            target.labels.update(source.labels)
        elif target.DESCRIPTOR.fields_by_name[name].message_type is None:
            setattr(target, name, getattr(source, name))
        elif source.HasField(name):
            getattr(target, name).CopyFrom(getattr(source, name))


def expected(etag: str, path: str) -> Mark | None:
    """The version that an etag stands for, None for any."""
    if not etag:
        return None
    found = _ETAG.fullmatch(etag)
    if found is None:
        raise InvalidField.at(path, "is not an etag that a schedule had")
    return Mark(bytes.fromhex(found[1]), int(found[2]))


def etag_of(mark: Mark) -> str:
    """What stands for a version: of this schedule, not of another that had its name before."""
    return f"{mark.number.hex()}-{mark.version}"
