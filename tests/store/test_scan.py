"""scan finds tasks page by page, newest first, while the places that it walks change."""

from __future__ import annotations

import re

import pytest

from codeq_grpc.core.records import Idempotency
from codeq_grpc.core.task import Conflict, Ending, TaskState
from codeq_grpc.store.tasks import Report
from tests.store.making import tasks_of_every_state
from tests.support.clock import START_MS
from tests.support.driver import LEASE_MS, Packed, QueueDriver, task

pytestmark = pytest.mark.usefixtures("consistent")

PENDING, SCHEDULED, LEASED = TaskState.PENDING, TaskState.SCHEDULED, TaskState.IN_PROGRESS
SORTED = [state for state in TaskState if state != PENDING]


async def fill(driver: QueueDriver, state: TaskState, count: int) -> list[bytes]:
    """Names of so many tasks that came to a state a millisecond after each other."""
    names = []
    for i in range(count):
        when = -1_000_000 if state == SCHEDULED else 0
        parents = (driver.id(b"unknown"),) if state == TaskState.BLOCKED else ()
        expire_ms = driver.clock.ms + 1 if state == TaskState.EXPIRED else 0
        new = task(b"%d" % i, max_attempts=1, when=when, depends_on=parents, expire_ms=expire_ms)
        names += await driver.enqueue(new)
        if state in {LEASED, TaskState.COMPLETED, TaskState.FAILED}:
            lease = await driver.take_one()
            ending = Ending.COMPLETE if state == TaskState.COMPLETED else Ending.FAIL
            if state != LEASED:
                await driver.report(Report(*lease, ending))
        if state == TaskState.CANCELLED:
            await driver.cancel(*names[-1:])
        driver.clock.advance(1)
        await driver.reap()
    return names


@pytest.mark.parametrize("state", TaskState)
@pytest.mark.parametrize(("most", "budget"), [(500, 500), (3, 500), (500, 3), (2, 5), (1, 1)])
async def test_every_task_of_a_state_is_found_once_newest_first(
    driver: QueueDriver, state: TaskState, most: int, budget: int
) -> None:
    names = await fill(driver, state, 10)
    await driver.enqueue(task(when=-1) if state == PENDING else task(priority=0))
    assert await driver.scan_all(state, most=most, budget=budget) == names[::-1]


@pytest.mark.parametrize("state", SORTED)
async def test_page_has_no_more_than_wanted_and_looks_at_no_more_than_its_budget(
    driver: QueueDriver, state: TaskState
) -> None:
    names = (await fill(driver, state, 10))[::-1]
    page, cursor = await driver.scan(state, most=4)
    assert (page, bool(cursor)) == (names[:4], True)
    page, cursor = await driver.scan(state, cursor, budget=3)
    assert (page, bool(cursor)) == (names[4:7], True)
    page, cursor = await driver.scan(state, cursor)
    assert page == names[7:]


async def test_tasks_of_every_state_are_found_in_their_state_only(driver: QueueDriver) -> None:
    names = await tasks_of_every_state(driver)
    snapshot = driver.snapshot()
    for state in TaskState:
        expected = {name for name in snapshot.metas if snapshot.state(name) == state}
        found = await driver.scan_all(state)
        assert (set(found), len(found)) == (expected, len(expected))
    assert set(names) <= snapshot.metas.keys()


@pytest.mark.parametrize("state", SORTED)
async def test_newer_tasks_that_come_between_two_pages_move_nothing(
    driver: QueueDriver, state: TaskState
) -> None:
    names = (await fill(driver, state, 6))[::-1]
    page, cursor = await driver.scan(state, most=3)
    await fill(driver, state, 4)
    rest, _ = await driver.scan(state, cursor)
    assert page + rest == names


@pytest.mark.parametrize("state", [TaskState.FAILED, TaskState.CANCELLED, SCHEDULED])
async def test_tasks_that_leave_between_two_pages_hide_no_others(
    driver: QueueDriver, state: TaskState
) -> None:
    names = (await fill(driver, state, 8))[::-1]
    page, cursor = await driver.scan(state, most=4)
    gone = [names[1], names[3], names[5]]
    await (driver.cancel(*gone) if state == SCHEDULED else driver.redrive(*gone))
    rest, _ = await driver.scan(state, cursor)
    assert page == names[:4]
    assert rest == [names[4], names[6], names[7]]


@pytest.mark.parametrize("size", [1, 2, 7, 8])
@pytest.mark.parametrize("after_ms", [0, 5], ids=["gone", "cancelled-anew"])
async def test_tasks_of_one_millisecond_are_found_once_though_the_cursor_leaves(
    driver: QueueDriver, size: int, after_ms: int
) -> None:
    """A purge gives thousands of tasks the same time."""
    older = await driver.enqueue(*[task() for _ in range(2)])
    await driver.cancel(*older)
    driver.clock.advance(1)
    names = await driver.enqueue(*[task() for _ in range(8)])
    await driver.cancel(*names)
    found, cursor = await driver.scan(TaskState.CANCELLED, most=size)
    while cursor:
        await driver.redrive(found[-1])
        if after_ms:
            driver.clock.advance(after_ms)
            await driver.cancel(found[-1])
        page, cursor = await driver.scan(TaskState.CANCELLED, cursor, most=size)
        found += page
    assert found == [*names[::-1], *older[::-1]]


async def test_pending_tasks_come_by_priority_and_newest_first(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task(priority=p) for p in (1, 9, 5, 9, 1)])
    expected = [names[i] for i in (3, 1, 2, 4, 0)]
    assert await driver.scan_all(PENDING) == expected
    assert await driver.scan_all(PENDING, most=1, budget=1) == expected


async def test_pending_tasks_are_found_while_claims_and_enqueues_go_on(
    driver: QueueDriver,
) -> None:
    names = await driver.enqueue(*[task() for _ in range(30)])
    found, cursor = await driver.scan(PENDING, most=5)
    while cursor:
        await driver.enqueue(task(), task())
        await driver.take(1)
        page, cursor = await driver.scan(PENDING, cursor, most=5)
        found += page
    stayed = [name for name in names if driver.snapshot().state(name) == PENDING]
    assert set(stayed) <= set(found)
    assert len(found) == len(set(found))


def bury(driver: QueueDriver, count: int) -> None:
    """Puts newer entries into the list, of tasks that are gone."""
    names = [b"%07d" % i for i in range(count)]
    for at in range(0, count, 5_000):
        driver.admin.call("RPUSH", driver.key("r5"), *names[at : at + 5_000])


@pytest.mark.parametrize("depth", [99_000, 101_000])
@pytest.mark.parametrize("newer", [1, 4_000, 6_000])
async def test_newer_tasks_hide_none_however_deep_the_cursor_stands(
    driver: QueueDriver, depth: int, newer: int
) -> None:
    names = await driver.enqueue(*[task() for _ in range(20)])
    bury(driver, depth)
    found, cursor = await driver.scan(PENDING, most=5, budget=4_000)
    while len(found) < 5:
        page, cursor = await driver.scan(PENDING, cursor, most=5 - len(found), budget=4_000)
        found += page
    bury(driver, newer)
    while cursor:
        page, cursor = await driver.scan(PENDING, cursor, budget=4_000)
        found += page
    assert set(found) == set(names)
    if newer < 5_000:
        assert len(found) == 20


@pytest.mark.parametrize("depth", [0, 101_000])
async def test_cursor_of_a_task_that_was_claimed_is_at_the_end_of_its_list(
    driver: QueueDriver, depth: int
) -> None:
    names = await driver.enqueue(*[task() for _ in range(20)])
    bury(driver, depth)
    cursor = b"5" + names[11] + b"%d" % (depth + 9)
    await driver.take(12)
    assert await driver.scan(PENDING, cursor, budget=4_000) == ([], b"4" + bytes(7) + b"0")
    bury(driver, 3)
    assert (await driver.scan(PENDING, cursor, budget=4_000))[0] == []


async def test_parked_tasks_are_pending(driver: QueueDriver) -> None:
    await driver.configure(max_in_progress_per_key=1)
    names = await driver.enqueue(*[task(concurrency_key=f"k{i % 2}") for i in range(9)])
    await driver.claim_names()
    (other,) = await driver.enqueue(task())
    assert await driver.scan_all(PENDING) == [other, *names[2::2], *names[3::2]]
    assert set(await driver.scan_all(PENDING, most=2, budget=3)) == {other, *names[2:]}


async def test_parked_tasks_are_found_though_the_cursor_is_let_in(driver: QueueDriver) -> None:
    await driver.configure(max_in_progress_per_key=1)
    names = await driver.enqueue(*[task(concurrency_key="k") for _ in range(7)])
    lease = await driver.take_one()
    await driver.claim_names()
    page, cursor = await driver.scan(PENDING, most=1)
    while not page:
        page, cursor = await driver.scan(PENDING, cursor, most=1)
    await driver.complete(lease)
    rest, _ = await driver.scan(PENDING, cursor)
    assert page + rest == names[1:]


async def test_task_that_stands_in_a_list_twice_is_found_once_and_hides_none(
    driver: QueueDriver,
) -> None:
    names = await driver.enqueue(*[task() for _ in range(6)])
    for _ in range(2):
        await driver.cancel(names[1], names[4])
        await driver.redrive(names[1], names[4])
    for most, budget in ((500, 500), (1, 500), (2, 3), (1, 1)):
        found = await driver.scan_all(PENDING, most=most, budget=budget)
        assert (sorted(found), len(found)) == (names, 6)


async def test_tasks_that_may_stand_in_a_list_twice_cost_one_look_at_what_is_newer(
    driver: QueueDriver,
) -> None:
    names = await driver.enqueue(*[task() for _ in range(400)])
    await driver.purge()
    await driver.sweep()
    await driver.redrive(*names)
    bury(driver, 15_000)
    cursor = b"5" + b"%07d" % 0 + b"15000"
    driver.admin.call("CONFIG", "RESETSTAT")
    found, _ = await driver.scan(PENDING, cursor)
    stats = driver.admin.call("INFO", "commandstats").decode()
    calls = dict(re.findall(r"cmdstat_(\w+):calls=(\d+)", stats))
    assert found == names[::-1]
    assert int(calls["lrange"]) <= 1 + 15
    assert "lpos" not in calls


@pytest.mark.parametrize("between", [{"priority": 1}, {"when": -5_000}], ids=["list", "schedule"])
async def test_task_that_was_replaced_to_and_fro_is_found_once(
    driver: QueueDriver, between: dict[str, int]
) -> None:
    def keyed(**more: int) -> Packed:
        key = Idempotency("key", b"d" * 16, 0, Conflict.REPLACE)
        return task(idempotency=key, priority=more.get("priority", 5), when=more.get("when", 0))

    names = [*await driver.enqueue(keyed()), *await driver.enqueue(task(), task())]
    for more in (between, {}):
        await driver.add(keyed(**more))
    found = await driver.scan_all(PENDING, most=1, budget=1)
    assert (sorted(found), len(found)) == (names, 3)


async def test_entries_of_tasks_in_other_states_are_passed_over(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task() for _ in range(6)])
    await driver.cancel(*names[::2])
    assert await driver.scan_all(PENDING, most=1) == names[::-2]


async def test_purged_tasks_are_not_found_where_they_were(driver: QueueDriver) -> None:
    names = await driver.enqueue(task(), task(when=-5_000))
    await driver.purge()
    for state in (PENDING, SCHEDULED):
        assert await driver.scan_all(state) == []
    await driver.sweep()
    assert set(await driver.scan_all(TaskState.CANCELLED)) == set(names)


async def test_all_labels_must_be_there(driver: QueueDriver) -> None:
    labels = [(), (("a", "1"),), (("a", "1"), ("b", "2")), (("a", "2"), ("b", "2")), (("a", "1"),)]
    names = await driver.enqueue(*[task(labels=own) for own in labels])
    both = (("a", "1"), ("b", "2"))
    everything = frozenset(TaskState)
    for state in (0, PENDING):

        async def found(*wanted: tuple[str, str], state: int = state) -> list[bytes]:
            return await driver.scan_all(state, labels=wanted, states=everything)

        assert await found(("a", "1")) == [names[4], names[2], names[1]]
        assert await found(*both) == await found(*both[::-1]) == [names[2]]
        assert await found(("a", "")) == await found(("", "1")) == await found(("b", "1")) == []


async def test_labels_that_begin_alike_are_told_apart(driver: QueueDriver) -> None:
    pairs = [("a", "1"), ("a", "11"), ("a1", ""), ("a", "1\1"), ("ä", "1"), ("a", "")]
    names = await driver.enqueue(*[task(labels=(pair,)) for pair in pairs])
    for name, pair in zip(names, pairs, strict=True):
        assert await driver.scan_all(0, labels=(pair,), states=frozenset(TaskState)) == [name]


@pytest.mark.parametrize(("most", "budget"), [(500, 500), (2, 500), (500, 2), (1, 1)])
async def test_by_label_newest_first_in_the_states_wanted(
    driver: QueueDriver, most: int, budget: int
) -> None:
    new = [task(labels=(("a", "1"),), when=-(i % 2) * 9_000) for i in range(10)]
    names = await driver.enqueue(*new)
    await driver.cancel(*names[:4])

    async def found(*states: TaskState) -> list[bytes]:
        wanted = frozenset(states)
        return await driver.scan_all(
            0, labels=(("a", "1"),), states=wanted, most=most, budget=budget
        )

    assert await found(*TaskState) == names[::-1]
    assert await found(PENDING) == names[8:3:-2]
    assert await found(TaskState.CANCELLED, SCHEDULED) == [names[i] for i in (9, 7, 5, 3, 2, 1, 0)]


async def test_pruned_tasks_leave_no_label(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task(labels=(("a", "1"), ("b", "2")))] * 3)
    await driver.cancel(*names[:2])
    driver.clock.advance(1)
    await driver.prune()
    assert await driver.scan_all(0, labels=(("a", "1"),), states=frozenset(TaskState)) == names[2:]
    assert len(driver.snapshot().labels) == 2


async def test_by_worker_that_holds_or_last_held_it(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task() for _ in range(5)])
    for worker in ("a", "b", "ab"):
        lease = await driver.take_one(worker=worker, owner="srv.1")
        if worker == "b":
            await driver.complete(lease)
    assert await driver.scan_all(LEASED, worker_id="a") == names[:1]
    assert await driver.scan_all(LEASED, worker_id="ab") == names[2:3]
    assert await driver.scan_all(TaskState.COMPLETED, worker_id="b") == names[1:2]
    assert await driver.scan_all(PENDING, worker_id="a") == []


@pytest.mark.parametrize("state", [PENDING, 0])
async def test_by_time_of_enqueue_from_and_before(driver: QueueDriver, state: int) -> None:
    names = []
    for _ in range(5):
        names += await driver.enqueue(*[task(labels=(("a", "1"),))] * 2)
        driver.clock.advance(10)

    async def found(from_ms: int, before_ms: int) -> list[bytes]:
        return await driver.scan_all(
            state,
            labels=(("a", "1"),),
            states=frozenset(TaskState),
            created_from_ms=from_ms,
            created_before_ms=before_ms,
        )

    assert await found(0, 0) == names[::-1]
    assert await found(START_MS + 10, START_MS + 30) == names[5:1:-1]
    assert await found(START_MS + 11, 0) == names[:3:-1]
    assert await found(0, START_MS + 1) == names[1::-1]
    assert await found(0, 1) == await found(START_MS + 41, 0) == []


async def test_by_the_bytes_with_which_the_error_begins(driver: QueueDriver) -> None:
    names = await driver.enqueue(*[task(max_attempts=1) for _ in range(4)])
    errors = [b"\x0a\x02io", b"\x0a\x03ioX", b"", b"\x0a\x02io more"]
    for lease, error in zip(await driver.take(4), errors, strict=True):
        await driver.fail(lease, error)
        driver.clock.advance(1)
    failed = TaskState.FAILED
    found = await driver.scan_all(failed, error_prefix=b"\x0a\x02io")
    assert found == [names[3], names[0]]
    assert await driver.scan_all(failed, error_prefix=b"\x0a\x03io") == [names[1]]
    assert await driver.scan_all(failed, error_prefix=b"unknown") == []


async def test_pages_of_a_filter_that_matches_few_go_on_to_the_end(driver: QueueDriver) -> None:
    names = await driver.enqueue(
        *[task(labels=(("a", "1"),) if i % 40 == 7 else ()) for i in range(200)]
    )
    pages, cursor = 0, b""
    found: list[bytes] = []
    while not pages or cursor:
        page, cursor = await driver.scan(PENDING, cursor, most=2, budget=25, labels=(("a", "1"),))
        found += page
        pages += 1
    assert found == names[167::-40]
    assert pages >= 8


async def test_leases_are_found_by_the_end_of_their_lease(driver: QueueDriver) -> None:
    names = await driver.enqueue(task(), task(), task())
    for lease_ms in (2_000, 3_000, 1_000):
        await driver.take_one(lease_ms=lease_ms)
    assert await driver.scan_all(LEASED) == [names[i] for i in (1, 0, 2)]
    driver.clock.advance(LEASE_MS)
    assert len(await driver.scan_all(LEASED)) == 3
