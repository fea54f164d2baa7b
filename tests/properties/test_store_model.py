"""Whatever callers and clock do to a queue, it is what the model in `model.py` says it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from codeq_grpc.core.queues import QueueSettings
from codeq_grpc.core.retry import RetryWishes
from codeq_grpc.core.task import (
    REDRIVABLE,
    TERMINAL,
    TRANSITIONS,
    Conflict,
    Ending,
    TaskState,
    Transition,
)
from tests.properties.tasks import Key, NewTask, Outcome
from tests.properties.twin import Twin, World
from tests.support.driver import LEASE_MS, Lease

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.stores import StoreProcess

SETTINGS: Final = settings(
    max_examples=1_000,
    stateful_step_count=50,
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)

Pick = tuple[bool, int]
ReportArgs = tuple[Pick, Ending, int | None, bool, str, int]

DELAYS: Final = st.sampled_from([0, 0, 1, 500, 1_000, 5_000])
TYPES: Final = st.sampled_from([(), (), ("Fatal",)])
WISHES: Final = st.builds(
    RetryWishes,
    max_attempts=st.sampled_from([1, 2, 3, None]),
    initial_backoff_ms=st.sampled_from([None, None, 0, 700]),
    multiplier=st.sampled_from([None, 1.0, 3.0]),
    non_retryable=TYPES,
)
KEYS: Final = st.builds(
    Key,
    text=st.sampled_from(["one", "two"]),
    payload=st.integers(1, 2),
    ttl_ms=st.sampled_from([0, 0, 1_000, 60_000]),
    conflict=st.sampled_from(Conflict),
)
NEW_TASKS: Final = st.builds(
    NewTask,
    size=st.sampled_from([1, 40, 100]),
    payload=st.sampled_from([0, 3, 50]),
    priority=st.sampled_from([None, 0, 4, 5, 5, 9]),
    lease_ms=st.sampled_from([0, 0, 1_000, 5_000]),
    delay_ms=st.sampled_from([0, 0, 0, -1, -5_000, 1, 500, 1_000, 60_000]),
    expire_in_ms=st.sampled_from([0, 0, 0, 0, 1, 2_000, 40_000]),
    timeout_ms=st.sampled_from([0, 0, 0, 3_000]),
    retry=WISHES,
    key=st.sampled_from(["", "", "a", "b"]),
    idempotency=st.none() | st.none() | KEYS,
    parents=st.just(()),
    invalid=st.sampled_from([False, False, False, False, False, True]),
)
QUEUE_SETTINGS: Final = st.builds(
    QueueSettings,
    default_priority=st.sampled_from([None, 7]),
    retry=WISHES,
    lease_ms=st.sampled_from([0, 0, 2_000]),
    max_in_progress=st.sampled_from([0, 0, 0, 2]),
    max_in_progress_per_key=st.sampled_from([0, 1, 1, 2]),
    max_backlog=st.sampled_from([0, 0, 0, 6]),
    retain_payload=st.booleans(),
    paused=st.sampled_from([False, False, False, True]),
    payload_schema=st.sampled_from(["", "", "one", "other"]),
)
PAUSES: Final = st.sampled_from([0, 0, 0, 1, 1_000])
WAITS: Final = st.sampled_from([0, 0, 0, 0, 1, 1, 1_000, 1_000, LEASE_MS - 1, LEASE_MS, 90_000])
LIMITS: Final = st.sampled_from([1, 2, 500])
PICKS: Final = st.tuples(st.sampled_from([True, True, False]), st.integers(0, 20))
"""A lease: of those held now or of all there ever were, newest first; 20: one that never was."""
NAMES: Final = st.lists(st.integers(0, 12), min_size=1, max_size=4)
"""Tasks, newest first; 12: one that never was."""
BEATS: Final = st.tuples(PICKS, st.sampled_from([0, 1, 2_000, 90_000]))
REPORTS: Final = st.tuples(
    PICKS,
    st.sampled_from([Ending.COMPLETE, Ending.FAIL, Ending.FAIL, Ending.ABANDON]),
    st.none() | DELAYS,
    st.sampled_from([False, False, False, True]),
    st.sampled_from(["", "Common", "Fatal"]),
    st.sampled_from([0, 0, 0, 0, 1]),
)


class QueueMachine(RuleBasedStateMachine):
    """Calls in any order. `world` and `seen` belong to the subclass that is run."""

    world: ClassVar[World]
    seen: ClassVar[set[Transition]]

    def __init__(self) -> None:
        super().__init__()
        self.twin = Twin(self.world)

    def _pick(self, pick: Pick) -> Lease:
        held, back = pick
        leases = self.twin.leases
        if held:
            leases = [lease for lease in leases if self.twin.model.holds(*lease)] or leases
        return Lease(b"unknown", 1) if back == 20 else leases[-1 - back % len(leases)]

    def _names(self, backs: list[int]) -> list[bytes]:
        known = sorted(self.twin.model.tasks)
        return [b"unknown" if b == 12 or not known else known[-1 - b % len(known)] for b in backs]

    def _any(self, *states: TaskState) -> bool:
        return any(task.state in states for task in self.twin.model.tasks.values())

    @initialize(
        new=st.lists(NEW_TASKS, min_size=3, max_size=8),
        chosen=st.none() | QUEUE_SETTINGS,
        want=st.integers(0, 6),
    )
    def begin(self, new: list[NewTask], chosen: QueueSettings | None, want: int) -> None:
        if chosen is not None:
            self.twin.configure(chosen)
        self.twin.enqueue(*new)
        if want:
            self.twin.claim(want)

    @rule(new=st.lists(NEW_TASKS, min_size=1, max_size=5))
    def enqueue(self, new: list[NewTask]) -> None:
        self.twin.enqueue(*new)

    @precondition(lambda self: self.twin.model.tasks)
    @rule(new=NEW_TASKS, backs=NAMES, key=st.none() | KEYS, much_later=st.booleans())
    def enqueue_behind_others(
        self, new: NewTask, backs: list[int], key: Key | None, much_later: bool
    ) -> None:
        model = self.twin.model
        parents = [n for n in dict.fromkeys(self._names(backs)) if n in model.tasks]
        going = [n for n in parents if model.seen_state(n) != TaskState.COMPLETED]
        if key and key.conflict == Conflict.REPLACE:
            key = key._replace(conflict=Conflict.USE_EXISTING)
        delay_ms = 600_000 if much_later else new.delay_ms
        self.twin.enqueue(new._replace(parents=tuple(going), idempotency=key, delay_ms=delay_ms))

    @precondition(lambda self: self.twin.model.keys)
    @rule(new=NEW_TASKS, at=st.integers(0, 3))
    def replace(self, new: NewTask, at: int) -> None:
        """What a key points at, blocked tasks first."""
        model = self.twin.model
        texts = sorted(model.keys, key=lambda t: (model.seen_state(model.keys[t].name) or 9, t))
        key = Key(texts[at % len(texts)], 1, 0, Conflict.REPLACE)
        self.twin.enqueue(new._replace(idempotency=key))

    @rule(
        after_ms=PAUSES,
        want=st.integers(1, 6),
        max_bytes=st.sampled_from([1, 100, 150, 1 << 20, 1 << 20]),
        lease_ms=st.sampled_from([0, 0, 2_000]),
    )
    def claim(self, after_ms: int, want: int, max_bytes: int, lease_ms: int) -> None:
        self.twin.advance(after_ms)
        self.twin.claim(want, max_bytes=max_bytes, lease_ms=lease_ms)

    @precondition(lambda self: self.twin.leases)
    @rule(beats=st.lists(BEATS, min_size=1, max_size=4))
    def heartbeat(self, beats: list[tuple[Pick, int]]) -> None:
        self.twin.heartbeat(*[(self._pick(pick), extend_ms) for pick, extend_ms in beats])

    def _report(self, reports: list[ReportArgs]) -> None:
        outcomes = []
        for pick, ending, delay_ms, no_retry, kind, off in reports:
            name, fence = self._pick(pick)
            delay = 0 if ending == Ending.ABANDON and delay_ms is None else delay_ms
            outcomes.append(Outcome(name, fence + off, ending, delay, no_retry, kind))
        self.twin.report(*outcomes)

    @precondition(lambda self: any(self.twin.model.holds(*lease) for lease in self.twin.leases))
    @rule(after_ms=PAUSES, reports=st.lists(REPORTS, min_size=1, max_size=6))
    def report(self, after_ms: int, reports: list[ReportArgs]) -> None:
        self.twin.advance(after_ms)
        self._report(reports)

    @precondition(lambda self: self._any(TaskState.BLOCKED, TaskState.IN_PROGRESS))
    @rule()
    def all_goes_well(self) -> None:
        """Whatever can be claimed completes, and others hear of it."""
        leases = [*self.twin.claim(20), *self.twin.leases]
        held = [lease for lease in dict.fromkeys(leases) if self.twin.model.holds(*lease)]
        if held:
            self.twin.report(*[Outcome(*lease, Ending.COMPLETE) for lease in held])
        self.twin.deliver()

    @precondition(lambda self: self.twin.leases)
    @rule(reports=st.lists(REPORTS, min_size=1, max_size=2))
    def report_anything(self, reports: list[ReportArgs]) -> None:
        self._report(reports)

    @rule(backs=NAMES)
    def cancel(self, backs: list[int]) -> None:
        self.twin.cancel(*self._names(backs))

    @precondition(lambda self: self._any(*TERMINAL))
    @rule(backs=NAMES, delay_ms=st.sampled_from([0, 0, 1_000]))
    def redrive(self, backs: list[int], delay_ms: int) -> None:
        self.twin.redrive(*self._names(backs), delay_ms=delay_ms)

    @precondition(lambda self: self._any(TaskState.SCHEDULED))
    @rule(after_ms=WAITS, limit=LIMITS)
    def promote(self, after_ms: int, limit: int) -> None:
        self.twin.advance(after_ms)
        self.twin.promote(limit)

    @rule(after_ms=WAITS, limit=LIMITS)
    def reap(self, after_ms: int, limit: int) -> None:
        self.twin.advance(after_ms)
        self.twin.reap(limit)

    @precondition(lambda self: self._any(*TERMINAL))
    @rule(
        after_ms=WAITS,
        age_ms=st.sampled_from([0, 1_000, 60_000]),
        limit=LIMITS,
        indexes=st.sampled_from(["t", "d", "ca", "tdca"]),
    )
    def prune(self, after_ms: int, age_ms: int, limit: int, indexes: str) -> None:
        self.twin.advance(after_ms)
        self.twin.prune(age_ms, limit, indexes)

    @rule(chosen=QUEUE_SETTINGS)
    def configure(self, chosen: QueueSettings) -> None:
        self.twin.configure(chosen)

    @rule(sure=st.integers(0, 3))
    def purge(self, sure: int) -> None:
        if not sure:
            self.twin.purge()

    @precondition(lambda self: self.twin.model.to_sweep or self.twin.model.to_unpark)
    @rule()
    def sweep(self) -> None:
        self.twin.sweep()

    @precondition(lambda self: self._any(TaskState.BLOCKED))
    @rule()
    def deliver(self) -> None:
        self.twin.deliver()

    @rule(ms=st.sampled_from([500, 999, 2_000, -1, -1_000, -40_000]))
    def clock_moves(self, ms: int) -> None:
        self.twin.advance(ms)

    @precondition(lambda self: self.twin.leases)
    @rule()
    def look(self) -> None:
        self.twin.look()

    def teardown(self) -> None:
        self.seen.update(self.twin.seen)


@pytest.fixture
def world(store: StoreProcess) -> Iterator[World]:
    opened = World(store)
    yield opened
    opened.close()


@pytest.mark.timeout(900)
def test_queue_is_what_its_model_says_after_every_call(world: World) -> None:
    seen: set[Transition] = set()
    run_state_machine_as_test(
        type("Machine", (QueueMachine,), {"world": world, "seen": seen}), settings=SETTINGS
    )
    assert seen == set(TRANSITIONS)


def _replaced(twin: Twin) -> None:
    """A task under a key is replaced in every state in which nobody holds it."""
    (parent,) = twin.enqueue(NewTask(delay_ms=90_000))
    first = NewTask(idempotency=Key("k", 1, 0, Conflict.USE_EXISTING))
    for source in (first._replace(parents=(parent,)), first._replace(delay_ms=60_000), first):
        for delay_ms in (60_000, 0):
            twin.enqueue(source)
            key = Key("k", 2, 0, Conflict.REPLACE)
            (name,) = twin.enqueue(NewTask(size=9, delay_ms=delay_ms, idempotency=key))
            twin.cancel(name)
            twin.advance(1)
            twin.prune(indexes="c")


def _depended_on(twin: Twin) -> None:
    (parent,) = twin.enqueue(NewTask())
    twin.enqueue(NewTask(parents=(parent,)), NewTask(parents=(parent,), delay_ms=60_000))
    twin.report(Outcome(*twin.claim()[0], Ending.COMPLETE))
    twin.deliver()
    (failing,) = twin.enqueue(NewTask(priority=9))
    twin.enqueue(NewTask(parents=(failing,)))
    twin.report(Outcome(*twin.claim()[0], Ending.FAIL, no_retry=True))
    twin.deliver()


def _attempted(twin: Twin) -> None:
    once = RetryWishes(max_attempts=1)
    twin.enqueue(*[NewTask(retry=once, priority=9)] * 2, *[NewTask(priority=9)] * 10)
    leases = twin.claim(12)
    twin.advance(1)
    twin.heartbeat((leases[0], 0))
    twin.cancel(*[lease.name for lease in leases[7:10]])
    twin.report(
        Outcome(*leases[0], Ending.FAIL),
        Outcome(*leases[2], Ending.COMPLETE),
        Outcome(*leases[3], Ending.FAIL, 0),
        Outcome(*leases[4], Ending.FAIL),
        Outcome(*leases[5], Ending.ABANDON, 0),
        Outcome(*leases[6], Ending.ABANDON, 10),
        Outcome(*leases[7], Ending.FAIL),
        Outcome(*leases[8], Ending.ABANDON, 0),
    )
    twin.advance(LEASE_MS)
    twin.promote()
    twin.reap()


def _withdrawn(twin: Twin) -> None:
    """In each way out of each state in which nobody holds a task, and of the one in which one
    does."""
    (parent,) = twin.enqueue(NewTask(delay_ms=900_000))
    waiting = [
        NewTask(parents=(parent,)),
        NewTask(delay_ms=500_000),
        NewTask(),
    ]
    expiring = [task._replace(expire_in_ms=600_000) for task in waiting]
    twin.enqueue(*[task._replace(priority=0) for task in expiring])
    twin.enqueue(NewTask(priority=9, expire_in_ms=1_000))
    twin.claim()
    twin.cancel(*twin.enqueue(*waiting))
    twin.advance(600_000)
    twin.reap()
    twin.enqueue(*waiting)
    twin.purge()
    twin.sweep()


def _revived(twin: Twin) -> None:
    once = RetryWishes(max_attempts=1)
    twin.enqueue(*[NewTask(retry=once)] * 2, NewTask())
    leases = twin.claim(3)
    endings = [Ending.FAIL, Ending.FAIL, Ending.COMPLETE]
    twin.report(*[Outcome(*le, end) for le, end in zip(leases, endings, strict=True)])
    twin.cancel(*twin.enqueue(NewTask(), NewTask()))
    twin.enqueue(NewTask(expire_in_ms=10), NewTask(expire_in_ms=10))
    twin.advance(10)
    twin.reap()
    for state in REDRIVABLE:
        one, other = [task.name for task in twin.model.in_state(state)]
        twin.redrive(one)
        twin.redrive(other, delay_ms=1_000)
        twin.cancel(one)
        twin.redrive(one)
    failed, cancelled = twin.enqueue(NewTask(retry=once, priority=9), NewTask())
    twin.report(Outcome(*twin.claim()[0], Ending.FAIL))
    twin.cancel(cancelled)
    twin.enqueue(NewTask(expire_in_ms=10))
    twin.advance(11)
    twin.reap()
    assert twin.model.seen_state(failed) == TaskState.FAILED
    twin.advance(1)
    twin.prune()


def test_every_transition_of_the_table_happens_and_no_other(world: World) -> None:
    seen: set[Transition] = set()
    for part in (_attempted, _depended_on, _replaced, _withdrawn, _revived):
        twin = Twin(world)
        part(twin)
        seen |= twin.seen
    assert seen == set(TRANSITIONS)
