"""Rules of schedules, and what a firing fills in."""

from __future__ import annotations

import json
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

from codeq_grpc.core.limits import DAY
from codeq_grpc.rules.cron import cron_of
from codeq_grpc.rules.filling import fill, fill_json
from codeq_grpc.rules.rule import Rule
from codeq_grpc.rules.spec import LAST_MS, RuleError, RuleSpec
from tests.fuzz.reading import Reader
from tests.support.zones import pinned

_ZONES: Final = (
    *("", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Pacific/Apia"),
    *("Antarctica/Troll", "Africa/Casablanca", "Asia/Kathmandu", "Europe/Atlantis", "../UTC", "\0"),
)
_LONGEST: Final = 400 * DAY


def crons(raw: bytes) -> None:
    """An expression is refused by its field, or fires in order, where the clock shows what it says;
    lists, counts and the latest ones agree.
    """
    reader = Reader(raw)
    zone, after = reader.pick(_ZONES), reader.number(LAST_MS)
    until = after + reader.number(_LONGEST)
    every = reader.number(100_000) or None
    text = reader.rest().decode(errors="surrogateescape")
    try:
        rule = Rule(RuleSpec((text,), every, (after + 1, until), zone))
    except RuleError as error:
        _names_its_field(error)
        return
    cron = Rule(RuleSpec((text,), zone=zone))
    listed = cron.between(after + 1, until + 1, 300)
    assert all(a < b for a, b in pairwise([after, *listed, until + 1]))
    assert len(listed) == cron.count(after, until, 300)
    for ms in listed[:20]:
        assert cron.after(ms - 1) == ms
        _looks_right(text, zone, ms)
    latest = rule.latest(after, until)
    assert rule.last(after, until, 1) == ([] if latest is None else [latest])
    many = rule.count(after, until, 1 << 60)
    if many < 2_000:
        assert many == len(rule.between(after + 1, until + 1, 2_000))
        assert many == len(rule.last(after, until, 2_000))


def _names_its_field(error: RuleError) -> None:
    assert error.field in {"crons[0]", "every", "times[0]", "times[1]", "time_zone"}
    assert error.message


def _looks_right(text: str, zone: str, ms: int) -> None:
    """The clock shows it, or a gap ends at this moment."""
    info = pinned(zone or "UTC")
    local = datetime.fromtimestamp(ms / 1000, info)
    cron = cron_of(text)
    shown = local.hour in cron.hours and local.minute in cron.minutes
    if not shown or local.second not in cron.seconds:
        before = datetime.fromtimestamp(ms / 1000 - 1, info)
        assert before.utcoffset() != local.utcoffset()


_VALUES: Final = {"fire_time": "2025-11-21T13:00:00Z", "schedule_id": 'a"b\\{{fire_time}}'}


def fillings(raw: bytes) -> None:
    """JSON stays JSON, and only its string values change."""
    filled = fill_json(raw, _VALUES)
    try:
        document = json.loads(raw, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return
    # A brace written as an escape is no placeholder, nor is one in another encoding.
    if b"\\u" not in raw and json.detect_encoding(raw).startswith("utf-8"):
        _check_filled(json.loads(filled, object_pairs_hook=list), document)


def _check_filled(filled: Any, document: Any) -> None:
    left = [(filled, document)]
    while left:
        new, old = left.pop()
        if isinstance(old, list):
            assert len(new) == len(old)
            left += zip(new, old, strict=True)
        elif isinstance(old, tuple):
            assert new[0] == old[0]
            left.append((new[1], old[1]))
        elif isinstance(old, str):
            assert new == fill(old, _VALUES)
        else:
            assert new == old or old != old  # noqa: PLR0124 - NaN is read, too


def seeds_of_crons() -> list[bytes]:
    """Good ones of all kinds, around a change of clocks."""
    head = (1_743_296_400_000 - DAY).to_bytes(6, "big") + (2 * DAY).to_bytes(5, "big")
    texts = ("* * * * *", "*/30 1-3 * * *", "0 30 2 L * *", "@daily", "5 4 */2 JAN-MAR MON#2,FRI")
    return [
        bytes((zone,)) + head + every + text.encode()
        for zone in range(len(_ZONES))
        for text in texts
        for every in (bytes(3), (7_001).to_bytes(3, "big"))
    ]


def seeds_of_fillings() -> list[bytes]:
    """Strings, keys and escapes."""
    return [
        b'{"{{fire_time}}": ["{{fire_time}}", "\\"{{schedule_id}}", 1.5, null]}',
        b'"{{fire_time}}',
    ]
