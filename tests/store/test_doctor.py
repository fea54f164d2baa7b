"""Whatever a raw command has damaged is told, and mended; what is undamaged is left alone."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from typing_extensions import override

from codeq_grpc.core.errors import CodeQError
from codeq_grpc.core.findings import KINDS, Mode
from codeq_grpc.core.task import TERMINAL, TaskState
from codeq_grpc.store.examining import PARTS
from codeq_grpc.store.keys import SUFFIXES, Queue
from codeq_grpc.store.registry import Registry
from tests.store.cases import WRITING
from tests.store.damages import DAMAGES, MANY, NAME, do_all, populate
from tests.store.making import FAR_MS, LABELS, keyed
from tests.store.test_random_walks import live_on
from tests.support.aborting import AbortingConnection
from tests.support.clock import START_MS, ClockedConnection, VirtualClock
from tests.support.consistency import inconsistencies
from tests.support.courier import deliver
from tests.support.driver import QueueDriver, task
from tests.support.examined import assert_mended, doctor, examine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from codeq_grpc.core.retry import RetryPolicy
    from codeq_grpc.store.scripts import Script
    from tests.store.damages import Damage
    from tests.support.admin import Admin
    from tests.support.stores import StoreProcess

every_damage = pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)


def assert_consistent(driver: QueueDriver) -> None:
    assert inconsistencies(driver.snapshot(), driver.clock.ms) == []


def rows(driver: QueueDriver) -> set[tuple[bytes, bytes]]:
    """Names and rows, as they are."""
    flat = driver.admin.call("HGETALL", driver.key("m"))
    return set(zip(flat[::2], flat[1::2], strict=True))


def damage_to(driver: QueueDriver, damage: Damage) -> set[bytes]:
    """Tasks whose rows it changes."""
    before = rows(driver)
    damage.do(driver)
    return {name for name, _ in before ^ rows(driver)}


@pytest.mark.parametrize("script", WRITING)
async def test_nothing_is_found_after_scripts_that_ran_whole(
    driver: QueueDriver, script: str
) -> None:
    for case in WRITING[script]:
        driver.admin.call("FLUSHALL")
        driver.clock.ms = START_MS
        act = await case(driver)
        if not inconsistencies(driver.snapshot(), driver.clock.ms):
            assert await examine(driver) == []
        await act()
        if not inconsistencies(driver.snapshot(), driver.clock.ms):
            assert await examine(driver) == []


async def test_nothing_is_found_in_a_queue_that_has_everything(driver: QueueDriver) -> None:
    await populate(driver)
    assert_consistent(driver)
    before = driver.snapshot()
    assert await examine(driver, Mode.REPAIR) == []
    assert driver.snapshot() == before
    await driver.purge()
    assert await examine(driver, Mode.REPAIR) == []


@every_damage
async def test_damage_is_told_and_nothing_is_changed_without_repair(
    driver: QueueDriver, damage: Damage
) -> None:
    await populate(driver)
    damage.do(driver)
    digest: list[str | bytes] = ["DEBUG", "DIGEST-VALUE", *driver.queue.keys.values()]
    before = driver.admin.call(*digest)
    found = await examine(driver)
    assert damage.kinds <= {one.kind for one in found}
    assert {one.kind for one in found} <= KINDS.keys()
    assert not any(one.mended for one in found)
    assert driver.admin.call(*digest) == before


@every_damage
async def test_damage_is_mended_and_every_task_reaches_its_end(
    driver: QueueDriver, damage: Damage
) -> None:
    await populate(driver)
    before = driver.snapshot()
    touched = damage_to(driver, damage)
    found = await assert_mended(driver)
    assert all(one.mended or one.kind == "orphan" for one in found)
    assert damage.kinds <= {one.kind for one in found}
    await deliver(driver)
    assert_consistent(driver)
    after = driver.snapshot()
    for name, meta in before.metas.items():
        if name not in touched and meta.state in TERMINAL:
            assert after.metas[name].state == meta.state
    assert before.metas.keys() - after.metas.keys() <= touched
    await live_on(driver)
    assert_consistent(driver)
    assert await examine(driver) == []


class HalfRepair(AbortingConnection):
    """Stops when a part of a queue is mended, before that write."""

    what, write = "", 0

    @override
    async def run(self, script: Script, names: Sequence[bytes | str], args: Sequence[Any]) -> Any:
        # The first of its steps may have nothing to mend: their order is the store's.
        if script.name == "examine" and args[4] == self.what and not self.aborted:
            self.abort("examine", self.write)
        return await super().run(script, names, args)


@pytest.fixture
async def halting(store: StoreProcess) -> AsyncIterator[HalfRepair]:
    connection = HalfRepair(store.url, VirtualClock())
    yield connection
    await connection.close()


@pytest.mark.parametrize("what", [*PARTS, "UNLISTED", "TWICE"])
async def test_repair_that_stops_midway_is_finished_by_the_next(
    halting: HalfRepair, admin: Admin, policy: RetryPolicy, what: str
) -> None:
    driver = QueueDriver.over(halting, Queue("acme", "RENDER", 7), admin, policy)
    for write in itertools.count(1):
        admin.call("FLUSHALL")
        driver.clock.ms = START_MS
        await populate(driver)
        before = driver.snapshot()
        do_all(driver, *[damage for damage in DAMAGES if damage.name in MANY])
        halting.what, halting.write, halting.aborted = what, write, ""
        try:
            await examine(driver, Mode.REPAIR)
        except CodeQError:
            assert halting.aborted
        aborted = halting.aborted
        await assert_mended(driver)
        await deliver(driver)
        assert_consistent(driver)
        assert before.metas.keys() <= driver.snapshot().metas.keys()
        if not aborted:
            assert write > 1
            return


async def test_what_is_damaged_again_as_soon_as_it_is_mended_is_left(driver: QueueDriver) -> None:
    """It tells of what a last look sees, not of what it tried."""
    name, found, looked = await driver.enqueue_one(), [], 0
    async for look in doctor(driver, Mode.REPAIR).examine(driver.queue):
        found += look.findings
        looked += look.part == "keys"
        if look.part == "keys":
            driver.admin.call("ZADD", driver.key("t"), START_MS, name)
    told = [(one.kind, one.where, one.mended) for one in found]
    assert told == [("misplaced", "t", True)] * (looked - 1) + [("misplaced", "t", False)]
    assert looked > 1


@pytest.mark.parametrize("suffix", SUFFIXES)
async def test_key_of_another_type_is_set_aside(driver: QueueDriver, suffix: str) -> None:
    await populate(driver)
    key = driver.key(suffix)
    driver.admin.call("SET", key, "mine")
    assert {(one.kind, one.where) for one in await examine(driver)} == {("wrong_type", suffix)}
    await assert_mended(driver)
    assert driver.admin.call("GET", key.replace(b"}:", b"}:aside:")) == b"mine"
    assert_consistent(driver)
    await driver.enqueue_one()
    await live_on(driver)


async def test_what_was_set_aside_is_never_overwritten(driver: QueueDriver) -> None:
    driver.admin.call("SET", driver.key("t"), "mine")
    await assert_mended(driver)
    driver.admin.call("SET", driver.key("t"), "theirs")
    found = await examine(driver, Mode.REPAIR)
    assert [(one.kind, one.mended) for one in found] == [("wrong_type", False)]
    assert driver.admin.call("GET", driver.key("t").replace(b"}:", b"}:aside:")) == b"mine"
    assert driver.admin.call("GET", driver.key("t")) == b"theirs"


async def test_no_number_is_given_twice_when_the_latest_is_forgotten(driver: QueueDriver) -> None:
    """The store's clock is behind the numbers that it gave, and nothing else knows of them."""
    name, other = await driver.enqueue(task(), task())
    lease = await driver.take_one()
    driver.admin.call("HDEL", driver.key("s"), "clk")
    driver.clock.ms = START_MS - 3_600_000
    told = {(one.kind, one.where) for one in await assert_mended(driver)}
    assert told == {("behind", "s")}
    assert await driver.enqueue_one() > max(name, other)
    assert (await driver.take_one()).fence > lease.fence


async def test_acked_tasks_whose_rows_are_gone_are_kept_till_somebody_decides(
    driver: QueueDriver,
) -> None:
    names = await driver.enqueue(*[task(priority=7)] * 3, keyed("a"), task(labels=LABELS))
    driver.admin.call("DEL", driver.key("m"))
    bodies = driver.snapshot().bodies
    for mode in (Mode.LOOK, Mode.REPAIR, Mode.REPAIR):
        found = await examine(driver, mode)
        assert [(one.kind, one.mended) for one in found] == [("orphan", False)] * 5
        assert {one.task_id for one in found} == {driver.id(name) for name in names}
        assert driver.snapshot().bodies == bodies


async def test_body_without_a_row_becomes_a_task_if_asked_for(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task(priority=7, labels=LABELS)] * 4, keyed("a", priority=7))
    driver.admin.call("DEL", driver.key("m"))
    driver.clock.advance(1)
    await examine(driver, Mode.REPAIR)
    found = {one.kind for one in await examine(driver, Mode.RESTORE)}
    assert found == {"no_row", "wrong_key"}  # the new row gets its key back
    assert await examine(driver) == []
    assert_consistent(driver)
    assert sorted(await driver.claim_names()) == sorted(names)


async def test_body_without_a_row_is_removed_if_asked_for(driver: QueueDriver) -> None:
    kept, lost = await driver.enqueue(task(), task(labels=LABELS, expire_ms=FAR_MS))
    driver.admin.call("HDEL", driver.key("m"), lost)
    found = await examine(driver, Mode.DISCARD)
    assert ("orphan", driver.id(lost), True) in {(o.kind, o.task_id, o.mended) for o in found}
    assert await examine(driver) == []
    state = driver.snapshot()
    assert (list(state.bodies), state.outcomes, state.expiries) == ([kept], {}, {})
    assert_consistent(driver)


async def test_body_under_a_name_that_no_task_has_is_removed(driver: QueueDriver) -> None:
    driver.admin.call("HSET", driver.key("b"), "x", "body")
    found = await examine(driver, Mode.REPAIR)
    assert [(one.kind, one.mended) for one in found] == [("stray", True)]
    assert await examine(driver) == []


async def test_acked_task_whose_row_is_gone_is_never_removed(driver: QueueDriver) -> None:
    """An attempt, an end, an error, or somebody who waits shows that there was one."""
    for lost in ("leased", "failed", "waited"):
        driver.admin.call("FLUSHALL")
        name = await driver.enqueue_one(max_attempts=1)
        if lost == "waited":
            await driver.store.await_end(driver.queue, name, "srv")
        else:
            lease = await driver.take_one()
            if lost == "failed":
                await driver.fail(lease)
        driver.admin.call("HDEL", driver.key("m"), name)
        assert {one.kind for one in await assert_mended(driver)} >= {"no_row"}
        state = driver.meta(name).state
        assert state == (TaskState.FAILED if lost == "failed" else TaskState.PENDING)
        assert_consistent(driver)


async def test_task_without_a_body_fails_and_is_not_redriven(driver: QueueDriver) -> None:
    name = await driver.enqueue_one()
    driver.admin.call("HDEL", driver.key("b"), name)
    assert [one.kind for one in await examine(driver, Mode.REPAIR)] == ["no_body"]
    assert driver.meta(name).state == TaskState.FAILED
    assert driver.snapshot().texts("e")[name] == b"damaged"
    assert await driver.redrive(name) == [(b"UNKNOWN", TaskState.FAILED)]
    assert await examine(driver) == []


async def test_long_lists_are_walked_to_their_heads(driver: QueueDriver) -> None:
    """In pieces, with one missing in each and one that is there twice."""
    names = [n for _ in range(5) for n in await driver.enqueue(*[task(priority=2)] * 500)]
    lost = names[100:2_500:600]
    for name in lost:
        driver.admin.call("LREM", driver.key("r2"), 0, name)
    driver.admin.call("RPUSH", driver.key("r2"), names[1_500])
    found = await assert_mended(driver)
    told = {(one.kind, one.task_id) for one in found}
    missing = {("unlisted", driver.id(name)) for name in lost}
    assert told == missing | {("twice", driver.id(names[1_500]))}
    assert driver.snapshot().lists[2][: len(lost)] == lost


async def test_entries_of_lists_that_claims_pass_over_are_no_finding(driver: QueueDriver) -> None:
    await driver.enqueue_one()
    driver.admin.call("RPUSH", driver.key("r5"), NAME, "x")
    driver.admin.call("RPUSH", driver.key("r1"), *driver.snapshot().lists[5])
    assert await examine(driver) == []


async def test_task_that_another_queue_has_forgotten_is_told_to_it_again(
    clocked: ClockedConnection, admin: Admin, policy: RetryPolicy
) -> None:
    registry = Registry(clocked)
    queues = [await registry.open("acme", command) for command in ("PARENT", "CHILD")]
    parents, children = (QueueDriver.over(clocked, queue, admin, policy) for queue in queues)
    parent = await parents.enqueue_one()
    (child,) = await children.enqueue(task(depends_on=(parents.id(parent),)))
    assert await examine(children) == []
    (entry,) = await children.owed(for_ms=0)
    await parents.follow(children.id(child), parent)
    await children.settle(entry)
    assert await examine(children) == []
    admin.call("DEL", parents.key("f"))
    assert [one.kind for one in await assert_mended(children)] == ["unfollowed"]
    assert [(e.kind, e.name) for e in await children.owed()] == [("B", child)]


async def test_task_that_waits_for_one_of_no_queue_fails(driver: QueueDriver) -> None:
    """As when a queue that lost its number got another."""
    gone = Queue("acme", "GONE", driver.queue.number + 1).task_id(NAME)
    (child,) = await driver.enqueue(task(depends_on=(gone,)))
    assert await examine(driver) == []
    await driver.settle(*await driver.owed(for_ms=0))
    assert [one.kind for one in await assert_mended(driver)] == ["unfollowed"]
    assert [(entry.kind, entry.name) for entry in await driver.owed()] == [("B", child)]


async def test_clock_that_goes_back_while_it_looks_makes_nothing_of_tasks_a_finding(
    driver: QueueDriver,
) -> None:
    """But what waits in the outbox till the old time comes again is delivered at once."""
    await populate(driver)
    driver.clock.advance(20)
    await driver.sweep()
    found, looks = [], doctor(driver, Mode.REPAIR).examine(driver.queue)
    async for look in looks:
        found += look.findings
        if look.part == "m" and driver.clock.ms > START_MS:
            driver.clock.ms = START_MS - 3_600_000
        elif look.part == "lists":
            await driver.enqueue(*[task(priority=9)] * 3)
    assert {(one.kind, one.where) for one in found} == {("wrong_score", "x")}
    assert_consistent(driver)
