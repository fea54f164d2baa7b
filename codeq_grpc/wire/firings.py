"""What stored schedules say: when they fire, what they enqueue, and the task of each firing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from codeq.v1 import schedule_service_pb2 as pb, task_pb2
from codeq_grpc.core import limits
from codeq_grpc.core.schedules import Cause
from codeq_grpc.rules.filling import fill, fill_json
from codeq_grpc.wire.schedules import rule_of

if TYPE_CHECKING:
    from codeq_grpc.core.records import NewTask
    from codeq_grpc.core.schedules import Firing
    from codeq_grpc.rules.rule import Rule
    from codeq_grpc.wire.specs import SpecChecker

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RULES: Final = 10_000
_RULE_BYTES: Final = 512
"""Rules that are kept at hand, and their size at most; many schedules share one."""
_JSON: Final = "application/json"
_LONGEST: Final = 4_102_444_799_999
"""A fire time with as many characters as one may have."""
_PATH: Final = "schedule.task"


def as_text(ms: int) -> str:
    """A time as RFC 3339 has it, in UTC; empty for none."""
    if not ms:
        return ""
    time = _EPOCH + timedelta(milliseconds=ms)
    return time.isoformat(timespec="milliseconds" if ms % 1000 else "seconds")[:-6] + "Z"


class Bodies:
    """Opens stored schedules."""

    def __init__(self, checker: SpecChecker) -> None:
        self._checker = checker
        self._rules: dict[bytes, Rule] = {}

    def rule(self, body: bytes) -> Rule:
        """When a schedule fires."""
        spec = pb.Schedule.FromString(body).spec
        raw = spec.SerializeToString(deterministic=True)
        known = self._rules.get(raw)
        if known is None:
            known = rule_of(spec, "schedule.spec")
            if len(raw) <= _RULE_BYTES:
                if len(self._rules) >= _RULES:
                    self._rules.clear()
                self._rules[raw] = known
        return known

    def command(self, body: bytes) -> str:
        """What a schedule enqueues."""
        return pb.Schedule.FromString(body).task.command

    def check(self, body: bytes) -> str:
        """The command of a schedule whose firings will have valid tasks; raises InvalidField."""
        longest = "x" * limits.SCHEDULE_ID_CHARS
        return self._task(body, longest, (_LONGEST, _LONGEST), longest).command

    def task(self, body: bytes, schedule_id: str, firing: Firing) -> NewTask:
        """The task of a firing. Made again, it is the same, and enqueued again it is there already:
        its idempotency key names the schedule, which one it was of that name, and the fire time.
        """
        number, kind = firing.place[:7].hex(), "/trigger" * (firing.cause == Cause.TRIGGER)
        key = f"schedule/{schedule_id}/{number}/{as_text(firing.fire_ms)}{kind}"
        return self._task(body, schedule_id, (firing.fire_ms, firing.previous_ms), key)

    def _task(self, body: bytes, schedule_id: str, times: tuple[int, int], key: str) -> NewTask:
        spec = pb.Schedule.FromString(body).task
        fire_time, previous = map(as_text, times)
        values = {
            "fire_time": fire_time,
            "previous_fire_time": previous,
            "schedule_id": schedule_id,
        }
        _fill(spec, values)
        spec.idempotency_key = key
        spec.idempotency_ttl.FromMilliseconds(limits.FIRING_KEY_MS)
        spec.conflict_policy = task_pb2.CONFLICT_POLICY_USE_EXISTING
        return self._checker.check(spec, _PATH)


def _fill(spec: task_pb2.TaskSpec, values: dict[str, str]) -> None:
    for key, text in spec.headers.items():
        if "{{" in text:
            spec.headers[key] = fill(text, values)
    if spec.payload.content_type == _JSON and b"{{" in spec.payload.data:
        spec.payload.data = fill_json(spec.payload.data, values)
