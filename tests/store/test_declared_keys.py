"""Every key that a script touches is among its KEYS, the rule of a cluster: read off MONITOR.

`exercise` runs the scripts through their branches. That it reaches every command of every script
is asserted too, so that a new branch cannot be forgotten here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from codeq_grpc.core.task import Ending
from codeq_grpc.store import keys, scripts
from codeq_grpc.store.registry import Registry
from codeq_grpc.store.tasks import Report
from tests.support.admin import Admin
from tests.support.clock import ClockedConnection, with_clock
from tests.support.driver import LEASE_MS, QueueDriver, task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.admin import Ear
    from tests.support.stores import StoreProcess

WORD: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"')
CALL: Final = re.compile(rb"redis\.call\('(\w+)'")
KEYLESS: Final = {b"TIME", b"PUBLISH"}
UNREACHED: Final = {"await_end": {b"HMGET"}, "enqueue": {b"HMGET"}}
"""Of a fragment that the script includes for another of its functions."""


class Touch(NamedTuple):
    """One command of one run of a script."""

    script: str
    declared: tuple[bytes, ...]
    command: bytes
    first: bytes


class Monitor:
    """Reads what the store does."""

    def __init__(self, store: StoreProcess) -> None:
        self._store = store
        self._names = {}
        self._admin = Admin(store.socket_path)
        for script in scripts.ALL:
            sha = self._admin.call("SCRIPT", "LOAD", with_clock(script).source)
            self._names[sha] = script.name
        self._admin.call("MONITOR")

    def touches(self) -> Iterator[Touch]:
        """Everything scripts did so far; ends the monitor."""
        with Admin(self._store.socket_path) as other:
            other.call("ECHO", "the end")
        script, declared = "", ()
        while b'"the end"' not in (line := self._admin.receive()):
            command, *rest = WORD.findall(line)
            if b" lua] " in line.split(b'"', 1)[0]:
                yield Touch(script, declared, command.upper(), rest[0] if rest else b"")
            elif command == b"EVALSHA":
                script = self._names[rest[0]]
                declared = tuple(rest[2 : 2 + int(rest[1])])
        self._admin.close()


async def use_registry(connection: ClockedConnection) -> None:
    registry = Registry(connection)
    queue = await registry.open("acme", "A")
    await Registry(connection).open("acme", "A")
    await connection.run(scripts.REGISTER, keys.REGISTRY, ("acme/B", queue.number + 50))
    await connection.run(scripts.REGISTER, keys.REGISTRY, ("acme/C", queue.number))
    await connection.run(scripts.REGISTER, keys.REGISTRY, ("acme/C", queue.number + 99))


async def use_leases(driver: QueueDriver) -> None:
    new = [task(priority=i % 10, max_attempts=1 + i // 10 * 2) for i in range(30)]
    names = await driver.enqueue(*new)
    for name in names[:3]:
        await driver.store.await_end(driver.queue, name, "srv")
        await driver.store.await_end(driver.queue, name, "other")
    leases = await driver.take(30)
    await driver.heartbeat(*leases, leases[0]._replace(fence=1))
    await driver.store.held(driver.queue, leases)
    endings = [Ending.COMPLETE, Ending.FAIL, Ending.ABANDON]
    await driver.report(
        *[
            Report(*lease, endings[i % 3], b"text", [None, 0, 5][i // 3 % 3])
            for i, lease in enumerate(leases[:27])
        ]
    )
    await driver.complete(leases[0])
    await driver.store.get(driver.queue, leases[0].name, result=True)
    await driver.store.get(driver.queue, b"unknown", result=True)
    await driver.store.await_end(driver.queue, leases[0].name, "srv")


async def use_daemons(driver: QueueDriver) -> None:
    """Two of the leases before run out, one with its last attempt; some entries are forged."""
    last = await driver.enqueue_one(max_attempts=1, priority=9)
    await driver.take_one()
    await driver.store.await_end(driver.queue, last, "srv")
    driver.clock.advance(LEASE_MS)
    later = await driver.enqueue_one(when=-9_000)
    await driver.enqueue_one(priority=9)
    held = await driver.take_one()
    for index, name in (("z", later), ("l", held.name)):
        driver.admin.call("ZADD", driver.key(index), 1, name, 1, b"unknown")
    await driver.store.promote(driver.queue, 500)
    driver.admin.call("ZADD", driver.key("z"), 1, later, 1, b"unknown")
    await driver.reap()
    await driver.stats()
    await driver.claim()
    driver.clock.advance(10_000)
    await driver.store.promote(driver.queue, 500)
    await driver.prune(limit=2)
    await driver.prune()


async def use_wake_ups(driver: QueueDriver) -> None:
    await driver.claim(500)
    for server in ("gone", "srv", "other"):
        await driver.claim(wake=server)
        driver.clock.advance(1)
    await driver.store.pass_on(driver.queue, "gone")
    await driver.store.pass_on(driver.queue, "left")
    await driver.enqueue_one(when=-5_000)
    driver.admin.call("LPUSH", driver.key("r0"), b"unknown")
    await driver.claim(wake="srv")
    await driver.enqueue(task(), task(when=-5))
    driver.clock.advance(5)
    await driver.claim(wake="srv")
    await driver.enqueue_one(when=-1)
    await driver.claim(500)
    await driver.claim(wake="srv")
    driver.clock.advance(1)
    await driver.store.promote(driver.queue, 500)
    await driver.claim(500)
    await driver.enqueue(task(when=-1), task(when=-1))
    await driver.claim(wake="srv")
    driver.clock.advance(1)
    await driver.claim()


@pytest.fixture
async def touches(
    store: StoreProcess,
    clocked: ClockedConnection,
    driver: QueueDriver,
    listen: Callable[[str], Ear],
) -> list[Touch]:
    """Every command of scripts that run through their branches."""
    for server in ("srv", "other"):
        listen(server)
    monitor = Monitor(store)
    await use_registry(clocked)
    await use_leases(driver)
    await use_daemons(driver)
    await use_wake_ups(driver)
    return list(monitor.touches())


def test_every_key_touched_is_declared(touches: list[Touch]) -> None:
    assert [t for t in touches if t.command not in KEYLESS and t.first not in t.declared] == []


def test_every_command_of_every_script_was_run(touches: list[Touch]) -> None:
    for script in scripts.ALL:
        run = {touch.command for touch in touches if touch.script == script.name}
        written = set(CALL.findall(with_clock(script).source))
        assert written - run == UNREACHED.get(script.name, set()), script.name
        assert run <= written, script.name


def test_first_argument_of_every_command_is_its_only_key(
    touches: list[Touch], driver: QueueDriver
) -> None:
    """What the first test takes for granted."""
    commands = sorted({touch.command for touch in touches})
    for command, info in zip(
        commands, driver.admin.call("COMMAND", "INFO", *commands), strict=True
    ):
        first_and_last_key = info[3], info[4]
        assert first_and_last_key == ((0, 0) if command in KEYLESS else (1, 1)), command


def test_keys_of_a_queue_share_one_hash_tag(driver: QueueDriver) -> None:
    assert {key.split(b"}")[0] for key in driver.queue.keys.values()} == {b"codeq:{acme/RENDER/0"}
    assert {key.split("}")[0] for key in keys.REGISTRY} == {"codeq:{registry"}
