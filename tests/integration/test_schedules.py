"""Schedules from end to end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration import scheduling
from tests.support.server import eventually

if TYPE_CHECKING:
    from tests.support.server import Caller


async def test_a_schedule_of_every_second_fires(acme: Caller) -> None:
    await scheduling.create(acme, every=1)
    task = await acme.claim_one(wait=5)
    await acme.complete(task)

    async def told() -> bool:
        return (await scheduling.get(acme)).status.completed_count == 1

    await eventually(told)
    first, *_ = await scheduling.firings(acme)
    assert first.task_id == task.lease.task_id
