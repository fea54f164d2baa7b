"""Tasks that wait for others, in few words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.server import eventually

if TYPE_CHECKING:
    from tests.support.server import Caller


async def becomes(caller: Caller, task_id: str, state: str, within: float = 10.0) -> None:
    """Returns once a task is in this state."""

    async def reached() -> bool:
        return await caller.state(task_id) == state

    await eventually(reached, within)


async def complete_next(caller: Caller, *commands: str) -> str:
    """Id of the task that was claimed and completed."""
    (task,) = await caller.claim(*commands, wait=5)
    await caller.complete(task)
    return task.lease.task_id
