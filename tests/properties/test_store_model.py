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

from codeq_grpc.core.task import TERMINAL, TRANSITIONS, Ending, TaskState, Transition
from tests.properties.model import NewTask, Outcome
from tests.properties.twin import LEASE_MS, Twin, World
from tests.support.driver import Lease

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.stores import StoreProcess

SETTINGS: Final = settings(
    max_examples=400,
    stateful_step_count=50,
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)

Pick = tuple[bool, int]
ReportArgs = tuple[Pick, Ending, int | None, bool, int]

DELAYS: Final = st.sampled_from([0, 0, 1, 500, 1_000, 5_000])
NEW_TASKS: Final = st.builds(
    NewTask,
    size=st.sampled_from([0, 1, 40, 100]),
    priority=st.integers(0, 9),
    max_attempts=st.integers(1, 3),
    lease_ms=st.sampled_from([0, 0, 1_000, 5_000]),
    delay_ms=st.sampled_from([0, 0, 0, -1, -5_000, 1, 500, 1_000, 60_000]),
)
PAUSES: Final = st.sampled_from([0, 0, 0, 1, 1_000])
WAITS: Final = st.sampled_from([0, 0, 0, 0, 1, 1, 1_000, 1_000, LEASE_MS - 1, LEASE_MS, 90_000])
PICKS: Final = st.tuples(st.sampled_from([True, True, False]), st.integers(0, 20))
"""A lease: of those held now or of all there ever were, newest first; 20: one that never was."""
BEATS: Final = st.tuples(PICKS, st.sampled_from([0, 1, 2_000, 90_000]))
REPORTS: Final = st.tuples(
    PICKS,
    st.sampled_from([Ending.COMPLETE, Ending.FAIL, Ending.FAIL, Ending.ABANDON]),
    st.none() | DELAYS,
    st.sampled_from([False, False, False, True]),
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

    def _any(self, *states: TaskState) -> bool:
        return any(task.state in states for task in self.twin.model.tasks.values())

    @initialize(new=st.lists(NEW_TASKS, min_size=3, max_size=8), want=st.integers(0, 6))
    def begin(self, new: list[NewTask], want: int) -> None:
        self.twin.enqueue(*new)
        if want:
            self.twin.claim(want)

    @rule(new=st.lists(NEW_TASKS, min_size=1, max_size=5))
    def enqueue(self, new: list[NewTask]) -> None:
        self.twin.enqueue(*new)

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
        for pick, ending, delay_ms, no_retry, off in reports:
            name, fence = self._pick(pick)
            outcomes.append(Outcome(name, fence + off, ending, delay_ms, no_retry))
        self.twin.report(*outcomes)

    @precondition(lambda self: any(self.twin.model.holds(*lease) for lease in self.twin.leases))
    @rule(after_ms=PAUSES, reports=st.lists(REPORTS, min_size=1, max_size=6))
    def report(self, after_ms: int, reports: list[ReportArgs]) -> None:
        self.twin.advance(after_ms)
        self._report(reports)

    @precondition(lambda self: self.twin.leases)
    @rule(reports=st.lists(REPORTS, min_size=1, max_size=2))
    def report_anything(self, reports: list[ReportArgs]) -> None:
        self._report(reports)

    @precondition(lambda self: self._any(TaskState.SCHEDULED))
    @rule(after_ms=WAITS, limit=st.sampled_from([1, 2, 500]))
    def promote(self, after_ms: int, limit: int) -> None:
        self.twin.advance(after_ms)
        self.twin.promote(limit)

    @precondition(lambda self: self._any(TaskState.IN_PROGRESS))
    @rule(after_ms=WAITS, limit=st.sampled_from([1, 2, 500]))
    def reap(self, after_ms: int, limit: int) -> None:
        self.twin.advance(after_ms)
        self.twin.reap(limit)

    @precondition(lambda self: self._any(*TERMINAL))
    @rule(
        after_ms=WAITS,
        age_ms=st.sampled_from([0, 1_000, 60_000]),
        limit=st.sampled_from([1, 2, 500]),
        indexes=st.sampled_from(["t", "d", "td"]),
    )
    def prune(self, after_ms: int, age_ms: int, limit: int, indexes: str) -> None:
        self.twin.advance(after_ms)
        self.twin.prune(age_ms, limit, indexes)

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


@pytest.mark.timeout(600)
def test_queue_is_what_its_model_says_after_every_call(world: World) -> None:
    seen: set[Transition] = set()
    run_state_machine_as_test(
        type("Machine", (QueueMachine,), {"world": world, "seen": seen}), settings=SETTINGS
    )
    assert seen == set(TRANSITIONS)


def test_every_transition_of_the_table_happens_and_no_other(world: World) -> None:
    twin = Twin(world)
    twin.enqueue(*[NewTask(max_attempts=1)] * 2, *[NewTask()] * 6, NewTask(delay_ms=1_000))
    leases = twin.claim(8)
    twin.advance(1)
    twin.heartbeat((leases[0], 0))
    twin.report(
        Outcome(*leases[0], Ending.FAIL),
        Outcome(*leases[2], Ending.COMPLETE),
        Outcome(*leases[3], Ending.FAIL, 0),
        Outcome(*leases[4], Ending.FAIL),
        Outcome(*leases[5], Ending.ABANDON),
        Outcome(*leases[6], Ending.ABANDON, 10),
    )
    twin.advance(LEASE_MS)
    twin.promote()
    twin.reap()
    twin.prune()
    assert twin.seen == set(TRANSITIONS)
