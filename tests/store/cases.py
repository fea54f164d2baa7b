"""For every script calls that run it through its branches, each from a state made for it.

A case brings a queue into a state and gives the call, which may be aborted and repeated.
"""

from __future__ import annotations

import itertools
from typing import Final

from codeq_grpc.core.queues import schema_label
from codeq_grpc.core.records import NewTask
from codeq_grpc.core.task import Conflict, Ending
from codeq_grpc.store.rows import pack_invalid
from codeq_grpc.store.tasks import DONE, REPEATED, Report
from tests.store.cases_of_dependencies import (
    following,
    owing,
    resolving,
    resolving_for_later,
    settling,
)
from tests.store.cases_of_upkeep import (
    cancelling,
    cancelling_one_let_in,
    promoting,
    promoting_after_a_purge,
    pruning,
    pruning_keys_and_labels,
    purging,
    reaping,
    reaping_after_a_purge,
    reaping_the_expired,
    redriving,
    redriving_with_delay,
    sweeping_after_a_change,
    sweeping_after_a_purge,
)
from tests.store.making import (
    LABELS,
    UNKNOWN,
    Act,
    Case,
    awaited,
    followed,
    forge,
    keyed,
    waiting,
    watching,
)
from tests.support.clock import START_MS
from tests.support.driver import LEASE_MS, QueueDriver, task


async def enqueueing(driver: QueueDriver) -> Act:
    await driver.enqueue(task(when=-5_000))
    await waiting(driver)
    new = [task(priority=1), task(priority=7), task(when=-2_000), task(priority=7)]
    return lambda: driver.enqueue(*new)


async def enqueueing_all_kinds(driver: QueueDriver) -> Act:
    await driver.configure(max_backlog=1_000)
    (parent,) = await driver.enqueue(keyed("parent"))
    await watching(driver)
    new = [
        keyed("i1"),
        keyed("i2", ttl_ms=0, when=-2_000, priority=2),
        keyed("i1"),
        keyed("i3", depends_on=(driver.id(parent),)),
        keyed("parent"),
    ]
    return lambda: driver.add(*new)


async def enqueueing_under_a_schema(driver: QueueDriver) -> Act:
    await driver.configure(payload_schema="{}")
    invalid = pack_invalid(NewTask("RENDER", b"spec", b"payload", labels=LABELS))
    new = [keyed("i1"), invalid, task(), keyed("i2")]
    return lambda: driver.add(*new, schema=schema_label("{}"))


async def replacing(driver: QueueDriver) -> Act:
    """Tasks in every state that allows it, by others in other states, and a taken key."""
    await driver.configure(max_in_progress_per_key=1)
    first = await driver.enqueue_one()
    parents = (driver.id(first),)
    await driver.enqueue(*[task(concurrency_key="kk", priority=9)] * 3)
    await driver.enqueue(
        *[keyed(f"r{i}", when=-2_000 if i % 2 else 0) for i in range(4)],
        *[keyed(f"b{i}", depends_on=parents) for i in range(2)],
    )
    await driver.take(2)
    await driver.claim(9)
    new = [
        keyed(key, b"new", conflict=Conflict.REPLACE, when=when, plain=plain, depends_on=depends_on)
        for key, when, plain, depends_on in (
            ("r0", 0, True, ()),
            ("r1", 0, False, ()),
            ("r2", -9_000, True, ()),
            ("r3", -900, True, parents),
            ("b0", 0, False, ()),
            ("b1", -5, True, parents),
        )
    ]
    return lambda: driver.add(*new)


async def replacing_one_let_in(driver: QueueDriver) -> Act:
    """It was to go before one that is parked, which comes in its place."""
    await driver.configure(max_in_progress_per_key=1)
    await driver.enqueue(task(concurrency_key="kk"), keyed("r"), task(concurrency_key="kk"))
    lease = await driver.take_one()
    await driver.claim(2)
    await driver.complete(lease)
    new = keyed("r", conflict=Conflict.REPLACE, plain=True, when=-5)
    return lambda: driver.add(new)


async def replacing_one_let_in_by_one_of_another_key(driver: QueueDriver) -> Act:
    """It keeps its place; one that is parked under its old key goes too."""
    await driver.configure(max_in_progress_per_key=1)
    await driver.enqueue(task(concurrency_key="kk"), keyed("r"), task(concurrency_key="kk"))
    lease = await driver.take_one()
    await driver.claim(2)
    await driver.complete(lease)
    new = keyed("r", conflict=Conflict.REPLACE, plain=True)
    return lambda: driver.add(new)


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


async def claiming_with_a_receipt(driver: QueueDriver) -> Act:
    """There are receipts of very many servers."""
    for server in range(401):
        driver.admin.call("HSET", driver.key("h"), f"s{server}", 1)
    await driver.enqueue(task(), task())
    return lambda: driver.claim(2, receipt=("srv", 7))


async def claiming_in_vain_after_a_receipt(driver: QueueDriver) -> Act:
    await driver.enqueue(task())
    await driver.claim(1, receipt=("srv", 7))
    return lambda: driver.claim(wake="srv", receipt=("srv", 8))


async def recalling(driver: QueueDriver) -> Act:
    await driver.enqueue(task(), task())
    await driver.claim(2, receipt=("srv", 7))
    return lambda: driver.recall("srv", 7, 8)


async def claiming_within_limits(driver: QueueDriver) -> Act:
    """Keys are taken, one by a task that does not run; one task has a checkpoint, one expired;
    one was scheduled and purged.
    """
    scheduled = await driver.enqueue_one(when=-100)
    awaiting = [scheduled, await driver.enqueue_one(when=-200)]
    child = await followed(driver, scheduled)
    await awaited(driver, *awaiting)
    await driver.purge()
    await driver.configure(
        max_claims_per_second=9, max_in_progress=8, max_in_progress_per_key=1, lease_ms=LEASE_MS
    )
    await watching(driver)
    await driver.enqueue(
        task(b"", priority=9), *[task(concurrency_key=f"k{i % 3}") for i in range(9)]
    )
    lease, *_ = await driver.take(2)
    await driver.tell(lease, b"progress", b"checkpoint")
    await driver.fail(lease, delay_ms=0)
    await driver.enqueue(task(expire_ms=START_MS + 500, priority=9))
    driver.admin.call("HSET", driver.key("k"), "k1", child)
    driver.clock.advance(1_000)
    return lambda: driver.claim(9)


async def beating(driver: QueueDriver) -> Act:
    await driver.enqueue(task(), task())
    leases = await driver.take(2)
    driver.clock.advance(LEASE_MS - 1)
    return lambda: driver.heartbeat(*leases)


async def telling(driver: QueueDriver) -> Act:
    await driver.enqueue(task(timeout_ms=LEASE_MS * 2))
    lease = await driver.take_one()
    await driver.cancel(lease.name)
    await watching(driver)
    driver.clock.advance(LEASE_MS - 1)
    return lambda: driver.tell(lease, b"progress", b"checkpoint")


def _reporting(driver: QueueDriver, reports: list[Report]) -> Act:
    async def act() -> None:
        verdicts = await driver.report(*reports)
        assert {verdict.word for verdict in verdicts} <= {DONE, REPEATED}

    return act


def reporting(*endings: tuple[Ending, int | None]) -> Case:
    async def case(driver: QueueDriver) -> Act:
        new = [task(priority=i % 3, max_attempts=1 + i % 2) for i in range(2 * len(endings))]
        await driver.enqueue(*new)
        leases = await driver.take(len(new))
        await awaited(driver, *[lease.name for lease in leases])
        await waiting(driver)
        return _reporting(
            driver,
            [
                Report(*lease, ending, b"text", delay_ms)
                for lease, (ending, delay_ms) in zip(leases, endings * 2, strict=True)
            ],
        )

    return case


def reporting_keys(ending: Ending, *, cancel: bool) -> Case:
    """Tasks with keys, payloads and a history, while others are parked and one is followed."""

    async def case(driver: QueueDriver) -> Act:
        await driver.configure(max_in_progress_per_key=1)
        names = await driver.enqueue(
            *[
                task(b"s", b"payload", concurrency_key=f"k{i % 2}", timeout_ms=90_000)
                for i in range(6)
            ]
        )
        for lease in await driver.take(2):
            await driver.tell(lease, b"progress", b"checkpoint")
            await driver.fail(lease, b"first", delay_ms=0)
        leases = await driver.take(2)
        assert await driver.claim_names() == []
        await followed(driver, *names)
        await waiting(driver)
        await watching(driver)
        if cancel:
            await driver.cancel(*[lease.name for lease in leases])
        return _reporting(driver, [Report(*lease, ending, b"text") for lease in leases])

    return case


async def reporting_keys_without_a_limit(driver: QueueDriver) -> Act:
    await driver.enqueue(*[task(concurrency_key="k")] * 2)
    lease, other = await driver.take(2)
    return _reporting(driver, [Report(*lease, Ending.COMPLETE), Report(*other, Ending.FAIL)])


async def awaiting(driver: QueueDriver) -> Act:
    name = await driver.enqueue_one()
    return lambda: driver.store.await_end(driver.queue, name, "srv")


async def passing_on(driver: QueueDriver) -> Act:
    await driver.enqueue(task(when=-1))
    await waiting(driver)
    return lambda: driver.store.pass_on(driver.queue, "left")


async def configuring(driver: QueueDriver) -> Act:
    await waiting(driver)
    return lambda: driver.configure(paused=False, max_in_progress=5, payload_schema="{}")


async def watching_anew(driver: QueueDriver) -> Act:
    await driver.reads.watch(driver.queue, "other", 900_000)
    return lambda: driver.reads.watch(driver.queue, "srv", 900_000)


async def watching_no_more(driver: QueueDriver) -> Act:
    await watching(driver)
    return lambda: driver.reads.watch(driver.queue, "srv", 0)


ENDINGS: Final = tuple(itertools.product(Ending, [None, 0, 500]))[3:-3]
WRITING: Final[dict[str, tuple[Case, ...]]] = {
    "enqueue": (
        enqueueing,
        enqueueing_all_kinds,
        enqueueing_under_a_schema,
        replacing,
        replacing_one_let_in,
        replacing_one_let_in_by_one_of_another_key,
    ),
    "claim": (
        claiming,
        claiming_a_part,
        claiming_in_vain,
        claiming_with_a_receipt,
        claiming_in_vain_after_a_receipt,
        claiming_within_limits,
    ),
    "recall": (recalling,),
    "heartbeat": (beating, telling),
    "report": (
        reporting(*ENDINGS),
        *(reporting(ending) for ending in ENDINGS),
        reporting_keys_without_a_limit,
        *(
            reporting_keys(ending, cancel=cancel)
            for ending in (Ending.COMPLETE, Ending.FAIL, Ending.ABANDON)
            for cancel in (False, True)
        ),
    ),
    "cancel": (cancelling, cancelling_one_let_in),
    "redrive": (redriving, redriving_with_delay),
    "promote": (promoting, promoting_after_a_purge),
    "reap": (reaping, reaping_the_expired, reaping_after_a_purge),
    "prune": (pruning, pruning_keys_and_labels),
    "sweep": (sweeping_after_a_purge, sweeping_after_a_change),
    "purge": (purging,),
    "configure": (configuring,),
    "await_end": (awaiting,),
    "watch": (watching_anew, watching_no_more),
    "pass_on": (passing_on,),
    "owed": (owing,),
    "follow": (following,),
    "settle": (settling,),
    "resolve": (resolving, resolving_for_later),
}
"""Of every script of a queue that writes."""
NEVER: Final = {
    "claim": {"HINCRBY", "LPUSH", "ZRANGEBYLEX"},
    "cancel": {"RPUSH", "ZRANGE"},
    "redrive": {"LPUSH"},
    "promote": {"HDEL", "HGET", "HINCRBY", "HLEN", "LPUSH", "ZCARD", "ZRANGEBYLEX"},
    "reap": {"RPUSH"},
    "sweep": {"RPUSH", "ZRANGE"},
    "resolve": {"HINCRBY", "LPUSH", "ZCARD", "ZRANGEBYLEX"},
    "examine": {"HINCRBY"},
}
"""Of lib/flush.lua, for what does not come to be in a script: tasks that are put back, scheduled,
made claimable, let in when a key is free, or ended; totals.
"""
