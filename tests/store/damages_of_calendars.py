"""What raw commands do to a calendar: each key loses, gets, and gets wrong one entry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from codeq_grpc.broker.doctor import Doctor
from codeq_grpc.core.findings import Mode
from codeq_grpc.core.schedules import ANY, Overlap
from codeq_grpc.store.examining import Examining
from codeq_grpc.store.registry import Registry
from tests.store.cases_of_calendars import LABELS
from tests.support.clock import START_MS

if TYPE_CHECKING:
    from collections.abc import Callable

    from codeq_grpc.core.schedules import Firing, Row
    from tests.store.calendars import CalendarDriver

NOBODY: Final = b"\0\0\0\0\0\0\7"
"""Number of a schedule, or name of a firing, that never was."""


class Known(NamedTuple):
    """What there is: `a` of two versions with one firing ended, one open, one owed, one that waits;
    `b` with one owed and one to be cancelled; `c` triggered; `d` deleted in part.
    """

    row: Row
    ended: Firing
    open: Firing
    owed: Firing
    triggered: Row
    deleted: Row


async def populate(driver: CalendarDriver) -> Known:
    """Schedules and firings of all kinds."""
    await driver.make(labels=LABELS)
    (ended,) = await driver.fired()
    await driver.end(ended)
    (open_one,) = await driver.fired()
    await driver.settle(open_one)
    row = await driver.change(
        "a", ANY, body=b"2", labels=LABELS, overlap=Overlap.BUFFER_ONE, next_ms=None
    )
    await driver.fired()
    await driver.make("b", overlap=Overlap.CANCEL_PREVIOUS)
    (cancelled,) = await driver.fired("b")
    await driver.settle(cancelled)
    (owed,) = await driver.fired("b")
    triggered = await driver.make("c")
    await driver.trigger(triggered, "key", schedule_id="c")
    deleted = await driver.make("d", labels=LABELS)
    await driver.fired("d")
    await driver.store.delete(driver.calendar, "d")
    return Known(row, ended, open_one, owed, triggered, deleted)


class Damage(NamedTuple):
    """A command, its key by suffix, the rest of it, and what the doctor must call it."""

    name: str
    command: str
    suffix: str
    rest: Callable[[Known], list[Any]]
    expected: str


async def damaged(driver: CalendarDriver, damage: Damage) -> Known:
    """A calendar that is so."""
    driver.admin.call("FLUSHALL")
    driver.clock.ms = START_MS
    known = await populate(driver)
    driver.admin.call(damage.command, driver.key(damage.suffix), *damage.rest(known))
    return known


async def findings(driver: CalendarDriver, mode: Mode = Mode.LOOK) -> list[tuple[str, str, str]]:
    """Kind, key and entry of each."""

    async def at_once(_: float) -> None:
        """No rest."""

    connection = driver.store._connection
    examining = Examining(connection, mode=mode, max_attempts=1, error=b"")
    doctor = Doctor(Registry(connection), examining, at_once)
    return [
        (one.kind, one.where, one.entry)
        async for look in doctor.examine_calendar(driver.calendar)
        for one in look.findings
    ]


async def assert_mended(driver: CalendarDriver) -> list[tuple[str, str, str]]:
    """Mends what is wrong, after which nothing is; gives what was found."""
    found = await findings(driver, Mode.REPAIR)
    assert await findings(driver) == [], f"after {found}"
    return found


CALENDAR_DAMAGES: Final = (
    Damage("lost", "DEL", "b", lambda k: [], "no_record b"),
    Damage("nonsense", "HSET", "b", lambda k: ["a", "x"], "no_record b"),
    Damage("other", "HSET", "b", lambda k: ["a", b"\0\0\0\5" + bytes(14)], "no_record b"),
    Damage("stranger", "HSET", "b", lambda k: ["x", "x"], "stray b"),
    Damage("cut", "HSET", "m", lambda k: ["a", "x"], "bad_schedule m"),
    Damage("mad", "HSET", "m", lambda k: ["a", b"\xff" * 130], "bad_schedule m"),
    Damage("stranger", "HSET", "m", lambda k: ["x", "x"], "bad_schedule m"),
    Damage("lost", "HDEL", "m", lambda k: ["a"], "stray b"),
    Damage("lost", "HDEL", "d", lambda k: [k.row.number], "unindexed d"),
    Damage("foreign", "HSET", "d", lambda k: [k.row.number, "b"], "unindexed d"),
    Damage("stranger", "HSET", "d", lambda k: [NOBODY, "a"], "stray d"),
    Damage("nonsense", "HSET", "d", lambda k: ["x", "a"], "stray d"),
    Damage("stranger", "HSET", "h", lambda k: [NOBODY + b"\0\0\0\1", "x"], "stray h"),
    Damage("late", "HSET", "h", lambda k: [k.row.number + b"\0\0\0\7", "x"], "stray h"),
    Damage("nonsense", "HSET", "h", lambda k: ["x", "x"], "stray h"),
    Damage("lost", "DEL", "t", lambda k: [], "unindexed t"),
    Damage("late", "ZADD", "t", lambda k: [9e12, "a"], "wrong_score t"),
    Damage("early", "ZADD", "t", lambda k: [5, "a"], "wrong_score t"),
    Damage("stranger", "ZADD", "t", lambda k: [5, "x"], "stray t"),
    Damage("lost", "ZREM", "v", lambda k: [b"i\0a"], "unindexed v"),
    Damage("label", "ZREM", "v", lambda k: [b"l\0team\0x\0a"], "unindexed v"),
    Damage("foreign", "ZADD", "v", lambda k: [0, b"l\0team\0y\0a"], "stray v"),
    Damage("stranger", "ZADD", "v", lambda k: [0, b"i\0x"], "stray v"),
    Damage("nonsense", "ZADD", "v", lambda k: [0, "x"], "stray v"),
    Damage("score", "ZADD", "v", lambda k: [5, b"i\0a"], "wrong_score v"),
    Damage("cut", "HSET", "f", lambda k: [k.open.place, "x"], "bad_firing f"),
    Damage("mad", "HSET", "f", lambda k: [k.ended.place, b"\xff" * 60], "bad_firing f"),
    Damage("stranger", "HSET", "f", lambda k: [NOBODY + bytes(9), b"\1" * 60], "stray f"),
    Damage("nonsense", "HSET", "f", lambda k: ["x", b"\1" * 60], "bad_firing f"),
    Damage("lost", "HDEL", "f", lambda k: [k.owed.place], "stray g"),
    Damage("lost", "DEL", "g", lambda k: [], "unindexed g"),
    Damage("score", "ZADD", "g", lambda k: [5, k.ended.place], "wrong_score g"),
    Damage("nonsense", "ZADD", "g", lambda k: [0, "x"], "stray g"),
    Damage("lost", "DEL", "o", lambda k: [], "unindexed o"),
    Damage("foreign", "HSET", "o", lambda k: [k.open.name, k.ended.place + b"a"], "unindexed o"),
    Damage("ended", "HSET", "o", lambda k: [k.ended.name, k.ended.place + b"a"], "stray o"),
    Damage("nonsense", "HSET", "o", lambda k: ["x", "x"], "stray o"),
    Damage("lost", "DEL", "p", lambda k: [], "unindexed p"),
    Damage("ended", "ZADD", "p", lambda k: [0, k.row.number + k.ended.name], "stray p"),
    Damage("score", "ZADD", "p", lambda k: [5, k.row.number + k.open.name], "wrong_score p"),
    Damage("nonsense", "ZADD", "p", lambda k: [0, "x"], "stray p"),
    Damage("lost", "DEL", "x", lambda k: [], "unindexed x"),
    Damage("late", "ZADD", "x", lambda k: [9e12, k.owed.name], "wrong_score x"),
    Damage("open", "ZADD", "x", lambda k: [5, k.open.name], "stray x"),
    Damage("stranger", "ZADD", "x", lambda k: [5, NOBODY], "stray x"),
    Damage("lost", "DEL", "kx", lambda k: [], "unindexed kx"),
    Damage("late", "ZADD", "kx", lambda k: [9e15, _request(k)], "wrong_score kx"),
    Damage("stranger", "ZADD", "kx", lambda k: [5, "x"], "stray kx"),
    Damage("stranger", "HSET", "k", lambda k: [NOBODY + b"x", "x" * 24], "stray k"),
    Damage("nonsense", "HSET", "k", lambda k: [k.row.number + b"x", "x"], "stray k"),
    Damage("lost", "DEL", "w", lambda k: [], "stray f"),
    Damage("alive", "ZADD", "w", lambda k: [0, k.row.number + bytes(8) + b"a"], "stray w"),
    Damage("score", "ZINCRBY", "w", lambda k: [5, _waste(k)], "wrong_score w"),
    Damage("nonsense", "ZADD", "w", lambda k: [0, "x"], "stray w"),
    Damage("behind", "HSET", "s", lambda k: ["clk", 5], "behind s"),
    Damage("nonsense", "HSET", "s", lambda k: ["clk", "x"], "behind s"),
    Damage("expires", "EXPIRE", "f", lambda k: [1_000], "expiring f"),
)
"""One each; a key that is of another type has a test of its own."""


def _request(known: Known) -> bytes:
    return known.triggered.number + b"key"


def _waste(known: Known) -> bytes:
    return known.deleted.number + b"\0\0\0\1" * 2 + b"d"
