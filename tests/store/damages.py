"""What raw commands do to a queue: every index loses, gets, and gets wrong one entry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from codeq_grpc.core.records import Idempotency
from codeq_grpc.core.task import Conflict
from tests.store.making import (
    FAR_MS,
    LABELS,
    awaited,
    followed,
    keyed,
    tasks_of_every_state,
)
from tests.support.clock import START_MS
from tests.support.driver import QueueDriver, task
from tests.support.snapshot import PARKED, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

STATES: Final = {"z": 2, "l": 4, "y": 1, "t": 5, "d": 6, "c": 7, "a": 8}
"""Indexes and the states of their tasks."""
NAME: Final = b"\0" * 6 + b"n"
"""Of a task that never was."""


async def populate(driver: QueueDriver) -> None:
    """Tasks of every state, with all that a task can have."""
    await tasks_of_every_state(driver)
    await driver.enqueue(task(priority=9, concurrency_key="j"))
    holding = await driver.take_one()
    assert driver.meta(holding.name).key == b"j"
    names = await driver.enqueue(
        task(b"a", b"payload", priority=3),
        task(b"b", labels=LABELS, expire_ms=FAR_MS, priority=3),
        keyed("i0", ttl_ms=0, priority=3),
        keyed("i1", priority=2),
        task(b"c", priority=9, max_attempts=2),
        task(b"d", priority=9),
    )
    failing, held = await driver.take(2)
    await driver.tell(failing, b"progress", b"checkpoint")
    await driver.fail(failing, b"error", delay_ms=900_000)
    await driver.tell(held, b"", b"checkpoint")
    await driver.cancel(held.name)
    await driver.cancel(names[0])
    await followed(driver, names[1])
    await driver.enqueue(task(depends_on=(driver.id(names[1]),)))
    await awaited(driver, names[1])
    gone = Idempotency("gone", b"d" * 16, 86_400_000, Conflict.FAIL)
    (short,) = await driver.enqueue(task(b"e", priority=9, idempotency=gone))
    await driver.cancel(short)
    driver.admin.call("HDEL", driver.key("g"), short)
    driver.clock.advance(1)
    await driver.enqueue(task(priority=4), task(priority=4))


class Damage(NamedTuple):
    """What is done, and what the doctor must call it, among other things."""

    name: str
    commands: Callable[[QueueDriver, Snapshot], list[list[Any]]]
    kinds: frozenset[str]

    def do(self, driver: QueueDriver) -> None:
        """All of its commands."""
        do_all(driver, self)


def do_all(driver: QueueDriver, *damages: Damage) -> None:
    """Several at once."""
    snapshot = driver.snapshot()
    commands = [command for one in damages for command in one.commands(driver, snapshot)]
    driver.admin.calls(commands)


def of_state(state: int) -> Callable[[Snapshot], bytes]:
    """The first task of a state that no flag says anything of, if there is one."""

    def find(snapshot: Snapshot) -> bytes:
        names = [name for name, meta in snapshot.metas.items() if meta.state == state]
        return min(names, key=lambda name: (snapshot.metas[name].flags, name))

    return find


def _pending(snapshot: Snapshot) -> bytes:
    return next(n for n in snapshot.lists[4])


def _parked(snapshot: Snapshot) -> bytes:
    return next(name for name, meta in snapshot.metas.items() if meta.has(PARKED))


def _let_in(snapshot: Snapshot) -> bytes:
    """It is pending, and others wait for its key."""
    return next(n for n in snapshot.pending if snapshot.metas[n].key == b"k")


def _labelled(snapshot: Snapshot) -> bytes:
    return next(n for n in snapshot.lists[3] if n in snapshot.texts("l"))


def _first(snapshot: Snapshot, suffix: str) -> bytes:
    if suffix == "kw":
        key, priority, name = min(snapshot.parked)
        return key + b"\0" + bytes([9 - priority]) + name
    return b"".join(min(snapshot.labels if suffix == "v" else snapshot.followers))


def damage(name: str, suffix: str, *kinds: str) -> Any:
    """Makes one of a function that gives the rest of its command behind the key."""

    def wrap(command: Callable[[Snapshot], list[Any]]) -> Damage:
        def commands(driver: QueueDriver, snapshot: Snapshot) -> list[list[Any]]:
            first, *rest = command(snapshot)
            return [[first, driver.key(suffix), *rest]]

        return Damage(f"{suffix}-{name}", commands, frozenset(kinds))

    return wrap


def _of_indexes() -> list[Damage]:
    found = []
    for suffix, state in STATES.items():
        one, other = of_state(state), of_state(8 if state != 8 else 5)
        found += [
            damage("loses", suffix, "unindexed")(lambda s, one=one: ["ZREM", one(s)]),
            damage("late", suffix, "wrong_score")(lambda s, one=one: ["ZADD", 9e12, one(s)]),
            damage("stranger", suffix, "stray")(lambda s: ["ZADD", START_MS, NAME]),
            damage("nonsense", suffix, "stray")(lambda s: ["ZADD", START_MS, "x"]),
            damage("foreign", suffix, "misplaced")(
                lambda s, other=other: ["ZADD", START_MS, other(s)]
            ),
        ]
    return found


def _of_rows() -> list[Damage]:
    found = []
    for state in range(1, 9):
        one = of_state(state)
        cut = damage(f"cut-{state}", "m", "bad_row")
        gone = damage(f"gone-{state}", "m", *(["no_row"] if state > 3 else []))
        found += [
            cut(lambda s, one=one: ["HSET", one(s), "nonsense"]),
            gone(lambda s, one=one: ["HDEL", one(s)]),
            damage(f"bodiless-{state}", "b", "no_body")(lambda s, one=one: ["HDEL", one(s)]),
            damage(f"longer-{state}", "b", "body_size")(
                lambda s, one=one: ["HSET", one(s), b"y" * 99]
            ),
        ]
    return found


DAMAGES: Final = (
    *_of_indexes(),
    *_of_rows(),
    damage("bodiless-keyed", "b", "no_body")(lambda s: ["HDEL", _let_in(s)]),
    damage("loses", "r4", "unlisted")(lambda s: ["LREM", 0, _pending(s)]),
    damage("twice", "r4", "twice")(lambda s: ["RPUSH", s.lists[4][1]]),
    damage("lost", "r4", "unlisted")(lambda s: ["DEL"]),
    damage("loses", "e", "wrong_score")(lambda s: ["ZREM", _labelled(s)]),
    damage("late", "e", "wrong_score")(lambda s: ["ZADD", 9e12, _labelled(s)]),
    damage("foreign", "e", "misplaced")(lambda s: ["ZADD", 9e12, _pending(s)]),
    damage("stranger", "e", "stray")(lambda s: ["ZADD", 9e12, NAME]),
    damage("stranger", "m", "bad_row")(lambda s: ["HSET", NAME, "x"]),
    damage("nonsense", "m", "stray")(lambda s: ["HSET", "x", "x"]),
    damage("stranger", "b", "orphan")(lambda s: ["HSET", NAME, "body"]),
    damage("nonsense", "b", "stray")(lambda s: ["HSET", "x", "body"]),
    damage("loses-labels", "o", "no_text", "stray")(lambda s: ["HDEL", _labelled(s) + b"l"]),
    damage("bad-labels", "o", "no_text", "stray")(lambda s: ["HSET", _labelled(s) + b"l", "x"]),
    damage("loses-checkpoint", "o", "no_text")(lambda s: ["HDEL", *map(_k, s.texts("k"))]),
    damage("bad-history", "o", "no_text")(lambda s: ["HSET", min(s.texts("a")) + b"a", "\0\1x"]),
    damage("history", "o", "stray")(lambda s: ["HSET", _pending(s) + b"a", "x"]),
    damage("letter", "o", "stray")(lambda s: ["HSET", _pending(s) + b"?", "x"]),
    damage("stranger", "o", "stray")(lambda s: ["HSET", NAME + b"r", "x"]),
    damage("loses", "v", "unindexed")(lambda s: ["ZREM", b"a\0001\0" + _labelled(s)]),
    damage("stranger", "v", "stray")(lambda s: ["ZADD", 0, b"a\0001\0" + NAME]),
    damage("foreign", "v", "stray")(lambda s: ["ZADD", 0, b"a\0002\0" + _labelled(s)]),
    damage("nonsense", "u", "stray")(lambda s: ["HSET", "i0", "x"]),
    damage("stranger", "u", "stray")(lambda s: ["HSET", "new", NAME + b"d" * 16 + b"\0" * 9]),
    damage("foreign", "u", "stray")(
        lambda s: ["HSET", "new", s.remembered[b"i0"].name + b"d" * 16 + b"\0" * 9]
    ),
    damage("ended", "u", "wrong_key")(
        lambda s: ["HSET", "i0", s.remembered[b"i0"].name + b"d" * 16 + b"\0" * 8 + b"\5"]
    ),
    damage("for-ever", "u", "stray")(
        lambda s: ["HSET", "new", NAME + b"d" * 16 + b"\0" * 8 + b"\5"]
    ),
    damage("loses", "ux", "unindexed")(lambda s: ["ZREM", "i1"]),
    damage("late", "ux", "unindexed")(lambda s: ["ZADD", 9e12, "i1"]),
    damage("stranger", "ux", "stray")(lambda s: ["ZADD", 9e12, "nobody's"]),
    damage("foreign", "ux", "stray")(lambda s: ["ZADD", 9e12, "i0"]),
    damage("stranger", "k", "holders")(lambda s: ["HSET", "k", NAME]),
    damage("nonsense", "k", "holders")(lambda s: ["HSET", "k", "x"]),
    damage("empty", "k", "holders")(lambda s: ["HSET", "other", ""]),
    damage("twice", "k", "holders")(
        lambda s: ["HSET", min(s.holders), min(s.holders.values())[0] * 2]
    ),
    damage("loses", "kw", "unindexed")(lambda s: ["ZREMRANGEBYRANK", 0, 0]),
    damage("stranger", "kw", "stray")(lambda s: ["ZADD", 0, b"k\0\4" + NAME]),
    damage("foreign", "kw", "stray")(lambda s: ["ZADD", 0, b"kk\0\4" + _parked(s)]),
    damage("nonsense", "kw", "stray")(lambda s: ["ZADD", 0, "x"]),
    damage("loses", "p", "no_parents")(lambda s: ["HDEL", min(s.parents)]),
    damage("cut", "p", "no_parents")(lambda s: ["HSET", min(s.parents), "x"]),
    damage("stranger", "p", "stray")(lambda s: ["HSET", NAME, "x" * 18]),
    damage("foreign", "p", "stray")(lambda s: ["HSET", _pending(s), "x" * 18]),
    damage("lost", "f", "unfollowed")(lambda s: ["DEL"]),
    *[
        damage("late", suffix, "wrong_score")(
            lambda s, suffix=suffix: ["ZINCRBY", 5, _first(s, suffix)]
        )
        for suffix in ("v", "kw", "f")
    ],
    damage("nonsense", "f", "stray")(lambda s: ["ZADD", 0, _pending(s)]),
    damage("stranger", "f", "untold")(lambda s: ["ZADD", 0, NAME + b"AAAAAAAHAAAAAAAAAA"]),
    damage("unaware", "f", "unaware")(lambda s: ["ZADD", 0, _pending(s) + b"AAAAAAAHAAAAAAAAAA"]),
    damage("lost", "x", "unfollowed")(lambda s: ["DEL"]),
    damage("late", "x", "wrong_score")(lambda s: ["ZADD", 9e12, min(s.outbox)]),
    damage("nonsense", "x", "stray")(lambda s: ["ZADD", 0, "x"]),
    damage("stranger", "g", "stray")(lambda s: ["HSET", NAME, "srv"]),
    damage("ended", "g", "stray")(lambda s: ["HSET", of_state(5)(s), "srv"]),
    damage("nonsense", "h", "stray")(lambda s: ["HSET", "srv+", "x"]),
    damage("number", "h", "stray")(lambda s: ["HSET", "srv", "x"]),
    damage("cfg", "s", "bad_field")(lambda s: ["HSET", "cfg", "x"]),
    damage("samples", "s", "bad_field")(lambda s: ["HSET", "samples", "x"]),
    damage("counter", "s", "bad_field")(lambda s: ["HSET", "enqueued", "many"]),
    damage("schema", "s", "bad_field")(lambda s: ["HSET", "schema", "x"]),
    damage("sweep", "s", "bad_field")(lambda s: ["HSET", "sweep", "x"]),
    damage("tokens", "s", "bad_field")(lambda s: ["HSET", "tokens", "x"]),
    damage("debt", "s", "bad_field")(lambda s: ["HSET", "tokens", "-1e300"]),
    damage("clock-too-far", "s", "bad_field")(lambda s: ["HSET", "clk", 2**53]),
    damage("purged-too-far", "s", "bad_field")(lambda s: ["HSET", "purged", 10**14 - 1]),
    damage("endless", "u", "stray")(
        lambda s: ["HSET", "n" * 70_000, _pending(s) + b"d" * 16 + b"\0" * 9]
    ),
    damage("expires", "m", "expiring")(lambda s: ["EXPIRE", 1_000]),
    damage("expires", "r4", "expiring")(lambda s: ["EXPIRE", 1_000]),
)
"""One entry each; a key that is of another type has a test of its own."""


MANY: Final = (
    *("z-loses", "l-late", "t-foreign", "d-stranger", "r4-loses", "r4-twice", "e-loses"),
    *("m-cut-2", "m-gone-6", "b-bodiless-1", "b-longer-5", "o-loses-labels", "o-history"),
    *("v-stranger", "v-loses", "kw-loses", "kw-stranger", "p-stranger", "f-stranger", "f-unaware"),
    *("x-late", "g-stranger", "u-ended", "u-foreign", "ux-loses", "ux-stranger", "k-stranger"),
    *("k-twice", "h-nonsense"),
)
"""Names of some that can be done at once."""


def _k(name: bytes) -> bytes:
    return name + b"k"


__all__ = ("DAMAGES", "MANY", "NAME", "Damage", "do_all", "populate")
