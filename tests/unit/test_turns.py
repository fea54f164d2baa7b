"""Daemons give every queue its turn, however much there is to do in one."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from codeq_grpc.broker.dependencies import Dependencies
from codeq_grpc.core.task import TaskState
from codeq_grpc.daemons.courier import Courier
from codeq_grpc.daemons.sweeper import Sweeper
from codeq_grpc.store.keys import Queue
from codeq_grpc.store.outbox import Entry

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
    return Entry("B", number.to_bytes(7, "big"), state, [], more=False, till_ms=0)


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


def couriered(outbox: Any) -> Courier:
    registry: Any = None
    return Courier(Dependencies(registry, outbox, lambda *_: b"error"))


async def test_a_queue_that_owes_much_lets_others_deliver() -> None:
    outbox = ScriptedOutbox()
    courier = couriered(outbox)
    for queue in (BUSY, QUIET):
        courier.owe(queue)
    for _ in range(STEPS):
        await courier.tick()
    outbox.assert_fair()


async def test_a_purge_of_much_lets_others_be_swept() -> None:
    upkeep: Any = ScriptedUpkeep()
    errors: Any = None
    sweeper = Sweeper(upkeep, errors, lambda queue: None)
    for queue in (BUSY, QUIET):
        sweeper.sweep(queue)
    for _ in range(STEPS):
        await sweeper.tick()
    upkeep.assert_fair()
