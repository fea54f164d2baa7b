"""Every key that a script touches is among its KEYS, the rule of a cluster: read off MONITOR.

The cases run the scripts through their branches. That they reach every command of every script
is asserted too, so that a new branch cannot be forgotten there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from codeq_grpc.core.audit import Event, Stream
from codeq_grpc.core.findings import Mode
from codeq_grpc.core.task import TaskState
from codeq_grpc.store import keys, scripts
from codeq_grpc.store.api_keys import ApiKeyStore
from codeq_grpc.store.presence import PresenceStore
from codeq_grpc.store.registry import Registry
from codeq_grpc.store.trail import TrailStore
from tests.store.api_keys import make
from tests.store.calendars import CalendarDriver, new
from tests.store.cases import NEVER, WRITING
from tests.store.cases_of_calendars import CALENDAR_CASES
from tests.store.damages import DAMAGES, populate
from tests.store.damages_of_calendars import CALENDAR_DAMAGES, damaged, findings
from tests.store.making import LABELS, UNKNOWN, tasks_of_every_state
from tests.support.admin import Admin
from tests.support.clock import START_MS, ClockedConnection, with_clock
from tests.support.driver import Lease, QueueDriver, task
from tests.support.examined import doctor, examine
from tests.support.lua import commands_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.admin import Ear
    from tests.support.stores import StoreProcess

WORD: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"')
KEYLESS: Final = {b"TIME", b"PUBLISH"}


class Touch(NamedTuple):
    """One command of one run of a script."""

    script: str
    declared: tuple[bytes, ...]
    command: bytes
    first: bytes


class Monitor:
    """Reads what the store does."""

    def __init__(self, store: StoreProcess, admin: Admin) -> None:
        self._store = store
        self._names = {}
        self._admin = admin
        for script in scripts.ALL:
            sha = self._admin.call("SCRIPT", "LOAD", with_clock(script).source)
            self._names[sha] = script.name
        self._admin.call("MONITOR")

    def touches(self) -> Iterator[Touch]:
        """Everything scripts did so far."""
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


async def use_registry(connection: ClockedConnection, admin: Admin) -> None:
    registry = Registry(connection)
    queue = await registry.open("acme", "A")
    await Registry(connection).open("acme", "A")
    await connection.run(scripts.REGISTER, keys.REGISTRY, ("acme/D", 0, 9))
    admin.call("DEL", keys.REGISTRY[3])
    await connection.run(scripts.REGISTER, keys.REGISTRY, ("acme/B", queue.number + 50, 0))
    await connection.run(scripts.REGISTER, keys.REGISTRY, ("acme/C", queue.number, 9))
    await connection.run(scripts.REGISTER, keys.REGISTRY, ("acme/C", queue.number + 99, 1))
    await connection.run(scripts.STAMP, [keys.STAMP], ())
    presence = PresenceStore(connection)
    for report in (b"report", b"another", b""):
        await presence.tell("acme", "srv", report)
        await presence.read("acme")
    trail = TrailStore(connection, retention_ms=1_000)
    for stream in Stream:
        await trail.write("acme", stream, [Event(*"saoqrtcp")])
    await trail.read("acme", "", 9)


async def use_api_keys(driver: QueueDriver) -> None:
    store = ApiKeyStore(driver.store._connection)
    ended, lasting = await make(store, life_ms=1), await make(store)
    other, _ = [await make(store, life_ms=9), await make(store, commands=("A",))]
    await store.note([ended.key_id, UNKNOWN.hex()])
    await store.find([ended.key_id, "x"])
    await store.page("acme", "", 9)
    await store.revoke("acme", lasting.key_id)
    driver.admin.call("ZADD", keys.API_KEYS["ends"], 1, other.key_id)
    driver.clock.advance(5)
    await store.forget(0, 9)
    await store.forget(0, 9, "acme")
    driver.admin.call("HSET", keys.API_KEYS["rows"], "x", "short")
    driver.admin.call("HSET", keys.API_KEYS["used"], "y", "1")
    driver.admin.call("ZADD", keys.API_KEYS["ends"], 1, "z")
    driver.admin.call(
        "ZREM",
        keys.API_KEYS["tenants"],
        *driver.admin.call("ZRANGE", keys.API_KEYS["tenants"], 0, 0),
    )
    looking = doctor(driver, Mode.REPAIR)
    assert [one async for look in looking.examine_keys() for one in look.findings]


async def use_calendars(driver: QueueDriver) -> None:
    connection = driver.store._connection
    assert isinstance(connection, ClockedConnection)
    calendar = CalendarDriver.over(connection, driver.admin)
    for case in (case for cases in CALENDAR_CASES.values() for case in cases):
        driver.admin.call("FLUSHALL")
        driver.clock.ms = START_MS
        calendar.store._kept = 100
        act = await case(calendar)
        await act()
        await act()
    driver.admin.call("FLUSHALL")
    await calendar.make(labels=LABELS, max_firings=1)
    await calendar.store.put(calendar.calendar, "b", new(), expect=None, most=9)
    await calendar.store.read(calendar.calendar, ["a", "x"])
    await calendar.store.page(calendar.calendar, labels=LABELS, command="RENDER")
    await calendar.store.versions(calendar.calendar, "a")
    await calendar.store.version(calendar.calendar, "a", 9)
    await calendar.fired()
    await calendar.firings()
    await calendar.store.peek([calendar.calendar])
    for one in CALENDAR_DAMAGES:
        await damaged(calendar, one)
        await findings(calendar, Mode.REPAIR)
    driver.admin.call("EXPIRE", calendar.key("m"), 1_000)
    await findings(calendar, Mode.REPAIR)


async def use_reads(driver: QueueDriver) -> None:
    names = await tasks_of_every_state(driver)
    lease = Lease(names[0], driver.meta(names[0]).fence)
    await driver.tell(lease, b"progress", b"checkpoint")
    await driver.fail(lease, b"error", delay_ms=0)
    await driver.read(*names)
    await driver.reads.states(driver.queue, names)
    await driver.store.held(driver.queue, [lease])
    await driver.settings.settings(driver.queue)
    await driver.stats()
    await driver.upkeep.peek([driver.queue])
    await driver.reads.unended([driver.queue])
    for state in TaskState:
        await driver.scan_all(state, most=1, budget=2)
    await driver.scan_all(TaskState.FAILED, labels=LABELS, error_prefix=b"error")
    await driver.scan_all(0, labels=LABELS, states=frozenset(TaskState))
    await driver.enqueue(*[task(priority=9)] * 3)
    (_, cursor) = await driver.scan(TaskState.PENDING, most=1)
    driver.admin.call("RPUSH", driver.key("r9"), UNKNOWN)
    await driver.scan(TaskState.PENDING, cursor)
    (_, cursor) = await driver.scan(TaskState.CANCELLED, most=1)
    await driver.cancel(*names)
    (_, cursor) = await driver.scan(TaskState.CANCELLED, most=1)
    driver.admin.call("DEL", driver.key("c"))
    await driver.scan(TaskState.CANCELLED, cursor)


async def use_doctor(driver: QueueDriver) -> None:
    for damage in DAMAGES:
        driver.admin.call("FLUSHALL")
        driver.clock.ms = START_MS
        await populate(driver)
        damage.do(driver)
        await examine(driver, Mode.REPAIR)
    driver.admin.call("SET", driver.key("v"), "of another type")
    await examine(driver, Mode.REPAIR)
    looking = doctor(driver, Mode.REPAIR)
    registry = "codeq:{registry}:"
    for key, name, value in (
        *(("numbers", "5", "acme/A"), ("numbers", "6", "nonsense"), ("names", "acme/B", "7")),
        ("names", "nonsense", "8"),
    ):
        driver.admin.call("HSET", registry + key, name, value)
    driver.admin.call("SET", registry + "last", "nonsense", "EX", 1000)
    driver.admin.call("ZADD", registry + "order", "0", "acme/GONE")
    assert [one async for look in looking.examine_registry() for one in look.findings]


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
    with Admin(store.socket_path) as listening:
        monitor = Monitor(store, listening)
        await use_registry(clocked, driver.admin)
        for case in (case for cases in WRITING.values() for case in cases):
            driver.admin.call("FLUSHALL")
            driver.clock.ms = START_MS
            act = await case(driver)
            await act()
            await act()
        driver.admin.call("FLUSHALL")
        driver.clock.ms = START_MS
        await use_reads(driver)
        await use_doctor(driver)
        driver.admin.call("FLUSHALL")
        await use_api_keys(driver)
        await use_calendars(driver)
        return list(monitor.touches())


def test_every_key_touched_is_declared(touches: list[Touch]) -> None:
    assert [t for t in touches if t.command not in KEYLESS and t.first not in t.declared] == []


def test_every_command_of_every_script_was_run(touches: list[Touch]) -> None:
    for script in scripts.ALL:
        run = {touch.command.decode() for touch in touches if touch.script == script.name}
        written = commands_of(script) - {"TIME"}
        assert written - run == NEVER.get(script.name, set()), script.name
        assert run <= written, script.name


def test_first_argument_of_every_command_is_its_only_key(
    touches: list[Touch], driver: QueueDriver
) -> None:
    """What the first test takes for granted; RENAMENX has two, and those of its script are two."""
    commands = sorted({touch.command for touch in touches})
    for command, info in zip(
        commands, driver.admin.call("COMMAND", "INFO", *commands), strict=True
    ):
        first_and_last_key = info[3], info[4]
        expected = (0, 0) if command in KEYLESS else (1, 2) if command == b"RENAMENX" else (1, 1)
        assert first_and_last_key == expected, command


def test_keys_of_a_queue_share_one_hash_tag(driver: QueueDriver) -> None:
    assert {key.split(b"}")[0] for key in driver.queue.keys.values()} == {b"codeq:{acme/RENDER/0"}
    calendar = keys.Calendar("acme").keys
    assert {key.split(b"}")[0] for key in calendar.values()} == {b"codeq:{acme"}
    assert {key.split("}")[0] for key in keys.REGISTRY} == {"codeq:{registry"}
    assert {key.split("}")[0] for key in keys.API_KEYS.values()} == {"codeq:{api:keys"}
