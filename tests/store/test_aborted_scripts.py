"""A script that stops midway loses no task, runs none that has ended, and leaves none stuck.

The store does not roll back. Scripts therefore write the new index first, then the meta, and
leave the old index last; here each write of each script in turn is the one that does not happen.
Whatever it leaves, every acked task is in the index that its meta names, and a life as usual
(promote, reap, sweep, deliver, claim, complete, prune) brings each to its end and every key to
nothing. What no task accounts for then, the doctor finds and removes, bodies of unknown outcome if
told to; run at once, it leaves the queue as if no script had ever stopped.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import pytest

from codeq_grpc.core.errors import CodeQError
from codeq_grpc.core.principal import Reach
from codeq_grpc.core.task import TERMINAL, Ending, TaskState
from codeq_grpc.store import scripts
from codeq_grpc.store.keys import Queue
from codeq_grpc.store.registry import Registry
from codeq_grpc.store.tasks import DONE
from tests.store.cases import NEVER, WRITING
from tests.store.cases_of_calendars import CALENDAR_CASES
from tests.store.making import FAR_MS, TTL_MS, keyed
from tests.support.aborting import AbortingConnection, writes_of
from tests.support.clock import START_MS, VirtualClock
from tests.support.consistency import inconsistencies
from tests.support.courier import deliver
from tests.support.driver import LEASE_MS, QueueDriver, leases_of, task
from tests.support.examined import assert_mended
from tests.support.snapshot import CANCELLING, PARKED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from codeq_grpc.core.retry import RetryPolicy
    from tests.store.making import Case
    from tests.support.admin import Admin, Ear
    from tests.support.snapshot import Meta, Snapshot
    from tests.support.stores import StoreProcess

LEFT_ALONE, REPEATED, MENDED = "left-alone", "repeated", "mended"
BY_NAME: Final = {script.name: script for script in scripts.ALL}


@pytest.fixture
async def aborting(store: StoreProcess) -> AsyncIterator[AbortingConnection]:
    connection = AbortingConnection(store.url, VirtualClock())
    yield connection
    await connection.close()


@pytest.fixture
def driver(aborting: AbortingConnection, admin: Admin, policy: RetryPolicy) -> QueueDriver:
    return QueueDriver.over(aborting, Queue("acme", "RENDER", 7), admin, policy)


def assert_reachable(snapshot: Snapshot, before: Snapshot, now_ms: int) -> None:
    """Every task, acked or not, that has a meta is where its meta says, with its body; but for
    those that only the reaper or the sweeper is still to see.
    """
    parked = {parked.name for parked in snapshot.parked}
    for name, meta in snapshot.metas.items():
        if meta.state != TaskState.PENDING:
            assert name in snapshot.indexes[TaskState(meta.state)]
        elif not snapshot.is_purged(name) and not 0 < meta.expire_ms <= now_ms:
            assert name in (parked if meta.has(PARKED) else snapshot.lists[meta.priority])
        if meta.state not in TERMINAL:
            assert name in snapshot.bodies
            expires = meta.expire_ms and not snapshot.is_purged(name)
            assert not expires or snapshot.expiries[name] == meta.expire_ms
    for name, meta in before.metas.items():
        assert name in snapshot.metas or meta.state in TERMINAL


def unended(snapshot: Snapshot) -> list[object]:
    """What stands in places of tasks that are to go on."""
    places: tuple[object, ...] = (
        *(snapshot.pending, snapshot.scheduled, snapshot.leases, snapshot.parked),
        *(snapshot.outbox, snapshot.settings.get(b"sweep")),
        [name for name, meta in snapshot.metas.items() if meta.state == TaskState.BLOCKED],
    )
    return [place for place in places if place]


async def live_on(driver: QueueDriver) -> set[bytes]:
    """The names of the tasks that run till nothing is left to run; each completes."""
    ran: set[bytes] = set()
    left: list[object] = []
    for _ in range(12):
        driver.clock.advance(10 * LEASE_MS)
        await driver.promote()
        await driver.reap()
        await driver.sweep()
        await deliver(driver)
        leases = leases_of(await driver.claim(500))
        for lease in leases:
            assert lease.name not in ran
            assert (await driver.complete(lease)).word == DONE
            ran.add(lease.name)
        left = unended(driver.snapshot())
        if not leases and not left:
            return ran
    raise AssertionError(f"there is always something left: {left}")


def may_end_so(name: bytes, before: Snapshot, after: Meta) -> bool:
    """Without having run to its end."""
    meta = before.metas[name]
    match after.state:
        case TaskState.FAILED:
            used_up = after.attempt == after.max_attempts and after.ending == Ending.EXPIRE
            return used_up or meta.state == TaskState.BLOCKED
        case TaskState.CANCELLED:
            return before.is_purged(name) or meta.has(CANCELLING)
        case _:
            return after.state == TaskState.EXPIRED and after.expire_ms > 0


async def assert_all_end_well(driver: QueueDriver, before: Snapshot) -> None:
    left = driver.snapshot()
    ended = {name for name, meta in left.metas.items() if meta.state in TERMINAL}
    ran = await live_on(driver)
    state = driver.snapshot()
    for name in left.metas:
        meta = state.metas[name]
        if name in ended:
            assert name not in ran
            assert meta._replace(flags=0) == left.metas[name]._replace(flags=0)
        elif name in ran:
            assert meta.state == TaskState.COMPLETED
        else:
            assert may_end_so(name, left, meta)
    await assert_no_key_is_taken(driver, {meta.key for meta in left.metas.values()})
    await assert_nothing_stays(driver, before)


async def assert_no_key_is_taken(driver: QueueDriver, keys: set[bytes]) -> None:
    await driver.configure(max_in_progress_per_key=1)
    await driver.enqueue(*[task(concurrency_key=key.decode()) for key in keys])
    for lease in await driver.take(len(keys)):
        await driver.complete(lease)
    assert driver.snapshot().holders == {}


async def assert_nothing_stays(driver: QueueDriver, before: Snapshot) -> None:
    """Of what was acked. Orphans that no row leads to may stay: body, labels and such."""
    driver.clock.ms = max(driver.clock.ms, FAR_MS) + TTL_MS
    await driver.reap()
    assert driver.snapshot().expiries == {}
    for _ in range(3):  # others are told of an end first
        await deliver(driver)
        await driver.prune()
        driver.clock.advance(1)
    state = driver.snapshot()
    assert (state.metas, state.waited, state.windows) == ({}, {}, {})
    known = before.metas.keys()
    assert known.isdisjoint([*state.bodies, *state.parents])
    assert known.isdisjoint(name for index in state.indexes.values() for name in index)
    assert {field[:-1] for field in state.outcomes}.isdisjoint(known)
    assert {name for _, name in state.labels | state.followers}.isdisjoint(known)


async def assert_doctor_removes_the_rest(driver: QueueDriver) -> None:
    await assert_mended(driver)
    await deliver(driver)
    state = driver.snapshot()
    assert not any([state.metas, state.bodies, state.outcomes, state.labels, state.remembered])
    assert not any([state.windows, state.holders, state.parked, state.parents, state.followers])
    assert not any([state.waited, state.expiries, *state.indexes.values()])
    assert inconsistencies(state, driver.clock.ms) == []


async def abort_and_live_on(
    driver: QueueDriver, connection: AbortingConnection, case: Case, write: int, then: str
) -> str:
    """The command that was left out; empty when the script has fewer writes than that."""
    driver.admin.call("FLUSHALL")
    driver.clock.ms = START_MS
    act = await case(driver)
    before = driver.snapshot()
    (script,) = (name for name, cases in WRITING.items() if case in cases)
    connection.abort(script, write)
    try:
        await act()
    except CodeQError:
        assert connection.aborted
    aborted = connection.aborted
    assert_reachable(driver.snapshot(), before, driver.clock.ms)
    if aborted and then == REPEATED:
        await act()
        assert_reachable(driver.snapshot(), before, driver.clock.ms)
    if then == MENDED:
        await assert_mended(driver)
        await deliver(driver)
        assert inconsistencies(driver.snapshot(), driver.clock.ms) == []
        assert_reachable(driver.snapshot(), before, driver.clock.ms)
    await assert_all_end_well(driver, before)
    await assert_doctor_removes_the_rest(driver)
    return aborted


@pytest.mark.parametrize("then", [LEFT_ALONE, REPEATED, MENDED])
@pytest.mark.parametrize("script", WRITING)
async def test_no_task_is_lost_nor_stuck_nor_run_after_its_end_wherever_the_script_stops(
    driver: QueueDriver,
    aborting: AbortingConnection,
    listen: Callable[[str], Ear],
    script: str,
    then: str,
) -> None:
    listen("srv")
    left_out: set[str] = set()
    for case in WRITING[script]:
        for write in itertools.count(1):
            aborted = await abort_and_live_on(driver, aborting, case, write, then)
            if not aborted:
                break
            left_out.add(aborted)
    assert left_out == writes_of(BY_NAME[script]) - NEVER.get(script, set())


ELSEWHERE: Final = {
    "register",
    "present",
    "stamp",
    "vitals",
    "examine",
    "set_aside",
    "examine_registry",
    "record",
    *("make_key", "revoke_key", "note_keys", "forget_keys", "examine_keys"),
    *CALENDAR_CASES,
    "examine_calendar",
}
"""Scripts that write, and have tests of their own for it."""


def test_every_script_that_writes_is_among_these() -> None:
    writing = {script.name for script in scripts.ALL if writes_of(script)}
    assert writing == WRITING.keys() | ELSEWHERE


async def test_task_whose_deletion_stopped_midway_is_whole_or_is_not_redriven(
    driver: QueueDriver, aborting: AbortingConnection
) -> None:
    for write in itertools.count(1):
        driver.admin.call("FLUSHALL")
        names = await driver.enqueue(keyed("a"), task(b"plain"))
        await driver.cancel(*names)
        driver.clock.advance(1)
        aborting.abort("prune", write)
        try:
            await driver.prune()
        except CodeQError:
            assert aborting.aborted
        words = dict(zip(names, [word for word, _ in await driver.redrive(*names)], strict=True))
        state = driver.snapshot()
        redriven = {name for name, word in words.items() if word == b"REDRIVEN"}
        assert redriven == state.bodies.keys() & state.metas.keys()
        assert {lease.name for lease in leases_of(await driver.claim(9))} == redriven
        await assert_mended(driver)
        if not aborting.aborted:
            return


async def test_repeating_an_aborted_enqueue_makes_one_task_of_each_key(
    driver: QueueDriver, aborting: AbortingConnection
) -> None:
    for write in itertools.count(1):
        driver.admin.call("FLUSHALL")
        new = [keyed("a"), keyed("b", when=-5_000), keyed("a"), keyed("c", ttl_ms=0)]
        aborting.abort("enqueue", write)
        try:
            await driver.add(*new)
        except CodeQError:
            assert aborting.aborted
        added = await driver.add(*new)
        again = await driver.add(*new)
        assert added.names == again.names
        assert len(driver.snapshot().metas) == len(set(added.names)) == 3
        assert [again.specials[i].word for i in range(4)] == [b"EXISTING"] * 4
        if not aborting.aborted:
            return


async def test_queue_whose_registration_stopped_midway_is_registered_by_the_next(
    aborting: AbortingConnection, admin: Admin, driver: QueueDriver
) -> None:
    for write in itertools.count(1):
        admin.call("FLUSHALL")
        other = await Registry(aborting).open("acme", "OTHER")
        aborting.abort("register", write)
        try:
            await Registry(aborting).open("acme", "RENDER")
        except CodeQError:
            assert aborting.aborted
        registry = Registry(aborting)
        queue = await registry.open("acme", "RENDER")
        assert queue.number not in {0, other.number}
        (name,) = (await driver.store.enqueue(queue, [task()])).names
        for reader in (registry, Registry(aborting)):
            await reader.refresh()
            assert await reader.of_task(Reach("acme"), queue.task_id(name)) == (queue, name)
            assert {known.command for known in reader.known()} == {"OTHER", "RENDER"}
        if not aborting.aborted:
            return
