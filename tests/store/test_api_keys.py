"""API keys in the store: what is kept of one, who sees it, when it ends and is forgotten."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given, strategies as st

from codeq_grpc.core import limits
from codeq_grpc.core.api_keys import ApiKey, Wanted, digest_of
from codeq_grpc.core.errors import StoreFull
from codeq_grpc.core.principal import Scope
from codeq_grpc.store.api_keys import FULL, TAKEN, ApiKeyStore, _readable, unpack
from codeq_grpc.store.keys import API_KEYS
from tests.store.api_keys import DIGEST, make, read, wanted
from tests.support.aborting import AbortingConnection
from tests.support.clock import START_MS, VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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


async def test_a_key_is_read_as_it_was_made(keys: ApiKeyStore) -> None:
    asked = Wanted("naïve ✂", frozenset({Scope.TASKS_READ, Scope.KEYS_ADMIN}), ("A*", "b"), HOUR)
    made = await keys.make("acme", "0" * 12, asked, "ann \0 of\nacme", DIGEST)
    assert made == ApiKey(
        key_id="0" * 12,
        tenant="acme",
        name=asked.name,
        scopes=asked.scopes,
        commands=asked.commands,
        created_by="ann \0 of\nacme",
        created_ms=START_MS,
        expires_ms=START_MS + HOUR,
        revoked_ms=0,
        used_ms=0,
        digest=DIGEST,
    )
    assert await keys.find(["0" * 12, "1" * 12]) == (START_MS, [made, None])


async def test_an_id_that_is_taken_is_given_to_nobody_else(keys: ApiKeyStore) -> None:
    key = await make(keys)
    assert await keys.make("rival", key.key_id, wanted(), "bob", digest_of("y")) == TAKEN
    assert await read(keys, key.key_id) == key
    assert await keys.page("rival", "", 9) == ([], "")


async def test_pages_have_each_key_of_the_tenant_once_the_newest_first(
    keys: ApiKeyStore, connection: AbortingConnection
) -> None:
    made = []
    for number in range(7):
        made.append(await make(keys, name=str(number)))
        await make(keys, "acme.x" if number % 2 else "acm")
        connection.clock.advance(number % 2)
    for size in (1, 2, 3, 7, 8):
        found, place = [], ""
        for page in itertools.count(1):
            keys_of_page, place = await keys.page("acme", place, size)
            found += keys_of_page
            if not place:
                assert page == -(-7 // size)
                break
        assert sorted(found, key=lambda key: key.name) == made
        assert [key.created_ms for key in found] == sorted(
            (key.created_ms for key in made), reverse=True
        )


async def test_a_page_ends_before_it_is_too_large_for_a_message(
    keys: ApiKeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codeq_grpc.store.api_keys._PAGE_BYTES", 1_000)
    made = [(await make(keys, commands=("x" * 100,) * 4)).key_id for _ in range(5)]
    found, place, pages = [], "", 0
    while place or not pages:
        page, place = await keys.page("acme", place, 100)
        found += [key.key_id for key in page]
        pages += 1
    assert sorted(found) == sorted(made)
    assert pages >= 2


async def test_a_tenant_has_so_many_keys_at_most(
    keys: ApiKeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "API_KEYS", 3)
    made = [await make(keys) for _ in range(3)]
    assert await keys.make("acme", "0" * 12, wanted(), "ann", DIGEST) == FULL
    await make(keys, "acme2")
    assert await keys.forget(0, 100, "acme") == 0
    await keys.revoke("acme", made[1].key_id)
    assert await keys.make("acme", "0" * 12, wanted(), "ann", DIGEST) == FULL
    assert await keys.forget(0, 100, "acme") == 1
    await make(keys)
    assert await read(keys, made[1].key_id) is None


async def test_revoking_is_for_good_and_of_ones_own_keys(
    keys: ApiKeyStore, connection: AbortingConnection
) -> None:
    key = await make(keys)
    assert not await keys.revoke("rival", key.key_id)
    assert not await keys.revoke("acme", "0" * 12)
    assert await read(keys, key.key_id) == key
    for _ in range(2):
        assert await keys.revoke("acme", key.key_id)
        revoked = await read(keys, key.key_id)
        assert revoked is not None
        assert revoked.revoked_ms == START_MS
        connection.clock.advance(5)


async def test_use_is_told_to_the_minute_and_of_keys_that_there_are(
    keys: ApiKeyStore, connection: AbortingConnection, admin: Admin
) -> None:
    key = await make(keys)
    connection.clock.advance(61_000)
    await keys.note([key.key_id, "0" * 12])
    ((seen,), _) = await keys.page("acme", "", 9)
    assert seen.used_ms == (START_MS + 61_000) // 60_000 * 60_000
    assert admin.call("HKEYS", API_KEYS["used"]) == [key.key_id.encode()]


async def test_ended_keys_are_forgotten_30_days_later_and_nothing_of_them_stays(
    keys: ApiKeyStore, connection: AbortingConnection, admin: Admin
) -> None:
    lasting = await make(keys)
    expiring = await make(keys, life_ms=HOUR)
    revoked = await make(keys, life_ms=2 * HOUR)
    late = await make(keys, life_ms=HOUR)
    await keys.revoke("acme", revoked.key_id)
    await keys.note([one.key_id for one in (lasting, expiring, revoked)])
    connection.clock.ms = START_MS + KEPT - 1
    assert await keys.forget(KEPT, 9) == 0
    # Revoked after it had expired: it ended when it expired.
    await keys.revoke("acme", late.key_id)
    connection.clock.ms = START_MS + KEPT
    assert await keys.forget(KEPT, 9) == 1
    assert await read(keys, revoked.key_id) is None
    connection.clock.ms = START_MS + KEPT + HOUR
    assert await keys.forget(KEPT, 1) == 1
    assert await keys.forget(KEPT, 1) == 1
    assert await keys.forget(KEPT, 1) == 0
    assert await keys.page("acme", "", 9) == ([_used(lasting)], "")
    sizes = [admin.call("HLEN", API_KEYS[name]) for name in ("rows", "used")]
    assert sizes + [admin.call("ZCARD", API_KEYS[name]) for name in ("tenants", "ends")] == [
        *(1, 1, 1, 0)
    ]


def _used(key: ApiKey) -> ApiKey:
    return unpack(key.key_id, _row(key), START_MS // 60_000 * 60_000)


def _row(key: ApiKey) -> bytes:
    texts = (
        *(key.tenant, key.name, key.created_by),
        *(" ".join(sorted(key.scopes)), " ".join(key.commands)),
    )
    times = (key.created_ms, key.expires_ms, key.revoked_ms)
    row = b"".join(ms.to_bytes(8, "big") for ms in times) + key.digest
    return row + b"".join(len(text.encode()).to_bytes(2, "big") + text.encode() for text in texts)


async def test_a_full_store_makes_no_key_and_revokes_all_the_same(
    keys: ApiKeyStore, admin: Admin
) -> None:
    key = await make(keys)
    admin.call("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(StoreFull):
            await make(keys)
        assert await keys.revoke("acme", key.key_id)
        await keys.note([key.key_id])
        assert await keys.forget(0, 9, "acme") == 1
    finally:
        admin.call("CONFIG", "SET", "maxmemory", "0")


async def test_a_row_that_cannot_be_read_is_no_key(keys: ApiKeyStore, admin: Admin) -> None:
    key = await make(keys, commands=("A",))
    whole = admin.call("HGET", API_KEYS["rows"], key.key_id)
    for cut in range(len(whole)):
        admin.call("HSET", API_KEYS["rows"], key.key_id, whole[:cut])
        assert await read(keys, key.key_id) is None
        assert await keys.page("acme", "", 9) == ([], "")


@given(st.binary(max_size=200))
def test_bytes_are_a_key_or_none_and_never_another_error(raw: bytes) -> None:
    whole = _row(
        ApiKey(
            key_id="x",
            tenant="t",
            name="n",
            scopes=frozenset(Scope),
            commands=("A*",),
            created_by="c",
            created_ms=1,
            expires_ms=2,
            revoked_ms=3,
            used_ms=0,
            digest=DIGEST,
        )
    )
    for row in (raw, whole[:56] + raw, whole + raw, raw + whole):
        key = _readable("x", row)
        assert key is None or isinstance(key, ApiKey)


async def test_a_scope_of_a_later_version_is_no_right_here(keys: ApiKeyStore, admin: Admin) -> None:
    key = await make(keys)
    row = admin.call("HGET", API_KEYS["rows"], key.key_id)
    admin.call("HSET", API_KEYS["rows"], key.key_id, row.replace(b"tasks.read", b"tasks.make"))
    found = await read(keys, key.key_id)
    assert found is not None
    assert found.scopes == frozenset()
