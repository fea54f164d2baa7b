"""What a rule is made of, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from codeq_grpc.core import limits

if TYPE_CHECKING:
    from collections.abc import Sequence

LAST_S: Final = 253_370_764_799
"""The end of the year 9998, in Unix seconds: nothing fires later."""
LAST_MS: Final = LAST_S * 1000


class RuleError(ValueError):
    """A rule is not valid; `field` is the path of what is at fault, as in ScheduleSpec."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """The union of its rules within [start_ms, end_ms). Times are Unix ms; None: not set."""

    crons: tuple[str, ...] = ()
    every_ms: int | None = None
    times: tuple[int, ...] = ()
    zone: str = ""
    start_ms: int | None = None
    end_ms: int | None = None
    jitter_ms: int = 0


def check(spec: RuleSpec) -> None:
    """Raises RuleError; expressions and the zone are judged where they are read."""
    if not spec.crons and spec.every_ms is None and not spec.times:
        raise RuleError("crons", "at least one of crons, every and times is needed")
    if len(spec.crons) > limits.SCHEDULE_CRONS:
        raise RuleError("crons", f"must be at most {limits.SCHEDULE_CRONS}")
    least, most = limits.SCHEDULE_EVERY_MIN_MS, limits.SCHEDULE_EVERY_MAX_MS
    if spec.every_ms is not None and not least <= spec.every_ms <= most:
        raise RuleError("every", f"must be {least // 1000} to {most // 1000} s")
    if len(spec.times) > limits.SCHEDULE_TIMES:
        raise RuleError("times", f"must be at most {limits.SCHEDULE_TIMES}")
    _in_range("times", spec.times)
    for field, ms in (("start_time", spec.start_ms), ("end_time", spec.end_ms)):
        if ms is not None and not 0 <= ms <= LAST_MS:
            raise RuleError(field, _RANGE)
    if spec.end_ms is not None and spec.end_ms <= (spec.start_ms or 0):
        raise RuleError("end_time", "must be after start_time")
    if not 0 <= spec.jitter_ms <= limits.SCHEDULE_JITTER_MAX_MS:
        raise RuleError("jitter", f"must be 0 to {limits.SCHEDULE_JITTER_MAX_MS // 1000} s")


_RANGE: Final = "must be between the years 1970 and 9998"


def _in_range(field: str, times: Sequence[int]) -> None:
    if times and not 0 <= min(times) <= max(times) <= LAST_MS:
        at = next(at for at, ms in enumerate(times) if not 0 <= ms <= LAST_MS)
        raise RuleError(f"{field}[{at}]", _RANGE)
