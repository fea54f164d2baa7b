"""A queue of a real store and its model, driven together and compared at every step."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

from codeq_grpc.core.retry import RetryPolicy
from codeq_grpc.core.task import Ending, TaskState, Transition
from codeq_grpc.store.keys import Queue
from codeq_grpc.store.rows import pack_claimant
from codeq_grpc.store.tasks import Report, TaskStore, new_task
from tests.properties.model import NewTask, Outcome, QueueModel
from tests.properties.transitions import outside_the_table, transitions
from tests.support.admin import Admin
from tests.support.clock import START_MS, ClockedConnection, VirtualClock
from tests.support.driver import Lease
from tests.support.snapshot import inconsistencies, take_snapshot

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from tests.properties.model import ModelTask
    from tests.support.snapshot import Meta
    from tests.support.stores import StoreProcess

LEASE_MS: Final = 30_000
POLICY: Final = RetryPolicy(
    initial_backoff_ms=1_000, max_backoff_ms=3_000, multiplier=2.0, jitter=0
)
QUEUE: Final = Queue("acme", "RENDER", 7)
CLAIMANT: Final = pack_claimant("srv.1", "w")
INDEXES: Final = {"t": TaskState.COMPLETED, "d": TaskState.FAILED}

_T = TypeVar("_T")


class World:
    """What outlives a twin: event loop, connections, clock."""

    def __init__(self, store: StoreProcess) -> None:
        self._runner = asyncio.Runner()
        self.clock = VirtualClock()
        self._connection = ClockedConnection(store.url, self.clock)
        self.admin = Admin(store.socket_path)
        self.tasks = TaskStore(self._connection, retry=POLICY, lease_ms=LEASE_MS)

    def run(self, call: Coroutine[Any, Any, _T]) -> _T:
        """Waits for a call."""
        return self._runner.run(call)

    def close(self) -> None:
        """Ends all."""
        self.admin.close()
        self._runner.run(self._connection.close())
        self._runner.close()


def _fields(meta: Meta) -> tuple[object, ...]:
    return (
        *(meta.state, meta.time_ms, meta.attempt, meta.fence, meta.ending),
        *(meta.size, meta.priority, meta.max_attempts, meta.lease_ms),
        *(meta.since_ms, meta.claim_lease_ms),
    )


def _expected(task: ModelTask) -> tuple[object, ...]:
    new = task.new
    return (
        *(task.state, task.time_ms, task.attempt, task.fence, task.ending),
        *(new.size, new.priority, new.max_attempts, new.lease_ms),
        *(task.since_ms, task.claim_lease_ms),
    )


class Twin:
    """Each call goes to both; what the store replies and keeps must be what the model says."""

    def __init__(self, world: World) -> None:
        world.admin.call("FLUSHALL")
        world.clock.ms = START_MS
        self._world = world
        self._tasks = world.tasks
        self.model = QueueModel(POLICY, LEASE_MS, START_MS)
        self.leases: list[Lease] = []
        """Every lease ever given, current or not."""
        self.seen: set[Transition] = set()
        self._before = take_snapshot(world.admin, QUEUE)
        self._last_number = 0

    def advance(self, ms: int) -> None:
        """Moves the clock; backward when negative."""
        self._world.clock.advance(ms)
        self.model.clock_ms += ms

    def enqueue(self, *new: NewTask) -> list[bytes]:
        """Tasks with a delay are given a delay or a time, by turns."""
        now = self.model.now_ms
        args = []
        for i, wanted in enumerate(new):
            absolute = wanted.delay_ms < 0 or i % 2
            when = now + wanted.delay_ms if absolute else -wanted.delay_ms
            args.append(
                new_task(
                    b"x" * wanted.size,
                    priority=wanted.priority,
                    max_attempts=wanted.max_attempts,
                    lease_ms=wanted.lease_ms,
                    when=when,
                    policy=b"",
                )
            )
        names, told = self._world.run(self._tasks.enqueue(QUEUE, args))
        assert told == now
        self._grew([int.from_bytes(name, "big") for name in names])
        self.model.enqueue(names, new)
        self._compare("enqueue")
        return names

    def claim(self, want: int = 1, *, max_bytes: int = 1 << 20, lease_ms: int = 0) -> list[Lease]:
        """Leases; the fences are the store's choice, but they grow."""
        claimed = self._world.run(
            self._tasks.claim(QUEUE, CLAIMANT, want=want, max_bytes=max_bytes, lease_ms=lease_ms)
        )
        expected = self.model.next_to_claim(want, max_bytes)
        assert [name for name, _, _ in claimed.tasks] == [task.name for task in expected]
        assert [len(spec) for _, _, spec in claimed.tasks] == [task.new.size for task in expected]
        assert claimed.now_ms == self.model.now_ms
        if not expected:
            scheduled = self.model.in_state(TaskState.SCHEDULED)
            assert claimed.next_due_ms == (scheduled[0].time_ms if scheduled else 0)
        leases = [Lease(name, row.fence) for name, row, _ in claimed.tasks]
        self._grew([lease.fence for lease in leases])
        for task, lease in zip(expected, leases, strict=True):
            self.model.lease(task, lease.fence, lease_ms)
        self.leases += leases
        self._compare("claim")
        return leases

    def heartbeat(self, *beats: tuple[Lease, int]) -> None:
        """Leases and extensions."""
        args = [(*lease, extend_ms) for lease, extend_ms in beats]
        words = self._world.run(self._tasks.heartbeat(QUEUE, args))
        assert words == [self.model.heartbeat(*beat) for beat in args]
        self._compare("heartbeat")

    def report(self, *outcomes: Outcome) -> list[bytes]:
        """A word for each."""
        reports = [
            Report(o.name, o.fence, o.ending, b"text", o.delay_ms, o.no_retry) for o in outcomes
        ]
        verdicts = self._world.run(self._tasks.report(QUEUE, reports))
        done = []
        for outcome, verdict in zip(outcomes, verdicts, strict=True):
            assert verdict.word == self.model.report(outcome)
            task = self.model.tasks.get(outcome.name)
            assert verdict[1:3] == ((task.state, task.time_ms) if task else (0, 0))
            if verdict.word == b"DONE":
                done.append(outcome)
        self.model.put_back(done)
        self._compare("report", {outcome.name: outcome.ending for outcome in done})
        return [verdict.word for verdict in verdicts]

    def promote(self, limit: int = 500) -> None:
        """Due tasks become pending."""
        now, next_due, count = self._world.run(self._tasks.promote(QUEUE, limit))
        assert count == self.model.promote(limit)
        scheduled = self.model.in_state(TaskState.SCHEDULED)
        assert (now, next_due) == (self.model.now_ms, scheduled[0].time_ms if scheduled else 0)
        self._compare("promote")

    def reap(self, limit: int = 500) -> None:
        """Leases that ran out end."""
        _, next_expiry, expired = self._world.run(self._tasks.reap(QUEUE, limit, b"expired"))
        over = self.model.reap(limit)
        assert [(e.name, e.fence, e.owner) for e in expired] == [
            (task.name, task.fence, "srv.1") for task in over
        ]
        leased = self.model.in_state(TaskState.IN_PROGRESS)
        assert next_expiry == (leased[0].time_ms if leased else 0)
        self._compare("reap")

    def prune(self, age_ms: int = 0, limit: int = 500, indexes: str = "td") -> None:
        """Ended tasks go."""
        _, count, more = self._world.run(
            self._tasks.prune(QUEUE, before_ms=0, age_ms=age_ms, limit=limit, indexes=indexes)
        )
        assert count == self.model.prune(age_ms, limit, [INDEXES[i] for i in indexes])
        assert more == (count == limit)
        self._compare("prune")

    def look(self) -> None:
        """What the reads tell is what the model has, and they change nothing."""
        counts = self._world.run(self._tasks.stats(QUEUE))
        states = [TaskState.PENDING, TaskState.SCHEDULED, TaskState.IN_PROGRESS, *INDEXES.values()]
        assert counts[1:6] == tuple(len(self.model.in_state(state)) for state in states)
        heads = [self.model.tasks[names[0]] for names in self.model.lists.values() if names]
        assert counts.oldest_ms == min((task.time_ms for task in heads), default=0)
        model = self.model
        assert counts[7:] == (model.enqueued, model.completed, model.attempts_failed, model.expired)
        held = self._world.run(self._tasks.held(QUEUE, self.leases))
        assert held == [model.holds(*lease) for lease in self.leases]
        for name in {lease.name for lease in self.leases[-5:]}:
            stored = self._world.run(self._tasks.get(QUEUE, name, result=True))
            assert (stored.row.state if stored else None) == (
                model.tasks[name].state if name in model.tasks else None
            )
        self._compare("look")

    def _grew(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            assert number > self._last_number
            self._last_number = number

    def _compare(self, call: str, endings: Mapping[bytes, Ending] | None = None) -> None:
        state = take_snapshot(self._world.admin, QUEUE)
        assert inconsistencies(state) == []
        assert {name: _fields(meta) for name, meta in state.metas.items()} == {
            name: _expected(task) for name, task in self.model.tasks.items()
        }
        assert state.lists == self.model.lists
        self.seen |= set(transitions(call, endings or {}, self._before, state))
        assert outside_the_table(self.seen) == set()
        self._before = state
