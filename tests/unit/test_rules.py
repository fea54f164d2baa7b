"""Rules: what is refused, and fire times one by one, in lists, counted, and from the end."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Final

import pytest

from codeq_grpc.core.firing import Moment, plan, start
from codeq_grpc.core.limits import DAY, HOUR, MINUTE, SECOND
from codeq_grpc.core.schedules import Misfire
from codeq_grpc.rules.cron import NAMES
from codeq_grpc.rules.rule import Rule
from codeq_grpc.rules.spec import LAST_MS, RuleError, RuleSpec

NOW: Final = 1_763_730_000_000
"""Friday, 21 November 2025, 13:00 UTC."""
YEAR: Final = 365 * DAY


@pytest.mark.parametrize(
    ("spec", "field", "told"),
    [
        (RuleSpec(), "crons", "at least one"),
        (RuleSpec(("* * * * *",) * 17), "crons", "at most 16"),
        (RuleSpec(("@daily", "* * * *")), "crons[1]", "has 4 fields"),
        (RuleSpec(("* * * * * * *",)), "crons[0]", "has 7 fields"),
        (RuleSpec(("",)), "crons[0]", "has 0 fields"),
        (RuleSpec(("60 * * * * *",)), "crons[0]", "second field is not valid: 60"),
        (RuleSpec(("60 * * * *",)), "crons[0]", "minute field is not valid: 60"),
        (RuleSpec(("0 24 * * *",)), "crons[0]", "hour field is not valid: 24"),
        (RuleSpec(("0 0 0 * *",)), "crons[0]", "day-of-month field is not valid: 0"),
        (RuleSpec(("0 0 30 2 *",)), "crons[0]", "day-of-month field is not valid: 30"),
        (RuleSpec(("0 0 * 13 *",)), "crons[0]", "month field is not valid: 13"),
        (RuleSpec(("0 0 * * 8",)), "crons[0]", "day-of-week field is not valid: 8"),
        (RuleSpec(("0 0 * * FRI-MON",)), "crons[0]", "day-of-week field is not valid: FRI-MON"),
        (RuleSpec(("*/0 * * * *",)), "crons[0]", "minute field is not valid: */0"),
        (RuleSpec(("0 5-3 * * *",)), "crons[0]", "hour field is not valid: 5-3"),
        (RuleSpec(("0 0 */30 2 SUN#5",)), "crons[0]", "never fires"),
        (RuleSpec(("@reboot",)), "crons[0]", "is none of @yearly"),
        (RuleSpec(("0 " * 200,)), "crons[0]", "at most 256 characters"),
        (RuleSpec(("\ud800 * * * *",)), "crons[0]", "minute field"),
        (RuleSpec(every_ms=0), "every", "1 to 31622400 s"),
        (RuleSpec(every_ms=999), "every", "1 to 31622400 s"),
        (RuleSpec(every_ms=366 * DAY + 1), "every", "1 to 31622400 s"),
        (RuleSpec(times=(NOW,) * 1001), "times", "at most 1000"),
        (RuleSpec(times=(NOW, -1)), "times[1]", "1970"),
        (RuleSpec(times=(NOW, LAST_MS + 1)), "times[1]", "9998"),
        (RuleSpec(("@daily",), zone="Mars/Base"), "time_zone", "IANA"),
        (RuleSpec(("@daily",), zone="europe/berlin"), "time_zone", "IANA"),
        (RuleSpec(("@daily",), zone="../tzdata/zones"), "time_zone", "IANA"),
        (RuleSpec(("@daily",), zone="America"), "time_zone", "IANA"),
        (RuleSpec(("@daily",), zone="a\0"), "time_zone", "IANA"),
        (RuleSpec(("@daily",), start_ms=-1), "start_time", "1970"),
        (RuleSpec(("@daily",), end_ms=LAST_MS + 1), "end_time", "9998"),
        (RuleSpec(("@daily",), start_ms=NOW, end_ms=NOW), "end_time", "after start_time"),
        (RuleSpec(("@daily",), end_ms=0), "end_time", "after start_time"),
        (RuleSpec(("@daily",), jitter_ms=-1), "jitter", "0 to 86400 s"),
        (RuleSpec(("@daily",), jitter_ms=DAY + 1), "jitter", "0 to 86400 s"),
    ],
)
def test_what_is_wrong_is_told_with_its_field(spec: RuleSpec, field: str, told: str) -> None:
    with pytest.raises(RuleError) as caught:
        Rule(spec)
    assert caught.value.field == field
    assert told in caught.value.message
    assert str(caught.value) == f"{field}: {caught.value.message}"


@pytest.mark.parametrize("name", NAMES)
def test_names_stand_for_expressions(name: str) -> None:
    named, plain = Rule(RuleSpec((name.upper(),))), Rule(RuleSpec((f" {NAMES[name]} ",)))
    assert named.between(NOW, NOW + 3 * YEAR, 50) == plain.between(NOW, NOW + 3 * YEAR, 50)


@pytest.mark.parametrize(
    ("cron", "after_now"),
    [
        ("* * * * * *", SECOND),
        ("30 * * * * *", 30 * SECOND),
        ("* * * * *", MINUTE),
        ("@hourly", HOUR),
        ("0 14 * * *", HOUR),
        ("0 13 * * *", DAY),
        ("0 13 L * *", 9 * DAY),
        ("0 13 LW * *", 7 * DAY),
        ("0 13 * * SUN", 2 * DAY),
        ("0 13 * * 7", 2 * DAY),
        ("0 13 * * 5L", 7 * DAY),
        ("0 13 * * MON#4", 3 * DAY),
        # Either of two days, but both where one of the fields begins with a star.
        ("0 13 30 * MON", 3 * DAY),
        ("0 13 */30 * MON", 10 * DAY),  # 1 December is a Monday
        ("0 13 1 1 *", 41 * DAY),
    ],
)
def test_the_next_fire_time(cron: str, after_now: int) -> None:
    rule = Rule(RuleSpec((cron,)))
    assert rule.after(NOW) == NOW + after_now
    assert rule.after(NOW + after_now - 1) == NOW + after_now
    following = rule.after(NOW + after_now)
    assert following is not None
    assert following > NOW + after_now


def test_a_leap_day_on_a_sunday_comes_after_forty_years_at_most() -> None:
    rule = Rule(RuleSpec(("0 0 29 2 *", "0 0 */28 2 SUN#5")))
    sundays = Rule(RuleSpec(("0 0 */28 2 SUN#5",)))
    found = sundays.between(NOW, NOW + 400 * YEAR, 100)
    assert max(b - a for a, b in pairwise(found)) // YEAR == 40
    assert {*found} <= {*rule.between(NOW, NOW + 400 * YEAR, 1000)}


def test_nothing_fires_after_the_last_year() -> None:
    for spec in (RuleSpec(("* * * * * *",)), RuleSpec(every_ms=SECOND), RuleSpec(("@yearly",))):
        rule = Rule(spec)
        latest = rule.latest(LAST_MS - 2 * YEAR, LAST_MS + YEAR)
        assert latest is not None
        assert latest <= LAST_MS
        assert rule.after(latest) is None
        assert rule.after(LAST_MS * 10) is None
        assert rule.after(-(10**15)) is not None


def test_an_interval_counts_from_the_epoch() -> None:
    rule = Rule(RuleSpec(every_ms=7_001))
    assert rule.after(0) == 7_001
    assert rule.after(7_000) == 7_001
    assert rule.after(7_001) == 14_002
    assert rule.between(NOW, NOW + MINUTE, 100) == [
        ms for ms in range(NOW, NOW + MINUTE) if ms % 7_001 == 0
    ]


def test_a_union_has_no_time_twice() -> None:
    times = (NOW + 5 * SECOND, NOW + 4_500, NOW + 4_500)
    rule = Rule(RuleSpec(("*/5 * * * * *", "*/10 * * * * *"), 5_000, times))
    assert rule.between(NOW, NOW + 11 * SECOND, 10) == [
        *(NOW, NOW + 4_500, NOW + 5_000, NOW + 10_000)
    ]
    assert rule.count(NOW - 1, NOW + 10 * SECOND, 100) == 4


def test_a_rule_keeps_to_its_start_and_end() -> None:
    spec = RuleSpec(
        ("0 * * * *",), HOUR, (NOW, NOW + 2 * HOUR), start_ms=NOW, end_ms=NOW + 2 * HOUR
    )
    rule = Rule(spec)
    assert rule.after(0) == NOW
    assert rule.after(NOW) == NOW + HOUR
    assert rule.after(NOW + HOUR) is None
    assert rule.between(0, NOW + YEAR, 9) == rule.last(0, NOW + YEAR, 9) == [NOW, NOW + HOUR]
    assert rule.latest(0, NOW + YEAR) == NOW + HOUR
    assert rule.latest(NOW + HOUR, NOW + YEAR) is None
    assert rule.latest(0, NOW - 1) is None
    assert rule.count(0, NOW + YEAR, 9) == 2


def test_single_times_end() -> None:
    rule = Rule(RuleSpec(times=(NOW, NOW - 1)))
    assert (rule.after(0), rule.after(NOW - 1), rule.after(NOW)) == (NOW - 1, NOW, None)


def test_jitter_is_fixed_for_a_fire_time() -> None:
    assert Rule(RuleSpec(("@daily",))).offset(b"seed", NOW) == 0
    rule = Rule(RuleSpec(("@daily",), jitter_ms=10))
    offsets = [rule.offset(b"seed", NOW + number) for number in range(1000)]
    assert set(offsets) == set(range(11))
    assert offsets == [rule.offset(b"seed", NOW + number) for number in range(1000)]
    assert offsets != [rule.offset(b"other", NOW + number) for number in range(1000)]
    # Other servers and later versions have the same.
    assert offsets[:8] == [8, 3, 8, 1, 7, 6, 3, 6]


@pytest.mark.parametrize(
    ("spec", "within"),
    [
        (RuleSpec(every_ms=HOUR, jitter_ms=DAY), HOUR),
        (RuleSpec(("0 9,10 * * *",), jitter_ms=2 * HOUR), 2 * HOUR + 1),
        (RuleSpec(every_ms=SECOND, times=(NOW + 1,), jitter_ms=DAY), SECOND),
    ],
)
def test_jitter_does_not_reach_the_next_fire_time(spec: RuleSpec, within: int) -> None:
    rule, acts, offsets = Rule(spec), list[int](), list[int]()
    for ms in rule.between(NOW, NOW + 30 * DAY, 500):
        offsets.append(rule.offset(b"seed", ms))
        assert ms + offsets[-1] < (rule.after(ms) or LAST_MS)
        acts.append(ms + offsets[-1])
    assert acts == sorted(set(acts))
    assert within * 0.8 < max(offsets) < within


@pytest.mark.parametrize("misfire", Misfire)
def test_no_fire_time_is_missed_for_the_jitter_of_others(misfire: Misfire) -> None:
    rule, last_ms, fired = Rule(RuleSpec(every_ms=HOUR, jitter_ms=DAY)), 0, list[int]()
    next_ms, act_ms = start(rule, b"seed", NOW)
    while next_ms <= NOW + 3 * DAY:
        at = Moment(act_ms, next_ms, last_ms, misfire, 5 * MINUTE, b"seed")
        found = plan(rule, at, 500)
        assert not found.misfired_count
        fired += [time.fire_ms for time in found.times]
        next_ms, act_ms = found.next_ms, found.act_ms
    assert fired == rule.between(NOW + 1, NOW + 3 * DAY + 1, 500)


@pytest.mark.parametrize(
    ("misfire", "made_up_for"),
    [(Misfire.FIRE_ONCE, 1), (Misfire.SKIP, 0), (Misfire.FIRE_ALL, 1000)],
)
def test_a_long_jitter_makes_up_for_no_more_than_none(misfire: Misfire, made_up_for: int) -> None:
    rule, fired, misfires = Rule(RuleSpec(every_ms=10 * SECOND, jitter_ms=DAY)), list[int](), 0
    next_ms = NOW - DAY
    while next_ms <= NOW:
        found = plan(rule, Moment(NOW, next_ms, 0, misfire, SECOND, b"seed"), 500)
        fired += [time.fire_ms for time in found.times if time.fire_ms < NOW - 10 * SECOND]
        next_ms, misfires = found.next_ms, misfires + found.misfired_count
        if found.act_ms > NOW:
            break
    assert made_up_for - 1 <= len(fired) <= made_up_for
    assert DAY // (10 * SECOND) - 2 <= len(fired) + misfires <= DAY // (10 * SECOND) + 1


def test_a_long_outage_is_planned_in_one_walk() -> None:
    """A server stands still meanwhile, and there may be hundreds of such schedules."""

    class Asked(Rule):
        times = 0

        def after(self, ms: int) -> int | None:
            self.times += 1
            return super().after(ms)

    rule = Asked(RuleSpec(tuple(f"{at} {at}/5 * * * *" for at in range(16))))
    at = Moment(NOW, NOW - YEAR, 0, Misfire.FIRE_ALL, MINUTE, b"seed")
    found = plan(rule, at, 500)
    assert (len(found.times), len(found.misfired)) == (500, 20)
    assert rule.times < 50


def _random_field(rng: random.Random, low: int, high: int) -> str:
    first = rng.randint(low, high)
    last = rng.randint(first, high)
    choices = ["*", "*", f"*/{rng.randint(1, high)}", f"{first}", f"{first}-{last}"]
    return rng.choice(choices)


@pytest.mark.parametrize(
    "zone", ["", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Antarctica/Troll"]
)
def test_lists_counts_and_latest_ones_agree(zone: str) -> None:
    """Around the changes of clocks, too: 4 days hold one in every other example."""
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    for _ in range(8):
        crons = tuple(
            " ".join(_random_field(rng, *span) for span in ((0, 59), (0, 59), (0, 23)))
            + f" * * {_random_field(rng, 0, 6)}"
            for _ in range(rng.randint(1, 3))
        )
        every = rng.choice([None, 1_000 * rng.randint(1, 90), rng.randint(1_000, 90_000)])
        changed = rng.choice([1743296400000, 1761440400000, 1743822000000, 1759590000000, NOW])
        after = changed - rng.randint(0, 2 * DAY)
        until = after + rng.randint(1, 2 * DAY)
        times = tuple(rng.randint(after, until) // 1_000 * 1_000 for _ in range(5))
        rule = Rule(RuleSpec(crons, every, times, zone))
        listed = rule.between(after + 1, until + 1, 1_000_000)
        told = f"seed {seed}: {crons}, {every}, {zone}, {after}, {until}"
        assert all(a < b for a, b in pairwise(listed)), told
        assert rule.count(after, until, 1_000_000) == len(listed), told
        assert rule.count(after, until, 300) == min(len(listed), 300), told
        assert rule.last(after, until, 100) == listed[-100:], told
        assert rule.latest(after, until) == (listed[-1] if listed else None), told
        assert rule.between(after + 1, until + 1, 7) == listed[:7], told


def test_long_outages_of_a_rule_for_every_second_are_counted() -> None:
    """A walk through these 31 million would take minutes."""
    for zone in ("", "Europe/Berlin", "Pacific/Apia"):
        rule = Rule(RuleSpec(("* * * * * *", "*/5 3 * * *"), 2_500, zone=zone))
        # Every other time of the interval is no whole second.
        assert rule.count(NOW, NOW + YEAR, 10**9) == YEAR // SECOND + YEAR // 5_000
        assert rule.latest(NOW, NOW + YEAR) == NOW + YEAR
        assert len(rule.last(NOW, NOW + YEAR, 1000)) == 1000
    # Two of twelve firsts of a month are Mondays.
    weekly = Rule(RuleSpec(("* * * * * MON", "0 0 1 * *")))
    assert weekly.count(NOW, NOW + 7 * 52 * DAY, 10**9) == 52 * 86_400 + 10
