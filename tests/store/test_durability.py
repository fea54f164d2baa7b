"""What a store must be set up like for each level, and when a change counts as durable."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Self

import pytest

from codeq_grpc.core.durability import Level
from codeq_grpc.core.errors import NotDurable
from codeq_grpc.store.connection import Connection
from codeq_grpc.store.durability import WAITS, Durability
from codeq_grpc.store.health import HARMLESS, check_store
from tests.faults.power_store import PowerStore
from tests.support.admin import Admin
from tests.support.replicas import Replica
from tests.support.server import eventually
from tests.support.stores import StoreProcess, engines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.stores import Engine

VALKEY: Final = engines()[0]
TIMEOUT: Final = 2.0


class Promise:
    """A level on a store, by a connection of its own."""

    def __init__(self, url: str, level: str) -> None:
        self.connection = Connection(
            url, timeout=TIMEOUT, settling=WAITS if Level(level).waits else 0
        )
        self.durability = Durability(self.connection, Level(level))

    async def problems(self) -> dict[str, str]:
        """What is wrong with the store."""
        return await check_store(self.connection, self.durability)

    async def kept(self, since: int | None = None) -> bool:
        """Whether what was done so far is durable."""
        if since is None:
            since = self.durability.since()
        try:
            await self.durability.reached(since, TIMEOUT)
        except NotDurable:
            return False
        return True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.durability.close()
        await self.connection.close()


def configure(store: StoreProcess, *settings: str) -> None:
    """CONFIG SET."""
    with Admin(store.socket_path) as admin:
        admin.call("CONFIG", "SET", *settings)


@pytest.mark.parametrize(
    ("level", "settings", "problem"),
    [
        ("D0", (), ""),
        ("D0", ("appendonly", "no"), ""),
        ("D1", (), ""),
        ("D1", ("appendfsync", "always"), ""),
        ("D1", ("appendonly", "no"), "appendonly is no, D1 needs yes"),
        ("D1", ("appendfsync", "no"), "appendfsync is no, D1 needs everysec or always"),
        (
            "D1",
            ("no-appendfsync-on-rewrite", "yes"),
            "no-appendfsync-on-rewrite is yes, D1 needs no",
        ),
        ("D2", ("appendfsync", "always"), ""),
        ("D2", (), "appendfsync is everysec, D2 needs always"),
        (
            "D2",
            ("appendonly", "no", "no-appendfsync-on-rewrite", "yes"),
            (
                "appendonly is no, D2 needs yes; appendfsync is everysec, D2 needs always;"
                " no-appendfsync-on-rewrite is yes, D2 needs no"
            ),
        ),
    ],
)
async def test_what_differs_from_the_level_is_told_setting_by_setting(
    own_store: StoreProcess, level: str, settings: tuple[str, ...], problem: str
) -> None:
    if settings:
        configure(own_store, *settings)
    async with Promise(own_store.url, level) as promise:
        assert await promise.problems() == ({"durability": problem} if problem else {})


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ((), ""),
        (("appendfsync", "everysec"), "appendfsync is everysec, D3 needs always"),
        (("appendonly", "no"), "appendonly is no, D3 needs yes"),
    ],
)
async def test_d3_needs_a_store_whose_word_can_be_taken(
    valkey: StoreProcess, settings: tuple[str, ...], problem: str
) -> None:
    if settings:
        configure(valkey, *settings)
    async with Promise(valkey.url, "D3") as promise:
        assert await promise.problems() == ({"durability": problem} if problem else {})
        assert await promise.kept() is (problem == "")


async def test_a_store_without_waitaof_cannot_have_d3_and_says_so(own_store: StoreProcess) -> None:
    configure(own_store, "appendfsync", "always")
    has = own_store.engine.name == "valkey"
    async with Promise(own_store.url, "D3") as promise:
        problems = await promise.problems()
        assert await promise.kept() is has
    version = own_store.engine.version
    text = f"redis {version} has no WAITAOF, D3 needs Redis 7.2 or newer, or Valkey"
    assert problems == ({} if has else {"durability": text})


async def test_waitaof_of_this_valkey_is_not_true_with_everysec() -> None:
    """Once it is, D3 may have everysec there: see store/versions.py."""
    with PowerStore(VALKEY) as store, Admin(store.socket_path) as admin:
        admin.call("SET", "k", "v")
        store.stall()
        admin.call("SET", "k", "w")
        assert admin.call("WAITAOF", 1, 0, 50) == [1, 0]
        assert store.cut() > 0


async def test_d4_needs_a_replica_that_writes_and_a_store_that_insists_on_it(
    engine: Engine,
) -> None:
    with Replica(engine) as pair:
        primary = pair.primary
        async with Promise(primary.url, "D4") as promise:
            assert await promise.problems() == {}
            assert await promise.kept()
            configure(primary, "min-replicas-to-write", "0")
            assert await promise.problems() == {
                "durability": "min-replicas-to-write is 0, D4 needs 1 or more"
            }
            configure(primary, "min-replicas-to-write", "1", "appendfsync", "everysec")
            assert await promise.problems() == {
                "durability": "appendfsync is everysec, D4 needs always"
            }
            configure(primary, "appendfsync", "always")
            pair.replica.pause()
            assert not await promise.kept()
            pair.replica.resume()
            assert await promise.kept()
            pair.replica.kill()
            configure(primary, "min-replicas-to-write", "0")
            problems = await promise.problems()
            assert "no replica is connected, D4 needs one" in problems["durability"]


async def test_settings_that_the_store_does_not_tell_are_named_and_harmless(
    own_store: StoreProcess,
) -> None:
    with Admin(own_store.socket_path) as admin:
        admin.call("ACL", "SETUSER", "codeq", "on", ">secret", "~*", "&*", "+@all", "-config")
    url = f"unix://codeq@{own_store.socket_path}?password=secret"
    assert "settings" in HARMLESS
    async with Promise(url, "D2") as promise:
        problems = await promise.problems()
        assert problems.keys() == {"settings"}
        assert problems["settings"].startswith(
            "appendfsync, no-appendfsync-on-rewrite: cannot be checked, the store does not allow"
            " CONFIG GET"
        )
        configure(own_store, "appendonly", "no")
        problems = await promise.problems()
        assert problems["durability"] == "appendonly is no, D2 needs yes"
    async with Promise(url, "D0") as promise:
        assert await promise.problems() == {}


async def test_many_callers_share_a_wait(valkey: StoreProcess) -> None:
    async with Promise(valkey.url, "D3") as promise:
        assert await promise.kept()
        before = _waits(valkey)
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(promise.kept()) for _ in range(500)]
        assert all(call.result() for call in calls)
        assert _waits(valkey) - before == 1


async def test_who_comes_after_a_wait_has_set_out_has_one_to_come(engine: Engine) -> None:
    """What it has changed may be later than what that wait sees."""
    with Replica(engine) as pair:
        async with Promise(pair.primary.url, "D4") as promise:
            assert await promise.kept()
            pair.replica.pause()
            first = asyncio.create_task(promise.kept())
            await eventually(lambda: _blocked(pair.primary) == 1)
            second = asyncio.create_task(promise.kept())
            await eventually(lambda: _blocked(pair.primary) == 2)
            assert not await first
            assert not await second


async def test_who_leaves_takes_nobody_along(valkey: StoreProcess) -> None:
    async with Promise(valkey.url, "D3") as promise:
        assert await promise.kept()
        first, second = (asyncio.create_task(promise.kept()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second
        assert first.cancelled()


async def test_what_another_life_of_the_store_says_is_no_proof(valkey: StoreProcess) -> None:
    async with Promise(valkey.url, "D3") as promise:
        assert await promise.kept()
        since = promise.durability.since()
        await asyncio.to_thread(valkey.kill)
        await asyncio.to_thread(valkey.start)
        assert not await promise.kept(since)
        assert promise.durability.since() > since
        assert await promise.kept()


async def test_no_connection_to_an_earlier_store_is_used_once_another_was_seen(
    valkey: StoreProcess, tmp_path: Path
) -> None:
    """As when a name leads to the new primary, and the old one still lives."""
    name = tmp_path / "s"
    name.symlink_to(valkey.socket_path)
    with always() as other:
        async with Promise(f"unix://{name}", "D3") as promise:
            assert await promise.kept()
            since = promise.durability.since()
            name.unlink()
            name.symlink_to(other.socket_path)
            async with asyncio.TaskGroup() as group:
                for _ in range(3):
                    group.create_task(promise.connection.info())
            assert promise.durability.since() == since + 1
            for _ in range(5):
                assert (await promise.connection.info())["run_id"] == _run_id(other)
            assert not await promise.kept(since)
            assert await promise.kept()


async def test_below_d3_nothing_is_waited_for(store: StoreProcess) -> None:
    async with Promise(store.url, "D2") as promise:
        assert await promise.kept()
        assert _waits(store) == 0


@pytest.fixture
async def valkey() -> AsyncIterator[StoreProcess]:
    with always() as process:
        yield process


def always() -> StoreProcess:
    """A store for D3."""
    return StoreProcess(VALKEY, aof=True, options=("--appendfsync", "always"))


def _blocked(store: StoreProcess) -> int:
    with Admin(store.socket_path) as admin:
        info: bytes = admin.call("INFO", "clients")
    return int(info.partition(b"blocked_clients:")[2].split(b"\r", 1)[0])


def _run_id(store: StoreProcess) -> str:
    with Admin(store.socket_path) as admin:
        info: bytes = admin.call("INFO", "server")
    return info.partition(b"run_id:")[2].split(b"\r", 1)[0].decode()


def _waits(store: StoreProcess) -> int:
    with Admin(store.socket_path) as admin:
        info: bytes = admin.call("INFO", "commandstats")
    return int((info.partition(b"cmdstat_waitaof:calls=")[2] or b"0").split(b",", 1)[0])
