"""Fire times of ten years in twelve time zones, held against another library's: croniter.

croniter agrees about gaps and about expressions for every hour. Of a time that exists twice it
fires both where codeQ fires the first one, which tests/unit/test_rules_clocks.py shows; so there
its second ones do not count. Nor does the first minute after a gap, for expressions with seconds,
which `_compared` explains. It takes the zones of the same pinned package.

`--hypothesis-profile=long` tries much more.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, Any, Final

import pytest
from croniter import croniter
from hypothesis import given, settings, strategies as st

from codeq_grpc.rules.cron import cron_of
from codeq_grpc.rules.rule import Rule
from codeq_grpc.rules.spec import RuleSpec
from tests.support.zones import pinned

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG: Final = settings.get_current_profile_name() == "long"
EXAMPLES: Final = 1_000 if LONG else 15
"""Of each zone, with as many fire times each as FIRES."""
FIRES: Final = 40
START: Final = datetime(2020, 1, 1, tzinfo=UTC)
END: Final = datetime(2030, 1, 1, tzinfo=UTC)
ZONES: Final = (
    *("Europe/Berlin", "Europe/Dublin", "America/New_York", "America/Havana", "America/Santiago"),
    *("Africa/Casablanca", "Africa/Cairo", "Asia/Kathmandu", "Australia/Lord_Howe"),
    *("Pacific/Apia", "Pacific/Chatham", "Antarctica/Troll"),
)
WHOLE: Final = ("30 2 * * *", "45 0,1,3 * * SUN", "30 */20 23 L * *", "0 0 13 * 5")
"""Expressions of which all ten years are compared, in all zones."""


def _theirs(cron: str, zone: str, since: datetime) -> Iterator[int]:
    six = len(cron.split()) == 6
    local = since.astimezone(pinned(zone))
    # As in Debian's cron, a day has to match both fields if one of them begins with a star.
    found: Any = croniter(cron, local, implement_cron_bug=True, second_at_beginning=six)
    hourly = cron_of(cron).is_hourly
    while True:
        moment = found.get_next(datetime)
        if hourly or not moment.fold:
            yield round(moment.timestamp() * 1000)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("cron", WHOLE)
def test_ten_years_are_as_another_library_has_them(zone: str, cron: str) -> None:
    start, end = (round(moment.timestamp() * 1000) for moment in (START, END))
    ours = Rule(RuleSpec((cron,), zone=zone, end_ms=end)).between(start + 1, end, 100_000)
    assert ours == list(takewhile(lambda ms: ms < end, _theirs(cron, zone, START)))
    assert len(ours) > 15
    assert all(a < b for a, b in pairwise(ours))


def _field(low: int, high: int, *names: str) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    # croniter takes 5-5 for every value there is.
    span = st.lists(number, min_size=2, max_size=2, unique=True).map(
        lambda pair: f"{min(pair)}-{max(pair)}"
    )
    step = st.integers(2, high)
    terms = [number.map(str), span, st.builds("{}/{}".format, span, step)]
    if names:
        terms.append(st.sampled_from(names))
    many = st.lists(st.one_of(terms), min_size=1, max_size=3).map(",".join)
    return st.one_of(st.just("*"), st.builds("*/{}".format, step), many)


_STAR: Final = st.just("*")
_MONTHS: Final = st.one_of(_STAR, _field(1, 12, "jan", "JUL"))
_DAYS: Final = st.tuples(
    st.one_of(_STAR, _field(1, 28), st.just("L")), _MONTHS, st.one_of(_STAR, _field(0, 6, "fri"))
)
# With a day of the month, too, croniter finds none of these.
_NUMBERED: Final = st.tuples(_STAR, _MONTHS, st.sampled_from(["1#2", "THU#4", "0#1"]))
EXPRESSIONS: Final = st.tuples(
    st.one_of(st.just(""), _field(0, 59)),
    _field(0, 59),
    st.one_of(_STAR, _field(0, 23)),
    st.one_of(_DAYS, _DAYS, _DAYS, _NUMBERED).map(" ".join),
).map(lambda fields: " ".join(fields).strip())


@pytest.mark.parametrize("zone", ZONES)
def test_random_expressions_fire_as_another_library_has_them(zone: str) -> None:
    seconds = round((END - START).total_seconds())

    @settings(max_examples=EXAMPLES, derandomize=not LONG, deadline=None, database=None)
    @given(EXPRESSIONS, st.integers(0, seconds))
    def agree(cron: str, since: int) -> None:
        _agree(cron, zone, START + timedelta(seconds=since))

    agree()


def _agree(cron: str, zone: str, since: datetime) -> None:
    start = round(since.timestamp() * 1000)
    ours = Rule(RuleSpec((cron,), zone=zone)).between(start + 1, start + 366 * 86_400_000, FIRES)
    if ours:
        theirs = takewhile(lambda ms: ms <= ours[-1], _theirs(cron, zone, since))
        assert [ms for ms in ours if _compared(cron, zone, ms)] == [
            ms for ms in theirs if _compared(cron, zone, ms)
        ]


def _compared(cron: str, zone: str, ms: int) -> bool:
    """Out of a gap croniter goes by whole minutes, thus not to its end but up to 59 s further."""
    if len(cron.split()) == 5:
        return True
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    before, now = (
        one.astimezone(pinned(zone)).utcoffset() for one in (moment - timedelta(minutes=1), moment)
    )
    return before is None or now is None or before >= now
