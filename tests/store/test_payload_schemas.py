"""A payload schema: no task gets in that was held against another one, or against none."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest

from codeq_grpc.core.queues import QueueSettings, schema_label
from codeq_grpc.core.records import Idempotency, NewTask
from codeq_grpc.core.task import Conflict, TaskState
from codeq_grpc.store.rows import pack_invalid, pack_new
from codeq_grpc.store.tasks import SchemaChanged, Special
from tests.store.making import tasks_of_every_state
from tests.support.driver import task

if TYPE_CHECKING:
    from tests.support.driver import Packed, QueueDriver

pytestmark = pytest.mark.usefixtures("consistent")

SCHEMA: Final = '{"type": "object"}'
LABEL: Final = schema_label(SCHEMA)
OTHER: Final = schema_label("true")
USE, FAIL, REPLACE = Conflict.USE_EXISTING, Conflict.FAIL, Conflict.REPLACE


def keyed(conflict: Conflict = USE, digest: bytes = b"a" * 16, **more: Any) -> NewTask:
    return NewTask(
        "RENDER", b"spec", b"pay", idempotency=Idempotency("key", digest, 0, conflict), **more
    )


def invalid(**more: Any) -> Packed:
    return pack_invalid(NewTask("RENDER", b"spec", b"payload", **more))


def test_labels_are_those_of_their_texts() -> None:
    assert schema_label("") == b""
    assert schema_label(SCHEMA) == schema_label(SCHEMA) != schema_label(SCHEMA + " ")
    assert len(LABEL) == 16


@pytest.mark.parametrize(
    ("schema", "label"), [("", LABEL), (SCHEMA, b""), (SCHEMA, OTHER), (SCHEMA, LABEL[:-1])]
)
@pytest.mark.parametrize("atomic", [False, True])
async def test_tasks_held_against_another_schema_are_not_added(
    driver: QueueDriver, schema: str, label: bytes, atomic: bool
) -> None:
    await tasks_of_every_state(driver)
    await driver.configure(payload_schema=schema)
    before = driver.snapshot()
    with pytest.raises(SchemaChanged) as changed:
        await driver.add(task(), task(), atomic=atomic, schema=label)
    assert changed.value.label == schema_label(schema)
    assert driver.snapshot() == before


async def test_the_label_is_told_with_the_settings(driver: QueueDriver) -> None:
    assert (await driver.settings.settings(driver.queue)).label == b""
    await driver.configure(payload_schema=SCHEMA)
    assert (await driver.settings.settings(driver.queue)).label == LABEL
    await driver.add(task(), schema=LABEL)
    await driver.configure(payload_schema=SCHEMA, paused=True)
    await driver.add(task(), schema=LABEL)
    await driver.configure()
    assert (await driver.settings.settings(driver.queue)).label == b""
    await driver.add(task())


async def test_an_older_server_that_changes_settings_leaves_the_schema(driver: QueueDriver) -> None:
    """It hands on what it does not know in the message, and knows nothing of the label."""
    await driver.configure(payload_schema=SCHEMA)
    version, _, _ = await driver.settings.settings(driver.queue)
    fields = ("version", int(version) + 1, "cfg", driver.admin.call("HGET", driver.key("s"), "cfg"))
    driver.admin.call("HSET", driver.key("s"), *fields, "settings", b"message", "unpark", "")
    with pytest.raises(SchemaChanged):
        await driver.add(task())


async def test_an_invalid_one_is_refused_and_the_others_are_added(driver: QueueDriver) -> None:
    await driver.configure(payload_schema=SCHEMA, max_backlog=2)
    added = await driver.add(task(), invalid(), invalid(labels=(("a", "b"),)), task(), schema=LABEL)
    assert {i: special.word for i, special in added.specials.items()} == {
        1: b"INVALID",
        2: b"INVALID",
    }
    assert driver.snapshot().metas.keys() == {added.names[0], added.names[3]}
    assert (await driver.stats()).enqueued_total == 2


async def test_an_invalid_one_refuses_all_of_an_atomic_batch(driver: QueueDriver) -> None:
    await driver.configure(payload_schema=SCHEMA)
    before = driver.snapshot()
    added = await driver.add(task(), invalid(), task(), atomic=True, schema=LABEL)
    assert added.refused
    assert added.specials[1].word == b"INVALID"
    assert driver.snapshot() == before


@pytest.mark.parametrize(
    ("conflict", "digest", "word"),
    [
        (USE, b"a", b"EXISTING"),
        (USE, b"b", b"MISMATCH"),
        (FAIL, b"a", b"EXISTS"),
        (REPLACE, b"a", b"INVALID"),
    ],
)
async def test_a_repeated_enqueue_finds_its_task_under_a_schema_that_it_breaks(
    driver: QueueDriver, conflict: Conflict, digest: bytes, word: bytes
) -> None:
    (name,) = await driver.enqueue(pack_new(keyed()))
    await driver.configure(payload_schema=SCHEMA)
    before = driver.snapshot()
    added = await driver.add(pack_invalid(keyed(conflict, digest * 16)), schema=LABEL)
    if word == b"INVALID":
        assert added.specials[0].word == word
    else:
        assert added.specials == {0: Special(word, name, TaskState.PENDING)}
    after = driver.snapshot()
    assert (after.metas, after.bodies, after.remembered) == (
        before.metas,
        before.bodies,
        before.remembered,
    )


async def test_an_invalid_one_leaves_its_key_to_a_valid_one(driver: QueueDriver) -> None:
    await driver.configure(payload_schema=SCHEMA)
    added = await driver.add(pack_invalid(keyed()), pack_new(keyed(digest=b"b" * 16)), schema=LABEL)
    assert [special.word for special in added.specials.values()] == [b"INVALID"]
    assert driver.snapshot().metas.keys() == {added.names[1]}


async def test_calls_with_different_labels_do_not_share_a_fate(driver: QueueDriver) -> None:
    """They wait for the same queue at the same time, and go out apart."""
    await driver.configure(payload_schema=SCHEMA)
    labels = [LABEL, OTHER, b"", LABEL, OTHER, LABEL] * 5
    results = await asyncio.gather(
        *[driver.add(task(), schema=label) for label in labels], return_exceptions=True
    )
    refused = [isinstance(result, SchemaChanged) for result in results]
    assert refused == [label != LABEL for label in labels]
    assert len(driver.snapshot().metas) == labels.count(LABEL)


async def test_none_gets_in_past_a_schema_that_was_set_while_it_was_under_way(
    driver: QueueDriver,
) -> None:
    """Whoever was told that it is set sees no task of before it come later."""
    store, queue = driver.settings, driver.queue
    late: list[bool] = []
    is_set = False

    async def produce() -> None:
        while not is_set:
            asked_after = is_set
            try:
                await driver.add(task())
            except SchemaChanged:
                return
            late.append(asked_after)

    async def set_it() -> int:
        nonlocal is_set
        await driver.add(task())
        version, _, _ = await store.settings(queue)
        assert await store.configure(queue, version, QueueSettings(payload_schema=SCHEMA), b"m")
        count = len(driver.snapshot().metas)
        is_set = True
        return count

    *_, count = await asyncio.gather(*[produce() for _ in range(8)], set_it())
    assert len(driver.snapshot().metas) == count
    assert not any(late)
