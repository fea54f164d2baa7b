"""A queue of a real store and its model, driven together and compared at every step."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pytest

from codeq_grpc.broker.dependencies import Dependencies
from codeq_grpc.core.queues import schema_label
from codeq_grpc.core.records import Idempotency, NewTask as StoredTask
from codeq_grpc.core.retry import RetryPolicy
from codeq_grpc.core.task import Ending, TaskState, Transition
from codeq_grpc.store.keys import Queue, parse_task_id
from codeq_grpc.store.rows import pack_invalid, pack_new
from codeq_grpc.store.tasks import Report, SchemaChanged
from tests.properties.model import QueueModel
from tests.properties.transitions import outside_the_table, transitions
from tests.support.admin import Admin
from tests.support.clock import START_MS, ClockedConnection, VirtualClock
from tests.support.consistency import inconsistencies
from tests.support.courier import no_firings
from tests.support.driver import LEASE_MS, Lease, QueueDriver, leases_of
from tests.support.snapshot import CANCELLING, PARKED, take_snapshot

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from codeq_grpc.core.principal import Reach
    from codeq_grpc.core.queues import QueueSettings
    from codeq_grpc.store.registry import Registry
    from tests.properties.tasks import ModelTask, NewTask, Outcome
    from tests.support.snapshot import Meta
    from tests.support.stores import StoreProcess

POLICY: Final = RetryPolicy(
    initial_backoff_ms=1_000, max_backoff_ms=3_000, multiplier=2.0, jitter=0
)
QUEUE: Final = Queue("acme", "RENDER", 7)
INDEXES: Final = {
    "t": TaskState.COMPLETED,
    "d": TaskState.FAILED,
    "c": TaskState.CANCELLED,
    "a": TaskState.EXPIRED,
}

_T = TypeVar("_T")


class OneQueue:
    """A registry of one queue."""

    async def of_task(self, reach: Reach, task_id: str) -> tuple[Queue, bytes] | None:
        parsed = parse_task_id(task_id)
        assert parsed is not None
        assert reach.tenant == QUEUE.tenant
        return QUEUE, parsed[1]


class World:
    """What outlives a twin: event loop, connections, clock."""

    def __init__(self, store: StoreProcess) -> None:
        self._runner = asyncio.Runner()
        self.clock = VirtualClock()
        self._connection = ClockedConnection(store.url, self.clock)
        self.admin = Admin(store.socket_path)
        self.driver = QueueDriver.over(self._connection, QUEUE, self.admin, POLICY)
        registry: Any = OneQueue()
        self.dependencies = Dependencies(
            _registry(registry), self.driver.outbox, _problem, no_firings()
        )

    def run(self, call: Coroutine[Any, Any, _T]) -> _T:
        """Waits for a call."""
        return self._runner.run(call)

    def close(self) -> None:
        """Ends all."""
        self.admin.close()
        self._runner.run(self._connection.close())
        self._runner.close()


def _registry(registry: Registry) -> Registry:
    return registry


def _problem(task_id: str, state: int) -> bytes:
    return f"{task_id} {state}".encode()


def _stored(wanted: NewTask, now: int, index: int) -> StoredTask:
    absolute = wanted.delay_ms < 0 or index % 2
    key = wanted.idempotency
    return StoredTask(
        "RENDER",
        b"x" * wanted.size,
        b"p" * wanted.payload,
        priority=wanted.priority,
        lease_ms=wanted.lease_ms,
        when=now + wanted.delay_ms if absolute else -wanted.delay_ms,
        retry=wanted.retry,
        expire_ms=now + wanted.expire_in_ms if wanted.expire_in_ms else 0,
        timeout_ms=wanted.timeout_ms,
        idempotency=Idempotency(key.text, bytes([key.payload]) * 16, key.ttl_ms, key.conflict)
        if key
        else None,
        concurrency_key=wanted.key,
        depends_on=tuple(QUEUE.task_id(name) for name in wanted.parents),
    )


def _fields(meta: Meta) -> tuple[object, ...]:
    return (
        *(meta.state, meta.time_ms, meta.attempt, meta.max_attempts, meta.fence, meta.ending),
        *(meta.priority, meta.lease_ms, meta.expire_ms, meta.timeout_ms, meta.key.decode()),
        *(meta.since_ms, meta.start_ms, meta.claim_lease_ms),
        *(meta.has(PARKED), meta.has(CANCELLING), meta.body, meta.changed_ms),
    )


def _expected(task: ModelTask) -> tuple[object, ...]:
    new = task.new
    return (
        *(task.state, task.time_ms, task.attempt, task.max_attempts, task.fence, task.ending),
        *(task.priority, new.lease_ms, task.expire_ms, new.timeout_ms, new.key),
        *(task.since_ms, task.start_ms, task.lease_ms),
        *(task.parked, task.cancelling, new.size + new.payload * task.has_payload),
        task.changed_ms,
    )


class Twin:
    """Each call goes to both; what the store replies and keeps must be what the model says."""

    def __init__(self, world: World) -> None:
        world.admin.call("FLUSHALL")
        world.clock.ms = START_MS
        self._world = world
        self._driver = world.driver
        self.model = QueueModel(POLICY, LEASE_MS, START_MS)
        self.leases: list[Lease] = []
        """Every lease ever given, current or not."""
        self.seen: set[Transition] = set()
        self._before = take_snapshot(world.admin, QUEUE)
        self._last_number = 0
        self._latest_ms = START_MS

    def advance(self, ms: int) -> None:
        """Moves the clock; backward when negative."""
        self._world.clock.advance(ms)
        self.model.clock_ms += ms
        self._latest_ms = max(self._latest_ms, self.model.now_ms)

    def _catch_up(self, ms: int = 0) -> None:
        """Moves the clock to where nothing is ahead of it, and on."""
        self.advance(self._latest_ms - self.model.clock_ms + ms)

    def enqueue(self, *new: NewTask) -> list[bytes]:
        """Tasks with a delay are given a delay or a time, by turns."""
        now = self.model.now_ms
        args = [
            (pack_invalid if wanted.invalid else pack_new)(_stored(wanted, now, i))
            for i, wanted in enumerate(new)
        ]
        label = schema_label(self.model.settings.payload_schema)
        if any(wanted.invalid for wanted in new):
            with pytest.raises(SchemaChanged) as changed:
                self._world.run(self._driver.add(*args, schema=b"another"))
            assert changed.value.label == label
            self._compare("enqueue")
        added = self._world.run(self._driver.add(*args, schema=label))
        assert added.now_ms == now
        fresh = [n for i, n in enumerate(added.names) if i not in added.specials]
        self._grew([int.from_bytes(name, "big") for name in fresh])
        first = int.from_bytes(fresh[0], "big") - added.names.index(fresh[0]) if fresh else 0
        names = [(first + i).to_bytes(7, "big") for i in range(len(new))] if first else added.names
        specials = self.model.enqueue(names, new)
        assert {i: s[0] for i, s in added.specials.items()} == {
            i: s[0] for i, s in specials.items()
        }
        for i, special in added.specials.items():
            if special.word not in {b"FULL", b"OVERDUE", b"INVALID"}:
                assert special[1:] == specials[i][1:]
        self._compare("enqueue")
        return added.names

    def claim(self, want: int = 1, *, max_bytes: int = 1 << 20, lease_ms: int = 0) -> list[Lease]:
        """Leases; the fences are the store's choice, but they grow."""
        claimed = self._world.run(
            self._driver.claim(want, owner="srv.1", max_bytes=max_bytes, lease_ms=lease_ms)
        )
        expected = self.model.claim(want, max_bytes)
        assert [name for name, _, _, _ in claimed.tasks] == [task.name for task in expected]
        assert claimed.now_ms == self.model.now_ms
        leases = leases_of(claimed)
        self._grew([lease.fence for lease in leases])
        for task, lease in zip(expected, leases, strict=True):
            self.model.lease(task, lease.fence, lease_ms)
        self.leases += leases
        self._compare("claim")
        return leases

    def heartbeat(self, *beats: tuple[Lease, int]) -> None:
        """Leases and extensions."""
        args = [(*lease, extend_ms, b"", b"") for lease, extend_ms in beats]
        words = self._world.run(self._driver.store.heartbeat(QUEUE, args))
        expected = [self.model.heartbeat(*lease, extend_ms) for lease, extend_ms in beats]
        assert [word for word, _ in words] == expected
        self._compare("heartbeat")

    def report(self, *outcomes: Outcome) -> list[bytes]:
        """A word for each."""
        reports = [
            Report(o.name, o.fence, o.ending, b"text", o.delay_ms, o.no_retry, o.error_type)
            for o in outcomes
        ]
        verdicts = self._world.run(self._driver.report(*reports))
        words = self.model.report(outcomes)
        assert [verdict.word for verdict in verdicts] == words
        endings: dict[bytes, Ending] = {}
        for outcome, word in zip(outcomes, words, strict=True):
            if word == b"DONE":
                endings[outcome.name] = outcome.ending
        self._compare("report", endings)
        return words

    def promote(self, limit: int = 500) -> None:
        """Due tasks become pending."""
        promoted = self._world.run(self._driver.promote(limit))
        assert promoted.promoted == self.model.promote(limit)
        self.model.flush()
        self._compare("promote")

    def reap(self, limit: int = 500) -> None:
        """Leases that ran out end, and tasks that have expired."""
        reaped = self._world.run(self._driver.reap_step(limit))
        over = self.model.reap(limit)
        assert [(e.name, e.fence) for e in reaped.expired] == [(t.name, t.fence) for t in over]
        self._compare("reap")

    def cancel(self, *names: bytes) -> None:
        """A word for each."""
        cancelled = self._world.run(self._driver.cancel(*names))
        assert [one.word for one in cancelled] == self.model.cancel(names)
        self._compare("cancel")

    def redrive(self, *names: bytes, delay_ms: int = 0) -> None:
        """A word for each."""
        words = self._world.run(self._driver.redrive(*names, delay_ms=delay_ms))
        assert [word for word, _ in words] == self.model.redrive(names, delay_ms)
        self._compare("redrive")

    def prune(self, age_ms: int = 0, limit: int = 500, indexes: str = "tdca") -> None:
        """Ended tasks go."""
        _, count, _ = self._world.run(
            self._driver.prune(age_ms=age_ms, limit=limit, indexes=indexes)
        )
        assert count == self.model.prune(age_ms, limit, [INDEXES[i] for i in indexes])
        self._compare("prune")

    def purge(self) -> None:
        """What is neither leased nor ended is cancelled; what a clock that went back changed
        later than that is not.
        """
        self._catch_up()
        assert self._world.run(self._driver.purge()) == self.model.purge()
        self._compare("purge")

    def sweep(self) -> None:
        """What a purge and new settings left to do."""
        self._world.run(self._driver.sweep())
        self.model.sweep()
        self._compare("sweep", loose=True)

    def configure(self, settings: QueueSettings) -> None:
        """New settings."""
        driver = self._driver
        version, _, _ = self._world.run(driver.settings.settings(QUEUE))
        assert self._world.run(driver.settings.configure(QUEUE, version, settings, b""))
        self.model.configure(settings)
        self._compare("configure")

    def deliver(self) -> None:
        """What tasks owe each other; by a clock that no entry is ahead of."""
        self._catch_up(5_001)
        while self._world.run(self._world.dependencies.deliver(QUEUE)):
            pass  # what followed from it is owed in turn
        self.model.deliver()
        self._compare("deliver", loose=True)

    def look(self) -> None:
        """What the reads tell is what the model has, and they change nothing."""
        counts = self._world.run(self._driver.stats())
        model = self.model
        expected = [
            sum(model.seen_state(name) == state for name in model.tasks)
            for state in (
                *(TaskState.PENDING, TaskState.SCHEDULED, TaskState.BLOCKED),
                *(TaskState.IN_PROGRESS, TaskState.COMPLETED, TaskState.FAILED),
            )
        ]
        assert list(counts[1:7]) == expected
        assert list(counts[11:15]) == list(model.totals.values())
        held = self._world.run(self._driver.store.held(QUEUE, self.leases))
        assert held == [model.holds(*lease) for lease in self.leases]
        self._read(sorted(model.tasks))
        self._compare("look")

    def _read(self, names: Sequence[bytes]) -> None:
        for name, stored in zip(names, self._world.run(self._driver.read(*names)), strict=True):
            task = self.model.tasks[name]
            assert stored is not None
            assert stored.row.state == self.model.seen_state(name)
            assert len(stored.spec) == task.new.size + task.new.payload * task.has_payload
        if names:
            states = self._world.run(self._driver.reads.states(QUEUE, names))
            assert states == [self.model.seen_state(name) for name in names]

    def _grew(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            assert number > self._last_number
            self._last_number = number

    def _compare(
        self, call: str, endings: Mapping[bytes, Ending] | None = None, *, loose: bool = False
    ) -> None:
        """`loose` lets the store choose the order among tasks that a call made pending."""
        state = take_snapshot(self._world.admin, QUEUE)
        assert inconsistencies(state, self._latest_ms) == []
        metas = {name: _fields(meta) for name, meta in state.metas.items()}
        assert metas == {name: _expected(task) for name, task in self.model.tasks.items()}
        lists = self.model.lists
        if loose:
            for priority, names in state.lists.items():
                expected = set(lists.by_priority[priority]) & self.model.tasks.keys()
                claimable = {n for n in expected if self.model.seen_state(n) == TaskState.PENDING}
                assert claimable <= set(names)
            lists.by_priority = {priority: list(names) for priority, names in state.lists.items()}
        assert state.lists == lists.by_priority
        self.seen |= set(transitions(call, endings or {}, self._before, state))
        assert outside_the_table(self.seen) == set()
        self._before = state
