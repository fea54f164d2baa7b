"""Whatever is called in whatever order: what is kept is consistent, and everything ends."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from codeq_grpc.core.records import Idempotency
from codeq_grpc.core.task import TERMINAL, Conflict, Ending, TaskState
from codeq_grpc.store.tasks import Report
from tests.support.consistency import inconsistencies
from tests.support.courier import deliver
from tests.support.driver import LEASE_MS, Lease, More, Packed, QueueDriver, leases_of, task

if TYPE_CHECKING:
    from tests.support.snapshot import Snapshot

STEPS = 150
UNENDED = [state for state in TaskState if state not in TERMINAL]
CALLS = (
    *("enqueue", "claim", "report") * 3,
    *("cancel", "redrive", "purge", "sweep", "configure", "promote", "reap", "prune"),
    *("outbox", "tell", "time", "time"),
)


class Walk:
    """Calls at random, on tasks and leases that came of the calls before."""

    def __init__(self, driver: QueueDriver, seed: int) -> None:
        self._driver = driver
        self._chance = random.Random(seed)
        self._names: list[bytes] = []
        self._leases: list[Lease] = []

    def _one(self, *of: Any) -> Any:
        return self._chance.choice(of)

    def _some(self, of: list[Any]) -> list[Any]:
        return [self._chance.choice(of[-25:]) for _ in range(self._one(1, 2, 4))] if of else []

    def _new(self) -> Packed:
        when = self._one(0, 0, 0, -500, -5_000)
        start = self._driver.clock.ms - when + 2
        more: More = {
            "when": when,
            "labels": self._one((), (("a", "1"),), (("a", "1"), ("b", "2"))),
            "expire_ms": self._one(0, 0, start + 300, start + 20_000),
            "timeout_ms": self._one(0, 0, 4_000),
            "concurrency_key": self._one("", "", "k", "k", "j"),
        }
        if self._one(True, False):
            key, ttl_ms = f"i{self._chance.randrange(6)}", self._one(0, 0, 3_000)
            more["idempotency"] = Idempotency(key, b"d" * 16, ttl_ms, self._one(*Conflict))
        if self._one(*[False] * 4, True):
            parents = map(self._driver.id, self._some(self._names))
            more["depends_on"] = tuple(dict.fromkeys(parents))
        payload = b"p" * self._one(0, 1)
        priority, attempts = self._one(1, 5, 5, 9), self._one(1, 2, 3)
        return task(b"s", payload, priority=priority, max_attempts=attempts, **more)

    async def enqueue(self) -> None:
        new = [self._new() for _ in range(self._one(1, 3, 5))]
        added = await self._driver.add(*new, atomic=self._one(False, False, True))
        self._names += [] if added.refused else added.names

    async def claim(self) -> None:
        claimed = await self._driver.claim(self._one(1, 3, 8), lease_ms=self._one(0, 1_000))
        self._leases += leases_of(claimed)

    async def report(self) -> None:
        endings = (Ending.COMPLETE, Ending.FAIL, Ending.ABANDON)
        reports = [
            Report(name, fence, self._one(*endings), b"text", self._one(None, 0, 700))
            for name, fence in self._some(self._leases)
        ]
        await self._driver.report(*reports)

    async def cancel(self) -> None:
        await self._driver.cancel(*self._some(self._names))

    async def redrive(self) -> None:
        await self._driver.redrive(*self._some(self._names), delay_ms=self._one(0, 900))

    async def purge(self) -> None:
        if self._one(False, False, True):
            await self._driver.purge()

    async def sweep(self) -> None:
        await self._driver.sweep_step(self._one(1, 5, 500))

    async def configure(self) -> None:
        await self._driver.configure(
            max_in_progress_per_key=self._one(0, 1, 1, 2),
            max_in_progress=self._one(0, 0, 6),
            max_backlog=self._one(0, 0, 40),
            max_claims_per_second=self._one(0.0, 0.0, 20.0),
        )

    async def promote(self) -> None:
        await self._driver.promote(self._one(1, 500))

    async def reap(self) -> None:
        await self._driver.reap(self._one(1, 500))

    async def prune(self) -> None:
        await self._driver.prune(age_ms=self._one(0, 5_000), limit=self._one(3, 500))

    async def outbox(self) -> None:
        await deliver(self._driver, most=self._one(1, 100))

    async def tell(self) -> None:
        for lease in self._some(self._leases)[:1]:
            await self._driver.tell(lease, self._one(b"", b"p"), self._one(b"", b"c"))

    async def time(self) -> None:
        self._driver.clock.advance(self._one(1, 300, 1_000, 5_000, LEASE_MS))

    async def step(self) -> None:
        """Any call."""
        await getattr(self, self._one(*CALLS))()


def unended(state: Snapshot) -> list[bytes]:
    return [name for name in state.metas if state.state(name) in UNENDED]


async def assert_consistent(driver: QueueDriver) -> None:
    state, counts = driver.snapshot(), await driver.stats()
    assert inconsistencies(state, driver.clock.ms) == []
    states = [state.state(name) for name in state.metas]
    told = (counts.blocked, counts.scheduled, counts.pending, counts.in_progress)
    assert told == tuple(map(states.count, UNENDED))


async def assert_found_by_scans(driver: QueueDriver) -> None:
    state = driver.snapshot()
    for wanted in set(TaskState) - {TaskState.PENDING, TaskState.CANCELLED}:
        found = await driver.scan_all(wanted, most=3, budget=5)
        assert len(found) == len(set(found))
        assert set(found) == {name for name in state.metas if state.state(name) == wanted}


async def live_on(driver: QueueDriver) -> None:
    """Till all have ended."""
    await driver.configure(max_in_progress_per_key=1)
    for _ in range(200):
        driver.clock.advance(LEASE_MS)
        await driver.promote()
        await driver.reap()
        await driver.sweep()
        await deliver(driver)
        for lease in leases_of(await driver.claim(500)):
            await driver.complete(lease)
        if not unended(driver.snapshot()):
            return
    assert unended(driver.snapshot()) == []


async def assert_nothing_stays(driver: QueueDriver) -> None:
    for _ in range(3):  # what others are still to be told of goes later
        driver.clock.advance(60_000)
        await deliver(driver)
        await driver.prune()
    state = driver.snapshot()
    stays = (state.metas, state.bodies, state.outcomes, state.labels, state.remembered)
    assert not any([*stays, state.windows, state.holders, state.parked, state.parents])
    assert not any([state.followers, state.outbox, state.waited, state.expiries, *state.pending])


@pytest.mark.parametrize("seed", range(15))
async def test_queue_is_consistent_after_every_call_and_all_tasks_end(
    driver: QueueDriver, seed: int
) -> None:
    walk = Walk(driver, seed)
    for step in range(STEPS):
        await walk.step()
        await assert_consistent(driver)
        if step % 15 == 0:
            await assert_found_by_scans(driver)
    await live_on(driver)
    await assert_consistent(driver)
    await assert_nothing_stays(driver)
