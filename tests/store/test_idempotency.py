"""Idempotency keys: one task a key and queue while the key lives."""

from __future__ import annotations

import pytest

from codeq_grpc.core.records import Idempotency
from codeq_grpc.core.task import Conflict, TaskState
from codeq_grpc.store.tasks import Special
from tests.support.clock import START_MS
from tests.support.driver import Packed, QueueDriver, task

pytestmark = pytest.mark.usefixtures("consistent")

SAME, OTHER = b"a" * 16, b"b" * 16
TTL_MS = 5_000
USE, FAIL, REPLACE = Conflict.USE_EXISTING, Conflict.FAIL, Conflict.REPLACE


def keyed(
    key: str = "key", digest: bytes = SAME, conflict: Conflict = USE, ttl_ms: int = 0
) -> Packed:
    return task(idempotency=Idempotency(key, digest, ttl_ms, conflict))


async def words(driver: QueueDriver, *new: Packed) -> list[bytes]:
    """What was special of each; ADDED if nothing."""
    added = await driver.add(*new)
    return [added.specials[i].word if i in added.specials else b"ADDED" for i in range(len(new))]


async def test_second_task_of_a_key_is_the_first(driver: QueueDriver) -> None:
    (name,) = await driver.enqueue(keyed())
    before = driver.snapshot()
    driver.clock.advance(1)
    added = await driver.add(keyed())
    assert added.names == [name]
    assert added.specials == {0: Special(b"EXISTING", name, TaskState.PENDING)}
    after = driver.snapshot()
    assert (after.metas, after.pending) == (before.metas, before.pending)
    assert (await driver.stats()).enqueued_total == 1


async def test_another_payload_under_the_same_key_is_refused(driver: QueueDriver) -> None:
    (name,) = await driver.enqueue(keyed())
    added = await driver.add(keyed(digest=OTHER))
    assert added.specials == {0: Special(b"MISMATCH", name, TaskState.PENDING)}


@pytest.mark.parametrize("digest", [SAME, OTHER])
async def test_policy_fail_refuses_whatever_the_payload(driver: QueueDriver, digest: bytes) -> None:
    (name,) = await driver.enqueue(keyed())
    added = await driver.add(keyed(digest=digest, conflict=FAIL))
    assert added.specials == {0: Special(b"EXISTS", name, TaskState.PENDING)}


async def test_keys_are_told_apart(driver: QueueDriver) -> None:
    assert await words(driver, keyed("a"), keyed("ab"), keyed("b"), keyed("a\1")) == [b"ADDED"] * 4


async def test_task_in_every_state_is_told_with_its_state(driver: QueueDriver) -> None:
    (name,) = await driver.enqueue(keyed())
    lease = await driver.take_one()
    held = await driver.add(keyed())
    await driver.complete(lease)
    ended = await driver.add(keyed())
    assert [added.specials[0] for added in (held, ended)] == [
        Special(b"EXISTING", name, TaskState.IN_PROGRESS),
        Special(b"EXISTING", name, TaskState.COMPLETED),
    ]


async def test_key_without_a_window_lives_as_long_as_its_task_is_kept(driver: QueueDriver) -> None:
    await driver.enqueue(keyed())
    await driver.complete(await driver.take_one())
    driver.clock.advance(1)
    assert await words(driver, keyed()) == [b"EXISTING"]
    await driver.prune()
    assert driver.snapshot().remembered == {}
    assert await words(driver, keyed()) == [b"ADDED"]


async def test_key_with_a_window_ends_with_it_though_its_task_goes_on(driver: QueueDriver) -> None:
    (first,) = await driver.enqueue(keyed(ttl_ms=TTL_MS))
    driver.clock.advance(TTL_MS - 1)
    assert await words(driver, keyed(ttl_ms=TTL_MS)) == [b"EXISTING"]
    driver.clock.advance(1)
    (second,) = await driver.enqueue(keyed(ttl_ms=TTL_MS))
    assert driver.snapshot().pending == [first, second]
    assert driver.snapshot().remembered[b"key"].name == second


async def test_key_outlives_its_pruned_task_and_remembers_how_it_ended(
    driver: QueueDriver,
) -> None:
    (name,) = await driver.enqueue(keyed(ttl_ms=TTL_MS))
    await driver.cancel(name)
    driver.clock.advance(1)
    await driver.prune()
    assert driver.snapshot().metas == {}
    assert (await driver.add(keyed())).specials == {
        0: Special(b"EXISTING", name, TaskState.CANCELLED)
    }
    assert await words(driver, keyed(digest=OTHER), keyed(conflict=FAIL)) == [
        b"MISMATCH",
        b"EXISTS",
    ]
    driver.clock.advance(TTL_MS)
    await driver.prune()
    state = driver.snapshot()
    assert (state.remembered, state.windows) == ({}, {})


async def test_keys_whose_window_is_over_are_pruned_though_their_tasks_go_on(
    driver: QueueDriver,
) -> None:
    await driver.enqueue(keyed("a", ttl_ms=TTL_MS), keyed("b", ttl_ms=TTL_MS + 1), keyed("c"))
    driver.clock.advance(TTL_MS)
    assert (await driver.prune())[1] == 0
    state = driver.snapshot()
    assert state.remembered.keys() == {b"b", b"c"}
    assert state.windows == {b"b": START_MS + TTL_MS + 1}


async def test_pruning_keys_goes_on_where_the_limit_cut_it(driver: QueueDriver) -> None:
    await driver.enqueue(*[keyed(str(i), ttl_ms=TTL_MS) for i in range(5)])
    driver.clock.advance(TTL_MS)
    assert (await driver.prune(limit=2))[2]
    assert len(driver.snapshot().remembered) == 3
    await driver.prune()
    assert driver.snapshot().windows == {}


async def test_pruning_an_older_task_keeps_the_key_of_its_successor(driver: QueueDriver) -> None:
    (first,) = await driver.enqueue(keyed(ttl_ms=1_000))
    driver.clock.advance(1_000)
    (second,) = await driver.enqueue(keyed())
    await driver.cancel(first)
    driver.clock.advance(1)
    assert (await driver.prune())[1] == 1
    assert driver.snapshot().remembered[b"key"].name == second
    assert await words(driver, keyed()) == [b"EXISTING"]


async def test_doubles_inside_one_batch_are_one_task(driver: QueueDriver) -> None:
    added = await driver.add(keyed("a"), keyed("b"), keyed("a"), keyed("a", OTHER), keyed("b"))
    first, second, *_ = added.names
    assert added.specials == {
        2: Special(b"EXISTING", first, TaskState.PENDING),
        3: Special(b"MISMATCH", first, TaskState.PENDING),
        4: Special(b"EXISTING", second, TaskState.PENDING),
    }
    assert added.names == [first, second, first, first, second]
    assert driver.snapshot().pending == [first, second]
    assert (await driver.stats()).enqueued_total == 2


async def test_replacing_inside_one_batch_leaves_the_last(driver: QueueDriver) -> None:
    new = [
        task(b"%d" % i, priority=i, idempotency=Idempotency("key", SAME, 0, REPLACE))
        for i in range(4)
    ]
    added = await driver.add(*new)
    assert len(set(added.names)) == 1
    assert [special.word for special in added.specials.values()] == [b"REPLACED"] * 3
    state = driver.snapshot()
    assert state.bodies == {added.names[0]: b"3"}
    assert state.pending == state.lists[3] == added.names[:1]
    assert (await driver.stats()).enqueued_total == 1


async def test_replacing_one_that_was_there_twice_in_a_batch(driver: QueueDriver) -> None:
    (name,) = await driver.enqueue(task(idempotency=Idempotency("key", SAME, 0, USE), when=-5_000))
    new = [task(spec, idempotency=Idempotency("key", SAME, 0, REPLACE)) for spec in (b"1", b"2")]
    added = await driver.add(*new)
    assert added.names == [name, name]
    state = driver.snapshot()
    assert (state.bodies, state.scheduled, state.pending) == ({name: b"2"}, {}, [name])
    assert (await driver.stats()).enqueued_total == 1


async def test_atomic_batch_with_one_refused_task_adds_none(driver: QueueDriver) -> None:
    (name,) = await driver.enqueue(keyed("a"))
    before = driver.snapshot()
    added = await driver.add(keyed("b"), keyed("a", conflict=FAIL), keyed("c"), atomic=True)
    assert added.refused
    assert added.specials == {1: Special(b"EXISTS", name, TaskState.PENDING)}
    assert driver.snapshot() == before


async def test_atomic_batch_with_tasks_that_exist_is_not_refused(driver: QueueDriver) -> None:
    await driver.enqueue(keyed("a"))
    added = await driver.add(keyed("b"), keyed("a"), keyed("b"), atomic=True)
    assert not added.refused
    assert len(driver.snapshot().metas) == 2


async def test_batch_of_500_keys_twice(driver: QueueDriver) -> None:
    new = [keyed(f"{i}", ttl_ms=i % 2 * TTL_MS) for i in range(500)]
    first = await driver.add(*new)
    second = await driver.add(*new)
    assert (first.specials, second.names) == ({}, first.names)
    assert {special.word for special in second.specials.values()} == {b"EXISTING"}
    assert len(driver.snapshot().metas) == 500
