"""API keys in the store: what is kept of one, who sees it, when it ends and is forgotten."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given, strategies as st

from codeq_grpc.broker.doctor import Doctor
from codeq_grpc.core import limits
from codeq_grpc.core.api_keys import ApiKey, Wanted, digest_of, new_key
from codeq_grpc.core.errors import CodeQError, StoreFull
from codeq_grpc.core.principal import Scope
from codeq_grpc.store import scripts
from codeq_grpc.store.api_keys import FULL, TAKEN, ApiKeyStore, unpack
from codeq_grpc.store.examining import Examining
from codeq_grpc.store.keys import API_KEYS
from codeq_grpc.store.registry import Registry
from tests.support.aborting import AbortingConnection, writes_of
from tests.support.clock import START_MS, VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.admin import Admin
    from tests.support.stores import StoreProcess

DIGEST: Final = digest_of("x")
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


def wanted(**given: Any) -> Wanted:
    return Wanted("ci", frozenset({Scope.TASKS_READ}), (), 0)._replace(**given)


async def make(keys: ApiKeyStore, tenant: str = "acme", **given: Any) -> ApiKey:
    made = await keys.make(tenant, new_key()[0], wanted(**given), "ann", DIGEST)
    assert isinstance(made, ApiKey)
    return made


async def read(keys: ApiKeyStore, key_id: str) -> ApiKey | None:
    _, (key,) = await keys.find([key_id])
    return key


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
    from codeq_grpc.store.api_keys import _readable

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


class TestAborted:
    """Scripts that stop midway: the row says what is, and whoever repeats it makes it whole."""

    CASES: Final[dict[str, set[str]]] = {
        "make_key": {"ZADD", "HSET"},
        "revoke_key": {"ZADD", "HSET"},
        "note_keys": {"HSET"},
        "forget_keys": {"ZADD", "ZREM", "HDEL"},
    }

    def test_every_write_is_among_these(self) -> None:
        for script in scripts.ALL:
            if script.name in self.CASES:
                assert writes_of(script) == self.CASES[script.name]

    async def aborted(
        self, connection: AbortingConnection, script: str, write: int, act: Callable[..., Any]
    ) -> bool:
        connection.abort(script, write)
        try:
            await act()
        except CodeQError:
            assert connection.aborted
        return bool(connection.aborted)

    @pytest.mark.parametrize("life", [0, HOUR])
    async def test_a_key_is_made_whole_or_not_at_all(
        self, keys: ApiKeyStore, connection: AbortingConnection, admin: Admin, life: int
    ) -> None:
        for write in itertools.count(1):
            admin.call("FLUSHALL")

            def act() -> Awaitable[Any]:
                return keys.make("acme", "0" * 12, wanted(life_ms=life), "ann", DIGEST)

            stopped = await self.aborted(connection, "make_key", write, act)
            key = await read(keys, "0" * 12)
            found, _ = await keys.page("acme", "", 9)
            assert (key is None, found) == ((True, []) if stopped else (False, [key]))
            assert not isinstance(await act(), bytes) or not stopped
            assert len((await keys.page("acme", "", 9))[0]) == 1
            await assert_mended(connection)
            if not stopped:
                return

    async def test_a_key_is_revoked_or_not_and_is_never_forgotten_alive(
        self, keys: ApiKeyStore, connection: AbortingConnection, admin: Admin
    ) -> None:
        for write in itertools.count(1):
            admin.call("FLUSHALL")
            connection.clock.ms = START_MS
            key = await make(keys, life_ms=3 * KEPT)
            act = lambda key=key: keys.revoke("acme", key.key_id)  # noqa: E731
            stopped = await self.aborted(connection, "revoke_key", write, act)
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
        self, keys: ApiKeyStore, connection: AbortingConnection, admin: Admin
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
                act = lambda tenant=tenant: keys.forget(KEPT, 9, tenant)  # noqa: E731
                if not await self.aborted(connection, "forget_keys", write, act):
                    break
                left_out.add(connection.aborted)
                await act()
                await keys.forget(KEPT, 9)
                found, _ = await keys.page("acme", "", 9)
                assert sorted(found, key=str) == sorted([alive, lasting], key=str)
                assert await findings(connection) == []
        assert left_out == self.CASES["forget_keys"]

    async def test_a_note_that_stopped_is_made_by_the_next(
        self, keys: ApiKeyStore, connection: AbortingConnection
    ) -> None:
        made = [(await make(keys)).key_id for _ in range(2)]
        assert await self.aborted(connection, "note_keys", 2, lambda: keys.note(made))
        await keys.note(made)
        found, _ = await keys.page("acme", "", 9)
        assert {key.used_ms > 0 for key in found} == {True}


async def findings(
    connection: AbortingConnection, *, repair: bool = False
) -> list[tuple[str, str, str]]:
    async def at_once(_: float) -> None:
        """No rest."""

    examining = Examining(connection, repair=repair, max_attempts=1, error=b"")
    doctor = Doctor(Registry(connection), examining, at_once)
    return [
        (one.kind, one.where, one.entry)
        async for look in doctor.examine_keys()
        for one in look.findings
    ]


async def assert_mended(connection: AbortingConnection) -> list[tuple[str, str, str]]:
    found = await findings(connection)
    assert await findings(connection, repair=True) == found
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
    await findings(connection, repair=True)
    assert await findings(connection) == []
    assert await read(keys, other.key_id) == other
