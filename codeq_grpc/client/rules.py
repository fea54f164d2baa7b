"""Schedules from Python values: when to fire, and what to enqueue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypedDict

from google.protobuf.field_mask_pb2 import FieldMask

from codeq.v1 import schedule_service_pb2 as pb
from codeq_grpc.client import names, options as keywords
from codeq_grpc.client.specs import Span, aware, duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime
    from typing import Unpack

    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp

    from codeq.v1.task_pb2 import TaskSpec


class RuleOptions(TypedDict, total=False):
    """When to fire: the union of all that is given; None is nothing of the kind."""

    crons: str | Iterable[str] | None
    """5 fields, 6 with seconds first, or @hourly, @daily and the like; up to 16."""
    every: Span | None
    """Every so often, counted from 1970-01-01 00:00 UTC; 1 s to 366 days."""
    times: Iterable[datetime] | None
    """Up to 1000 aware times."""
    time_zone: str | None
    """IANA zone of the crons, e.g. "Europe/Berlin"; UTC by default."""
    start_time: datetime | None
    """Not before this aware time."""
    end_time: datetime | None
    """Before this aware time."""
    jitter: Span | None
    """Later by a random time, the same one for a fire time always, up to this; at most 24 h."""


class ScheduleOptions(RuleOptions, total=False):
    """What a schedule may have besides name and task; None goes back to the default."""

    description: str | None
    """For people."""
    overlap_policy: pb.OverlapPolicy | str | None
    """The task before has not ended: "allow", the default, "skip", "buffer_one" or
    "cancel_previous"."""
    misfire_policy: pb.MisfirePolicy | str | None
    """Fire times that passed while no server was up: "fire_once", the default, "skip" or
    "fire_all"."""
    misfire_grace: Span | None
    """Later than this is a misfire, 1 s to 366 days; 5 minutes by default."""
    max_firings: int | None
    """So many in all; 0 is no limit."""
    pause_after_failures: int | None
    """Pauses by itself after so many failed tasks in a row; 0 is never."""
    labels: Mapping[str, str] | None
    """For finding the schedule again, up to 16."""


class ScheduleChanges(ScheduleOptions, total=False):
    """What can be changed of a schedule."""

    task: TaskSpec
    """What to enqueue, made by `spec`."""


def rule(**options: Unpack[RuleOptions]) -> pb.ScheduleSpec:
    """When to fire.

    Raises:
        TypeError: There is no such option.
        ValueError: A time is naive.
    """
    keywords.check(options, RuleOptions)
    made = pb.ScheduleSpec()
    for name, value in options.items():
        if value is not None:
            _RULES[name](made, name, value)
    return made


def schedule(schedule_id: str, **options: Unpack[ScheduleChanges]) -> pb.Schedule:
    """A schedule of this name.

    Raises:
        TypeError: There is no such option.
        ValueError: A time is naive, or there is no such policy.
    """
    made = pb.Schedule(schedule_id=schedule_id)
    change(made, options)
    return made


def change(made: pb.Schedule, options: ScheduleChanges) -> None:
    """Sets what is given, and clears what is None.

    Raises:
        TypeError: There is no such option.
        ValueError: A time is naive, or there is no such policy.
    """
    keywords.check(options, ScheduleChanges)
    for name, value in options.items():
        holder, setters = (made.spec, _RULES) if name in _RULES else (made, _FIELDS)
        holder.ClearField(name)
        if value is not None:
            setters.get(name, _plain)(holder, name, value)


def has_rules(options: Iterable[str]) -> bool:
    """Whether any of them are a part of `spec`, which changes as a whole."""
    return not _RULES.keys().isdisjoint(options)


def mask(options: Iterable[str]) -> FieldMask:
    """The fields that options are for."""
    return FieldMask(paths=dict.fromkeys("spec" if name in _RULES else name for name in options))


def _plain(made: Message, name: str, value: object) -> None:
    kind: Callable[..., Message] = type(made)
    made.MergeFrom(kind(**{name: value}))


def _crons(made: pb.ScheduleSpec, _: str, value: str | Iterable[str]) -> None:
    made.crons.extend([value] if isinstance(value, str) else value)


def _times(made: pb.ScheduleSpec, name: str, value: Iterable[datetime]) -> None:
    for at in value:
        made.times.add().FromDatetime(aware(name, at))


def _time(made: pb.ScheduleSpec, name: str, value: datetime) -> None:
    message: Timestamp = getattr(made, name)
    message.FromDatetime(aware(name, value))


def _span(made: Any, name: str, value: Span) -> None:
    getattr(made, name).CopyFrom(duration(value))


def _overlap(made: pb.Schedule, _: str, value: pb.OverlapPolicy | str) -> None:
    made.overlap_policy = names.overlap_policy(value)


def _misfire(made: pb.Schedule, _: str, value: pb.MisfirePolicy | str) -> None:
    made.misfire_policy = names.misfire_policy(value)


_RULES: Final[dict[str, Callable[..., None]]] = {
    "crons": _crons,
    "every": _span,
    "times": _times,
    "time_zone": _plain,
    "start_time": _time,
    "end_time": _time,
    "jitter": _span,
}
_FIELDS: Final[dict[str, Callable[..., None]]] = {
    "misfire_grace": _span,
    "overlap_policy": _overlap,
    "misfire_policy": _misfire,
}
