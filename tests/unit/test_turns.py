"""Daemons give every queue its turn, however much there is to do in one."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import Mock

import pytest

from codeq_grpc.broker.dependencies import Dependencies
from codeq_grpc.core.errors import CodeQError, StoreUnavailable
from codeq_grpc.core.task import TaskState
from codeq_grpc.daemons.courier import Courier
from codeq_grpc.daemons.promoter import Promoter
from codeq_grpc.daemons.pruner import Pruner
from codeq_grpc.daemons.reaper import Reaper
from codeq_grpc.daemons.rounds import Rounds
from codeq_grpc.daemons.sweeper import Sweeper
from codeq_grpc.daemons.timekeeper import Timekeeper
from codeq_grpc.store.keys import Queue
from codeq_grpc.store.outbox import Entry, Resolution
from codeq_grpc.store.upkeep import Promoted, Reaped
from tests.support.courier import no_firings

if TYPE_CHECKING:
    from collections.abc import Sequence

BUSY: Final = Queue("acme", "BUSY", 1)
QUIET: Final = Queue("other", "QUIET", 2)
STEPS: Final = 5
"""As many a busy queue needs."""


class Script:
    """Which queues were visited; the busy one is done after some steps."""

    def __init__(self) -> None:
        self.visits: list[Queue] = []

    def visit(self, queue: Queue) -> bool:
        """Whether there is more."""
        self.visits.append(queue)
        return queue is BUSY and Counter(self.visits)[BUSY] < STEPS

    def assert_fair(self) -> None:
        assert self.visits == [BUSY, QUIET, *[BUSY] * (STEPS - 1)]


def entry(number: int, state: TaskState = TaskState.PENDING) -> Entry:
    """Of a task that was blocked once."""
    return Entry("B", number.to_bytes(7, "big"), state, ["gone"], more=False, till_ms=0)


class ScriptedOutbox(Script):
    """Full batches are due in the busy queue."""

    async def take(self, queue: Queue, limit: int, **_: Any) -> list[Entry]:
        return [entry(i) for i in range(limit if self.visit(queue) else 1)]

    async def settle(self, queue: Queue, entries: Sequence[Entry]) -> None:
        assert entries


class ScriptedUpkeep(Script):
    """Each step of the busy queue leaves something."""

    async def sweep(self, queue: Queue, *_: Any) -> tuple[int, bool]:
        return 0, self.visit(queue)

    async def peek(self, queues: Sequence[Queue]) -> list[tuple[int, int]]:
        return [(1, 1)] * len(queues)

    async def reap(self, queue: Queue, *_: Any) -> Reaped:
        return Reaped(0, 0, 0, self.visit(queue), [])

    async def promote(self, queue: Queue, limit: int) -> Promoted:
        return Promoted(0, 0, limit if self.visit(queue) else 0, 0, sweep=False)

    async def prune_old(self, queue: Queue, default_ms: int) -> tuple[int, bool]:
        return 1, self.visit(queue)


class ScriptedRegistry:
    """Both queues are known."""

    async def refresh(self) -> None:
        pass

    def known(self) -> tuple[Queue, ...]:
        return BUSY, QUIET

    async def of_task(self, *_: Any) -> None:
        pass


def couriered(outbox: Any) -> Courier:
    registry: Any = ScriptedRegistry()
    return Courier(Dependencies(registry, outbox, lambda *_: b"error", no_firings()))


async def test_a_queue_that_owes_much_lets_others_deliver() -> None:
    outbox = ScriptedOutbox()
    courier = couriered(outbox)
    for queue in (BUSY, QUIET):
        courier.owe(queue)
    for _ in range(STEPS):
        await courier.tick()
    outbox.assert_fair()


class BrokenOutbox(ScriptedOutbox):
    """Of three entries the second cannot be delivered."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.settled: list[int] = []
        self._error = error

    async def take(self, queue: Queue, limit: int, **_: Any) -> list[Entry]:
        return [entry(i, TaskState.BLOCKED) for i in range(3)]

    async def resolve(self, queue: Queue, resolutions: Sequence[Resolution]) -> int:
        (resolution,) = resolutions
        if resolution.name == entry(1).name:
            raise self._error
        return 0

    async def settle(self, queue: Queue, entries: Sequence[Entry]) -> None:
        self.settled += [int.from_bytes(one.name, "big") for one in entries]


@pytest.mark.parametrize("error", [CodeQError("broken"), RuntimeError("broken")])
async def test_an_entry_that_cannot_be_delivered_keeps_no_other_back(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = BrokenOutbox(error)
    courier = couriered(outbox)
    courier.owe(QUIET)
    await courier.tick()
    assert outbox.settled == [0, 2]
    assert QUIET.task_id(entry(1).name) in caplog.text


async def test_what_was_delivered_before_the_store_went_away_is_settled() -> None:
    registry: Any = ScriptedRegistry()
    outbox: Any = BrokenOutbox(StoreUnavailable())
    with pytest.raises(StoreUnavailable):
        await Dependencies(registry, outbox, lambda *_: b"error", no_firings()).deliver(QUIET)
    assert outbox.settled == [0]


async def test_a_purge_of_much_lets_others_be_swept() -> None:
    upkeep: Any = ScriptedUpkeep()
    errors: Any = None
    sweeper = Sweeper(upkeep, errors, lambda queue: None)
    for queue in (BUSY, QUIET):
        sweeper.sweep(queue)
    for _ in range(STEPS):
        await sweeper.tick()
    upkeep.assert_fair()


@pytest.mark.parametrize("verb", ["reap", "promote", "prune"])
async def test_a_queue_in_which_much_is_due_is_looked_at_again_after_the_others(verb: str) -> None:
    upkeep: Any = ScriptedUpkeep()
    registry: Any = ScriptedRegistry()
    nothing: Any = Mock()
    reaper = Reaper(upkeep, nothing, nothing, limit=9, errors=nothing)
    promoter = Promoter(upkeep, nothing, nothing)
    daemons: dict[str, Timekeeper | Pruner] = {
        "reap": Timekeeper(registry, upkeep, reaper),
        "promote": Timekeeper(registry, upkeep, promoter),
        "prune": Pruner(registry, upkeep, retention_ms=60_000),
    }
    daemon = daemons[verb]
    for _ in range(STEPS):
        await daemon.tick()
    upkeep.assert_fair()


async def test_a_queue_that_came_due_during_a_round_is_not_left_till_later() -> None:
    registry: Any = ScriptedRegistry()
    rounds = Rounds("test", registry, longest=1_000.0)

    async def look(queue: Queue) -> float:
        if queue is QUIET:  # which takes longer than the other one waits
            await asyncio.sleep(0.01)
        return 0.005 if queue is BUSY else 1_000.0

    assert await rounds.tick(look) == 0.0


async def test_a_store_that_is_away_is_logged_once_and_so_is_its_return(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("codeq_grpc.daemons.rounds._NAP", 0.0)
    away, full = StoreUnavailable(), StoreUnavailable("full")
    outcomes = [away, away, away, full, full, None, None, away]
    over = asyncio.Event()

    async def refresh() -> None:
        if not outcomes:
            over.set()
            await asyncio.Event().wait()
        elif outcome := outcomes.pop(0):
            raise outcome

    registry: Any = Mock(refresh=refresh, known=tuple)
    running = asyncio.create_task(Rounds("pruner", registry, longest=60.0).run(Mock()))
    await over.wait()
    running.cancel()
    told = [f"pruner: {away}", "pruner: full", "pruner goes on", f"pruner: {away}"]
    assert caplog.messages == told
