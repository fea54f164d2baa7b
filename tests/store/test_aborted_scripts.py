"""A script that stops midway loses no task and runs none that has ended.

The store does not roll back. Scripts therefore write the new index first, then the meta, and
leave the old index last; here each write of each script in turn is the one that does not happen.
Whatever it leaves, every acked task is in the index that its meta names, and a life as usual
(promote, reap, claim, complete, prune) brings each to its end and every key to nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import pytest

from codeq_grpc.core.errors import CodeQError
from codeq_grpc.core.task import TERMINAL, Ending, TaskState
from codeq_grpc.store import scripts
from codeq_grpc.store.keys import Queue
from codeq_grpc.store.registry import Registry
from codeq_grpc.store.tasks import DONE, REPEATED, Report, TaskStore
from tests.support.aborting import AbortingConnection, writes_of
from tests.support.clock import VirtualClock
from tests.support.driver import LEASE_MS, QueueDriver, leases_of, task
from tests.support.snapshot import inconsistencies

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from codeq_grpc.core.retry import RetryPolicy
    from tests.support.admin import Admin, Ear
    from tests.support.snapshot import Snapshot
    from tests.support.stores import StoreProcess

Act = Callable[[], Awaitable[object]]
Case = Callable[[QueueDriver], Awaitable[Act]]
"""Brings a queue into a state and gives the call that is to be aborted, and may be repeated."""

UNKNOWN: Final = b"unknown"


def forge(driver: QueueDriver, index: str, *names: bytes) -> None:
    """Entries of an index that are due and stale."""
    for name in names:
        driver.admin.call("ZADD", driver.key(index), 1, name)


async def waiting(driver: QueueDriver) -> None:
    """Two servers wait, one of which no longer listens."""
    for server in ("gone", "srv"):
        assert (await driver.claim(wake=server)).tasks == []


async def enqueueing(driver: QueueDriver) -> Act:
    await driver.enqueue(task(when=-5_000))
    await waiting(driver)
    new = [task(priority=1), task(priority=7), task(when=-2_000), task(priority=7)]
    return lambda: driver.enqueue(*new)


async def claiming(driver: QueueDriver) -> Act:
    await driver.enqueue(task(when=-1_000), task(when=-1_000, priority=9), task(when=-90_000))
    later = await driver.enqueue_one(when=-80_000)
    await driver.enqueue(task(priority=1), task(priority=7, max_attempts=1), task(priority=7))
    driver.clock.advance(1_000)
    forge(driver, "z", UNKNOWN, later)
    driver.admin.call("LPUSH", driver.key("r7"), UNKNOWN)
    return lambda: driver.claim(6)


async def claiming_a_part(driver: QueueDriver) -> Act:
    await driver.enqueue(task(when=-1_000), task(when=-1_000, priority=9), task(when=-1_000))
    await waiting(driver)
    driver.clock.advance(1_000)
    return driver.claim


async def claiming_in_vain(driver: QueueDriver) -> Act:
    await driver.enqueue(task(when=-90_000))
    driver.admin.call("LPUSH", driver.key("r7"), UNKNOWN)
    return lambda: driver.claim(wake="srv")


async def beating(driver: QueueDriver) -> Act:
    await driver.enqueue(task(), task())
    leases = await driver.take(2)
    driver.clock.advance(LEASE_MS - 1)
    return lambda: driver.heartbeat(*leases)


def reporting(*endings: tuple[Ending, int | None]) -> Case:
    async def case(driver: QueueDriver) -> Act:
        new = [task(priority=i % 3, max_attempts=1 + i % 2) for i in range(2 * len(endings))]
        await driver.enqueue(*new)
        leases = await driver.take(len(new))
        for lease in leases:
            await driver.store.await_end(driver.queue, lease.name, "srv")
        await waiting(driver)
        reports = [
            Report(*lease, ending, b"text", delay_ms)
            for lease, (ending, delay_ms) in zip(leases, endings * 2, strict=True)
        ]

        async def act() -> None:
            verdicts = await driver.report(*reports)
            assert {verdict.word for verdict in verdicts} <= {DONE, REPEATED}

        return act

    return case


async def promoting(driver: QueueDriver) -> Act:
    await driver.enqueue(task(when=-1_000), task(when=-1_000, priority=9), task(when=-90_000))
    later = await driver.enqueue_one(when=-80_000)
    await waiting(driver)
    driver.clock.advance(1_000)
    forge(driver, "z", UNKNOWN, later)
    return lambda: driver.store.promote(driver.queue, 500)


async def reaping(driver: QueueDriver) -> Act:
    names = await driver.enqueue(*[task(priority=i % 3, max_attempts=1 + i % 2) for i in range(6)])
    await driver.take(6)
    for name in names:
        await driver.store.await_end(driver.queue, name, "srv")
    await waiting(driver)
    driver.clock.advance(LEASE_MS)
    await driver.enqueue(task(priority=9), task(priority=9))
    held, ended = await driver.take(2)
    await driver.complete(ended)
    forge(driver, "l", UNKNOWN, held.name, ended.name)
    return driver.reap


async def pruning(driver: QueueDriver) -> Act:
    await driver.enqueue(task(), task(max_attempts=1), task())
    completed, failed, _ = await driver.take(3)
    await driver.complete(completed, b"result")
    await driver.fail(failed, b"error")
    forge(driver, "t", UNKNOWN, failed.name)
    for lease in (completed, failed):
        driver.admin.call("HSET", driver.key("g"), lease.name, "srv")
    driver.clock.advance(1)
    return driver.prune


async def awaiting(driver: QueueDriver) -> Act:
    name = await driver.enqueue_one()
    return lambda: driver.store.await_end(driver.queue, name, "srv")


async def passing_on(driver: QueueDriver) -> Act:
    await driver.enqueue(task(when=-1))
    await waiting(driver)
    return lambda: driver.store.pass_on(driver.queue, "left")


ENDINGS: Final = tuple(itertools.product(Ending, [None, 0, 500]))[3:-3]
CASES: Final[dict[str, tuple[Case, ...]]] = {
    "enqueue": (enqueueing,),
    "claim": (claiming, claiming_a_part, claiming_in_vain),
    "heartbeat": (beating,),
    "report": (reporting(*ENDINGS), *(reporting(ending) for ending in ENDINGS)),
    "promote": (promoting,),
    "reap": (reaping,),
    "prune": (pruning,),
    "await_end": (awaiting,),
    "pass_on": (passing_on,),
}
BY_NAME: Final = {script.name: script for script in scripts.ALL}


@pytest.fixture
async def aborting(store: StoreProcess) -> AsyncIterator[AbortingConnection]:
    connection = AbortingConnection(store.url, VirtualClock())
    yield connection
    await connection.close()


@pytest.fixture
def driver(aborting: AbortingConnection, admin: Admin, policy: RetryPolicy) -> QueueDriver:
    tasks = TaskStore(aborting, retry=policy, lease_ms=LEASE_MS)
    return QueueDriver(tasks, Queue("acme", "RENDER", 7), aborting.clock, admin)


def assert_reachable(snapshot: Snapshot, before: Snapshot) -> None:
    """Every task, acked or not, that has a meta is where its meta says, with its body."""
    indexes = {
        TaskState.SCHEDULED: snapshot.scheduled,
        TaskState.IN_PROGRESS: snapshot.leases,
        TaskState.COMPLETED: snapshot.ended,
        TaskState.FAILED: snapshot.dead,
    }
    for name, meta in snapshot.metas.items():
        if meta.state == TaskState.PENDING:
            assert name in snapshot.lists[meta.priority]
        else:
            assert name in indexes[TaskState(meta.state)]
        if meta.state not in TERMINAL:
            assert name in snapshot.bodies
    for name, meta in before.metas.items():
        assert name in snapshot.metas or meta.state in TERMINAL


async def live_on(driver: QueueDriver) -> set[bytes]:
    """The names of the tasks that run till nothing is left to run; each completes."""
    ran: set[bytes] = set()
    for _ in range(10):
        driver.clock.advance(10 * LEASE_MS)
        await driver.store.promote(driver.queue, 500)
        await driver.reap()
        leases = leases_of(await driver.claim(500))
        for lease in leases:
            assert lease.name not in ran
            assert (await driver.complete(lease)).word == DONE
            ran.add(lease.name)
        state = driver.snapshot()
        if not (leases or state.pending or state.scheduled or state.leases):
            return ran
    raise AssertionError("there is always something left")


async def assert_all_end_well(driver: QueueDriver, before: Snapshot) -> None:
    left = driver.snapshot()
    ended = {name: meta for name, meta in left.metas.items() if meta.state in TERMINAL}
    ran = await live_on(driver)
    state = driver.snapshot()
    assert {name: state.metas[name] for name in ended} == ended
    assert ran.isdisjoint(ended)
    for name in left.metas.keys() - ended.keys():
        meta = state.metas[name]
        used_up = meta.attempt == meta.max_attempts and meta.ending == Ending.EXPIRE
        assert (meta.state == TaskState.COMPLETED) if name in ran else used_up
    driver.clock.advance(1)
    await driver.prune()
    state = driver.snapshot()
    assert inconsistencies(state) in ([], ["bodies and metas are not of the same tasks"])
    assert (state.metas, state.outcomes, state.waited) == ({}, {}, {})
    assert state.bodies.keys().isdisjoint(before.metas)


async def abort_and_live_on(
    driver: QueueDriver, connection: AbortingConnection, case: Case, write: int, *, repeat: bool
) -> str:
    """The command that was left out; empty when the script has fewer writes than that."""
    driver.admin.call("FLUSHALL")
    act = await case(driver)
    before = driver.snapshot()
    (script,) = (name for name, cases in CASES.items() if case in cases)
    connection.abort(script, write)
    try:
        await act()
    except CodeQError:
        assert connection.aborted
    aborted = connection.aborted
    assert_reachable(driver.snapshot(), before)
    if aborted and repeat:
        await act()
        assert_reachable(driver.snapshot(), before)
    await assert_all_end_well(driver, before)
    return aborted


@pytest.mark.parametrize("repeat", [False, True], ids=["left-alone", "repeated"])
@pytest.mark.parametrize("script", CASES)
async def test_no_task_is_lost_nor_run_after_its_end_wherever_the_script_stops(
    driver: QueueDriver,
    aborting: AbortingConnection,
    listen: Callable[[str], Ear],
    script: str,
    repeat: bool,
) -> None:
    listen("srv")
    left_out: set[str] = set()
    for case in CASES[script]:
        for write in itertools.count(1):
            aborted = await abort_and_live_on(driver, aborting, case, write, repeat=repeat)
            if not aborted:
                break
            left_out.add(aborted)
    assert left_out == writes_of(BY_NAME[script])


def test_every_script_that_writes_is_among_these() -> None:
    writing = {script.name for script in scripts.ALL if writes_of(script)}
    assert writing == CASES.keys() | {"register"}


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
        (name,), _ = await driver.store.enqueue(queue, [task()])
        for reader in (registry, Registry(aborting)):
            await reader.refresh()
            assert await reader.of_task("acme", queue.task_id(name)) == (queue, name)
            assert {known.command for known in reader.known()} == {"OTHER", "RENDER"}
        if not aborting.aborted:
            return
