"""Schedules and firings as JSON documents, with the names that the HTTP API uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq.v1.schedule_service_pb2 import FiringCause, MisfirePolicy, OverlapPolicy
from codeq.v1.task_pb2 import ConflictPolicy
from codeq_grpc.cli import documents

if TYPE_CHECKING:
    from collections.abc import Iterable

    from codeq.v1.schedule_service_pb2 import Firing, Schedule, ScheduleVersion
    from codeq_grpc.cli.documents import Document
    from codeq_grpc.cli.fire_times import FireTime


def schedule(message: Schedule) -> Document:
    """A schedule; policies that are not set are what they are without."""
    document = documents.complete(message)
    if message.HasField("status"):
        document["status"] = documents.complete(message.status)
    if message.task.HasField("payload"):
        document["task"]["payload"] = documents.payload(message.task.payload)
    if message.task.conflict_policy == ConflictPolicy.CONFLICT_POLICY_UNSPECIFIED:
        document.get("task", {}).pop("conflictPolicy", None)
    document["overlapPolicy"] = overlap(message.overlap_policy)
    document["misfirePolicy"] = misfire(message.misfire_policy)
    return document


def firing(message: Firing) -> Document:
    """A firing; its state only where it has a task that is known."""
    document = documents.complete(message)
    document["cause"] = cause(message.cause)
    document["state"] = documents.state_name(message.state) if message.state else ""
    return document


def version(message: ScheduleVersion) -> Document:
    """A schedule as it was."""
    return {**documents.complete(message), "schedule": schedule(message.schedule)}


def fire_times(zone: str, found: Iterable[FireTime]) -> Document:
    """Fire times of a rule."""
    return {
        "timeZone": zone,
        "times": [
            {
                "time": one.time.isoformat().replace("+00:00", "Z"),
                "zoneTime": one.there.isoformat(),
                "localTime": one.here.isoformat(),
                "note": one.note,
            }
            for one in found
        ],
    }


def overlap(policy: OverlapPolicy) -> str:
    """`SKIP` for OVERLAP_POLICY_SKIP."""
    return _name(OverlapPolicy, policy or OverlapPolicy.OVERLAP_POLICY_ALLOW)


def misfire(policy: MisfirePolicy) -> str:
    """`FIRE_ALL` for MISFIRE_POLICY_FIRE_ALL."""
    return _name(MisfirePolicy, policy or MisfirePolicy.MISFIRE_POLICY_FIRE_ONCE)


def cause(number: FiringCause) -> str:
    """`TIME` for FIRING_CAUSE_TIME."""
    return _name(FiringCause, number)


def _name(enum: type[OverlapPolicy | MisfirePolicy | FiringCause], number: int) -> str:
    wrapper = enum.DESCRIPTOR
    value = wrapper.values_by_number.get(number)
    prefix: str = wrapper.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return str(number) if value is None else value.name.removeprefix(prefix)
