"""Random damage to a queue with a past: mended, it is without fault, and all in it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hypothesis import HealthCheck, given, note, settings, strategies as st

from codeq_grpc.core.retry import RetryPolicy
from codeq_grpc.core.task import TERMINAL
from codeq_grpc.store.keys import SUFFIXES, Queue
from tests.store.test_random_walks import Walk, live_on
from tests.support.admin import Admin
from tests.support.clock import START_MS, ClockedConnection, VirtualClock
from tests.support.consistency import inconsistencies
from tests.support.courier import deliver
from tests.support.driver import QueueDriver
from tests.support.examined import assert_mended, examine

if TYPE_CHECKING:
    from tests.support.snapshot import Snapshot
    from tests.support.stores import StoreProcess

SETTINGS: Final = settings(
    max_examples=200,
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
STEPS: Final = 80
STRANGERS: Final = (b"\0" * 6 + b"n", b"x", b"E" + b"\0" * 7, b"", b"k\0\4" + b"\0" * 7)
VALUES: Final = (b"", b"x", b"\xff" * 60, b"\0" * 43, b"\4" + b"\0" * 60)


class Blow(NamedTuple):
    """What is done to one key: to the entry at that place of it, or to a new one."""

    suffix: str
    how: str
    place: int
    what: int


SUFFIXES_STRUCK: Final = (
    *("m", "b", "o", "r1", "r5") * 3,
    *(suffix for suffix in SUFFIXES if suffix != "w" and suffix[0] != "r"),
)
"""Rows and what they lead to more often than the rest; the walks use few of the lists."""
BLOWS: Final = st.lists(
    st.builds(
        Blow,
        suffix=st.sampled_from(SUFFIXES_STRUCK),
        how=st.sampled_from(["remove", "remove", "add", "alter", "type", "expire"]),
        place=st.integers(0, 50),
        what=st.integers(0, 4),
    ),
    min_size=1,
    max_size=6,
)


def _entries(admin: Admin, kind: bytes, key: bytes) -> list[bytes]:
    if kind == b"hash":
        return sorted(admin.call("HKEYS", key))
    return list(admin.call("ZRANGE" if kind == b"zset" else "LRANGE", key, 0, -1))


def _commands(kind: bytes, key: bytes, entry: bytes, blow: Blow) -> list[Any]:
    removing = {b"hash": "HDEL", b"zset": "ZREM", b"list": "LREM"}[kind]
    if blow.how == "remove":
        return [removing, key, *([0] if kind == b"list" else []), entry]
    if blow.how == "add":
        entry = STRANGERS[blow.what]
    if kind == b"list":
        return ["RPUSH", key, entry]
    if kind == b"zset":
        return ["ZADD", key, (0, START_MS - 5, START_MS + 9_000, 9e12, 1e15)[blow.what], entry]
    return ["HSET", key, entry, VALUES[blow.what]]


def strike(driver: QueueDriver, blow: Blow) -> None:
    """Does it, if the key is there."""
    admin, key = driver.admin, driver.key(blow.suffix)
    kind = admin.call("TYPE", key)
    kind = kind if isinstance(kind, bytes) else kind.encode()
    if kind not in {b"hash", b"zset", b"list"}:
        return
    if blow.how == "expire":
        admin.call("EXPIRE", key, 100_000)
    elif blow.how == "type" and blow.suffix not in {"m", "b"}:
        admin.call("SET", key, "x")
    elif blow.how != "type":
        entries = _entries(admin, kind, key)
        command = _commands(kind, key, entries[blow.place % len(entries)], blow)
        admin.call(*command)


def rows(driver: QueueDriver) -> dict[bytes, bytes]:
    """Rows as they are."""
    flat = driver.admin.call("HGETALL", driver.key("m"))
    return dict(zip(flat[::2], flat[1::2], strict=True))


def assert_nothing_harmed(before: Snapshot, after: Snapshot, struck: set[bytes]) -> None:
    """Of those that have their rows still: none is gone, none that ended runs again."""
    for name, meta in before.metas.items():
        if name in struck:
            continue
        assert name in after.metas
        if meta.state in TERMINAL:
            assert after.metas[name].state == meta.state


async def _mend(
    connection: ClockedConnection, admin: Admin, seed: int, blows: list[Blow]
) -> set[str]:
    """What the doctor has found."""
    admin.call("FLUSHALL")
    connection.clock.ms = START_MS
    policy = RetryPolicy(initial_backoff_ms=1_000, max_backoff_ms=60_000, multiplier=2, jitter=0)
    driver = QueueDriver.over(connection, Queue("acme", "RENDER", 7), admin, policy)
    walk = Walk(driver, seed)
    for _ in range(STEPS):
        await walk.step()
    await driver.sweep()
    before, known = driver.snapshot(), rows(driver)
    assert await examine(driver) == []
    for blow in blows:
        strike(driver, blow)
    left = rows(driver) if admin.call("TYPE", driver.key("m")) in {b"hash", "hash"} else {}
    found = await assert_mended(driver)
    await deliver(driver)
    assert inconsistencies(driver.snapshot(), driver.clock.ms) == []
    struck = {name for name in known.keys() | left.keys() if known.get(name) != left.get(name)}
    assert_nothing_harmed(before, driver.snapshot(), struck)
    await live_on(driver)
    assert await assert_mended(driver) == []
    after = driver.snapshot().metas
    assert {after[name].state for name in known.keys() & after.keys()} <= TERMINAL
    return {one.kind for one in found}


def test_whatever_is_struck_is_mended_and_all_that_is_left_ends(
    shared_store: StoreProcess,
) -> None:
    found: set[str] = set()

    @SETTINGS
    @given(seed=st.integers(0, 9_999), blows=BLOWS)
    def strike_and_mend(seed: int, blows: list[Blow]) -> None:
        note(f"seed {seed}")

        async def run() -> None:
            connection = ClockedConnection(shared_store.url, VirtualClock())
            try:
                with Admin(shared_store.socket_path) as admin:
                    found.update(await _mend(connection, admin, seed, blows))
            finally:
                await connection.close()

        asyncio.run(run())

    strike_and_mend()
    assert len(found) > 15, f"too little was damaged: {found}"
