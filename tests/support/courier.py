"""Delivers what one queue owes its own tasks, as servers do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from codeq_grpc.broker.ends import Ends
from codeq_grpc.core.task import TERMINAL, TaskState
from codeq_grpc.store.keys import parse_task_id
from codeq_grpc.store.outbox import Resolution

if TYPE_CHECKING:
    from codeq_grpc.store.outbox import Entry
    from tests.support.driver import QueueDriver

DEPENDENCY_ERROR: Final = b"dependency failed"
_DONE: Final = TaskState.COMPLETED
_FAILING: Final = TERMINAL - {_DONE} | {0}


def _name(task_id: str) -> bytes:
    parsed = parse_task_id(task_id)
    assert parsed is not None
    return parsed[1]


async def follow(driver: QueueDriver, entry: Entry) -> None:
    """A task is blocked; those that it waits for may have ended by now."""
    if entry.state != TaskState.BLOCKED:
        return
    states = await driver.follow(driver.id(entry.name), *map(_name, entry.others))
    by_state = list(zip(states, entry.others, strict=True))
    failed = [other for state, other in by_state if state in _FAILING]
    if failed:
        await driver.resolve(Resolution(entry.name, failed, DEPENDENCY_ERROR))
    elif completed := [other for state, other in by_state if state == _DONE]:
        await driver.resolve(Resolution(entry.name, completed, b""))


async def tell(driver: QueueDriver, entry: Entry) -> None:
    """A task has ended."""
    error = b"" if entry.state == _DONE else DEPENDENCY_ERROR
    ended = [driver.id(entry.name)]
    told = [Resolution(_name(other), ended, error) for other in entry.others]
    await driver.resolve(*told)


async def deliver(driver: QueueDriver, *, most: int = 100) -> int:
    """Till nothing is due; how many entries that were."""
    count = 0
    while entries := await driver.owed(most=most):
        for entry in entries:
            if entry.kind == "B":
                await follow(driver, entry)
                await driver.settle(entry)
            elif entry.state in {0, *TERMINAL}:
                await tell(driver, entry)
                await driver.settle(entry)
            else:
                await driver.settle(entry._replace(others=[], more=False))
        count += len(entries)
        assert count < 10_000
    return count


class _NoCalendars:
    """A registry without any."""

    async def of_firing(self, firing_id: str) -> None:
        pass


def no_firings() -> Ends:
    """What tells calendars of ends, where there are none."""
    nothing: Any = _NoCalendars()
    return Ends(nothing, nothing, nothing, nothing, nothing)
