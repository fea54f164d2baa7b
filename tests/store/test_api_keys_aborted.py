"""Scripts about API keys that stop midway, and damage: what the doctor finds and mends."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Any, Final

import pytest

from codeq_grpc.broker.doctor import Doctor
from codeq_grpc.core import limits
from codeq_grpc.core.errors import CodeQError
from codeq_grpc.core.findings import Mode
from codeq_grpc.store import scripts
from codeq_grpc.store.api_keys import ApiKeyStore
from codeq_grpc.store.examining import Examining
from codeq_grpc.store.keys import API_KEYS
from codeq_grpc.store.registry import Registry
from tests.store.api_keys import DIGEST, make, read, wanted
from tests.support.aborting import AbortingConnection, writes_of
from tests.support.clock import START_MS, VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.admin import Admin
    from tests.support.stores import StoreProcess

HOUR: Final = limits.HOUR
KEPT: Final = limits.API_KEY_KEPT_MS


@pytest.fixture
async def connection(store: StoreProcess) -> AsyncIterator[AbortingConnection]:
    connected = AbortingConnection(store.url, VirtualClock())
    yield connected
    await connected.close()


@pytest.fixture
def keys(connection: AbortingConnection) -> ApiKeyStore:
    return ApiKeyStore(connection)


CASES: Final[dict[str, set[str]]] = {
    "make_key": {"ZADD", "HSET"},
    "revoke_key": {"ZADD", "HSET"},
    "note_keys": {"HSET"},
    "forget_keys": {"ZADD", "ZREM", "HDEL"},
}


def test_every_write_is_among_these() -> None:
    for script in scripts.ALL:
        if script.name in CASES:
            assert writes_of(script) == CASES[script.name]


async def aborted(
    connection: AbortingConnection, script: str, write: int, act: Callable[..., Any]
) -> bool:
    connection.abort(script, write)
    try:
        await act()
    except CodeQError:
        assert connection.aborted
    return bool(connection.aborted)


@pytest.mark.parametrize("life", [0, HOUR])
async def test_a_key_is_made_whole_or_not_at_all(
    keys: ApiKeyStore, connection: AbortingConnection, admin: Admin, life: int
) -> None:
    for write in itertools.count(1):
        admin.call("FLUSHALL")

        def act() -> Awaitable[Any]:
            return keys.make("acme", "0" * 12, wanted(life_ms=life), "ann", DIGEST)

        stopped = await aborted(connection, "make_key", write, act)
        key = await read(keys, "0" * 12)
        found, _ = await keys.page("acme", "", 9)
        assert (key is None, found) == ((True, []) if stopped else (False, [key]))
        assert not isinstance(await act(), bytes) or not stopped
        assert len((await keys.page("acme", "", 9))[0]) == 1
        await assert_mended(connection)
        if not stopped:
            return


async def test_a_key_is_revoked_or_not_and_is_never_forgotten_alive(
    keys: ApiKeyStore, connection: AbortingConnection, admin: Admin
) -> None:
    for write in itertools.count(1):
        admin.call("FLUSHALL")
        connection.clock.ms = START_MS
        key = await make(keys, life_ms=3 * KEPT)
        act = functools.partial(keys.revoke, "acme", key.key_id)
        stopped = await aborted(connection, "revoke_key", write, act)
        found = await read(keys, key.key_id)
        assert found is not None
        assert bool(found.revoked_ms) is not stopped
        if stopped:
            connection.clock.advance(2 * KEPT)
            assert await keys.forget(KEPT, 9) == 0
            assert await read(keys, key.key_id) == key
        assert await act()
        found = await read(keys, key.key_id)
        assert found is not None
        assert found.revoked_ms
        assert await findings(connection) == []
        if not stopped:
            return


async def test_what_was_forgotten_in_part_is_forgotten_by_the_next(
    keys: ApiKeyStore, connection: AbortingConnection, admin: Admin
) -> None:
    left_out: set[str] = set()
    for tenant in ("", "acme"):
        for write in itertools.count(1):
            admin.call("FLUSHALL")
            connection.clock.ms = START_MS
            alive = await make(keys, life_ms=9 * KEPT)
            admin.call("ZADD", API_KEYS["ends"], 5, alive.key_id)
            lasting = await make(keys)
            admin.call("ZADD", API_KEYS["ends"], 6, lasting.key_id)
            ended = [await make(keys, life_ms=HOUR) for _ in range(2)]
            await keys.note([key.key_id for key in ended])
            connection.clock.advance(HOUR + KEPT)
            act = functools.partial(keys.forget, KEPT, 9, tenant)
            if not await aborted(connection, "forget_keys", write, act):
                break
            left_out.add(connection.aborted)
            await act()
            await keys.forget(KEPT, 9)
            found, _ = await keys.page("acme", "", 9)
            assert sorted(found, key=str) == sorted([alive, lasting], key=str)
            assert await findings(connection) == []
    assert left_out == CASES["forget_keys"]


async def test_a_note_that_stopped_is_made_by_the_next(
    keys: ApiKeyStore, connection: AbortingConnection
) -> None:
    made = [(await make(keys)).key_id for _ in range(2)]
    assert await aborted(connection, "note_keys", 2, lambda: keys.note(made))
    await keys.note(made)
    found, _ = await keys.page("acme", "", 9)
    assert {key.used_ms > 0 for key in found} == {True}


async def findings(
    connection: AbortingConnection, mode: Mode = Mode.LOOK
) -> list[tuple[str, str, str]]:
    async def at_once(_: float) -> None:
        """No rest."""

    examining = Examining(connection, mode=mode, max_attempts=1, error=b"")
    doctor = Doctor(Registry(connection), examining, at_once)
    return [
        (one.kind, one.where, one.entry)
        async for look in doctor.examine_keys()
        for one in look.findings
    ]


async def assert_mended(connection: AbortingConnection) -> list[tuple[str, str, str]]:
    found = await findings(connection)
    assert await findings(connection, Mode.REPAIR) == found
    assert await findings(connection) == []
    return found


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("HSET", "rows", "{k}", "short"), {"bad_key rows", "stray tenants", "stray ends"}),
        (("HDEL", "rows", "{k}"), {"stray tenants", "stray ends", "stray used"}),
        (("DEL", "tenants"), {"unindexed tenants"}),
        (("ZADD", "tenants", "5", "{m}"), {"wrong_score tenants"}),
        (("ZADD", "tenants", "0", "rival/0000000000000{k}"), {"stray tenants"}),
        (("ZADD", "tenants", "0", "x"), {"stray tenants"}),
        (("ZREM", "ends", "{k}"), {"unindexed ends"}),
        (("ZADD", "ends", "5", "{k}"), {"wrong_score ends"}),
        (("ZADD", "ends", "5", "{o}"), {"stray ends"}),
        (("ZADD", "ends", "5", "x"), {"stray ends"}),
        (("HSET", "used", "x", "5"), {"stray used"}),
        (("HSET", "used", "{k}", "x"), {"stray used"}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
async def test_damage_is_told_and_mended(
    keys: ApiKeyStore,
    connection: AbortingConnection,
    admin: Admin,
    command: tuple[str, ...],
    expected: set[str],
) -> None:
    other = await make(keys)
    key = await make(keys, life_ms=HOUR)
    await keys.note([key.key_id])
    assert await findings(connection) == []
    name, suffix, *rest = command
    place = f"acme/{START_MS}{key.key_id}"
    admin.call(
        name,
        API_KEYS[suffix],
        *[one.format(k=key.key_id, o=other.key_id, m=place) for one in rest],
    )
    found = await findings(connection)
    assert {f"{kind} {where}" for kind, where, _ in found} - {"unindexed tenants"} == expected - {
        "unindexed tenants"
    }
    assert ("unindexed tenants" in expected) is any(
        "unindexed tenants" in f"{a} {b}" for a, b, _ in found
    )
    await findings(connection, Mode.REPAIR)
    assert await findings(connection) == []
    assert await read(keys, other.key_id) == other
