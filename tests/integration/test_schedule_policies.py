"""Every misfire policy with every overlap policy, as one story.

A schedule fires every hour and forgives five minutes. Its task of 9:00 is still being worked on
when all servers go down at 9:30. They come back at 12:30: 10:00, 11:00 and 12:00 were missed. Then
the worker is done. The store's clock is moved by the test; a jump is what an outage looks like.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest

from codeq.v1 import schedule_service_pb2 as pb, task_pb2
from tests.integration import scheduling
from tests.support.clock import START_MS, ClockedConnection, VirtualClock
from tests.support.server import eventually, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess

HOUR: Final = 3_600_000
MIDNIGHT: Final = START_MS - START_MS % (24 * HOUR) + 24 * HOUR

TASK, DONE, ASKED, CANCELLED = "task", "done", "asked to end", "cancelled"
OVERLAP, MISFIRE, WAITS = "OVERLAP", "MISFIRE", ""
Story = dict[int, str]

BACK: Final[dict[tuple[str, str], Story]] = {
    ("FIRE_ONCE", "ALLOW"): {9: TASK, 10: MISFIRE, 11: MISFIRE, 12: TASK},
    ("FIRE_ONCE", "SKIP"): {9: TASK, 10: MISFIRE, 11: MISFIRE, 12: OVERLAP},
    ("FIRE_ONCE", "BUFFER_ONE"): {9: TASK, 10: MISFIRE, 11: MISFIRE},  # 12:00 waits
    ("FIRE_ONCE", "CANCEL_PREVIOUS"): {9: ASKED, 10: MISFIRE, 11: MISFIRE, 12: TASK},
    ("SKIP", "ALLOW"): {9: TASK, 10: MISFIRE, 11: MISFIRE, 12: MISFIRE},
    ("SKIP", "SKIP"): {9: TASK, 10: MISFIRE, 11: MISFIRE, 12: MISFIRE},
    ("SKIP", "BUFFER_ONE"): {9: TASK, 10: MISFIRE, 11: MISFIRE, 12: MISFIRE},
    ("SKIP", "CANCEL_PREVIOUS"): {9: TASK, 10: MISFIRE, 11: MISFIRE, 12: MISFIRE},
    ("FIRE_ALL", "ALLOW"): {9: TASK, 10: TASK, 11: TASK, 12: TASK},
    ("FIRE_ALL", "SKIP"): {9: TASK, 10: OVERLAP, 11: OVERLAP, 12: OVERLAP},
    ("FIRE_ALL", "BUFFER_ONE"): {9: TASK, 11: OVERLAP, 12: OVERLAP},  # 10:00 waits
    ("FIRE_ALL", "CANCEL_PREVIOUS"): {9: ASKED, 10: CANCELLED, 11: CANCELLED, 12: TASK},
}
"""Misfire policy, overlap policy -> what there is of each hour when the servers are back."""

DONE_THEN: Final[dict[tuple[str, str], Story]] = {
    ("FIRE_ONCE", "BUFFER_ONE"): {12: TASK},
    ("FIRE_ALL", "BUFFER_ONE"): {10: TASK},
    ("FIRE_ONCE", "CANCEL_PREVIOUS"): {9: CANCELLED},
    ("FIRE_ALL", "CANCEL_PREVIOUS"): {9: CANCELLED},
}
"""What is different, beside 9:00, once the worker is done."""


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def clocked(
    store: StoreProcess, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Server]:
    """A server that lives by the clock of the test."""

    def connect(settings: Any, **_: Any) -> ClockedConnection:
        return ClockedConnection(settings.store_url(), clock)

    monkeypatch.setattr("codeq_grpc.app._connection", connect)
    async with running_server(store) as server:
        yield server


def moved_to(clock: VirtualClock, hour: float) -> None:
    """The clock stands at this time of the day."""
    clock.ms = MIDNIGHT + int(hour * HOUR)


async def story(caller: Caller) -> Story:
    """What there is of each hour by now."""
    told: Story = {}
    for firing in await scheduling.firings(caller):
        time = datetime.fromtimestamp(firing.fire_time.seconds, UTC)
        assert (time.minute, time.second) == (0, 0)
        told[time.hour] = firing.skip_reason or await state_of(caller, firing)
    return told


async def state_of(caller: Caller, firing: pb.Firing) -> str:
    if not firing.task_id:
        return "owed"
    task = await caller.task(firing.task_id)
    if task.cancel_requested:
        return ASKED
    ends = {task_pb2.TASK_STATE_COMPLETED: DONE, task_pb2.TASK_STATE_CANCELLED: CANCELLED}
    return ends.get(task.state, TASK)


async def becomes(caller: Caller, expected: Story) -> None:
    """Returns once this is what there is."""
    seen: Story = {}

    async def is_so() -> bool:
        nonlocal seen
        seen = await story(caller)
        return seen == expected

    try:
        await eventually(is_so)
    except AssertionError:
        assert seen == expected  # tells the difference
        raise


def test_there_is_a_story_for_every_two_policies() -> None:
    misfires = [name.removeprefix("MISFIRE_POLICY_") for name in pb.MisfirePolicy.keys()[1:]]
    overlaps = [name.removeprefix("OVERLAP_POLICY_") for name in pb.OverlapPolicy.keys()[1:]]
    assert set(BACK) == {(misfire, overlap) for misfire in misfires for overlap in overlaps}


@pytest.mark.parametrize(("misfire", "overlap"), BACK, ids="-".join)
async def test_three_hours_are_missed_while_a_task_goes_on(
    clocked: Server, clock: VirtualClock, misfire: str, overlap: str
) -> None:
    acme = clocked.caller()
    moved_to(clock, 8.5)
    await scheduling.create(
        acme,
        "nightly",
        "@hourly",
        misfire_policy=f"MISFIRE_POLICY_{misfire}",
        overlap_policy=f"OVERLAP_POLICY_{overlap}",
        grace=300,
    )
    moved_to(clock, 9)
    held = await acme.claim_one(wait=5, lease=20 * 3_600)
    await becomes(acme, {9: TASK})

    moved_to(clock, 12.5)
    back = BACK[misfire, overlap]
    await becomes(acme, back)
    status = (await scheduling.get(acme)).status
    assert status.misfire_count == list(back.values()).count(MISFIRE)
    assert status.overlap_count == list(back.values()).count(OVERLAP)
    assert status.next_times[0].ToMilliseconds() == MIDNIGHT + 13 * HOUR

    if back[9] == ASKED:
        await acme.fail(held)
    else:
        await acme.complete(held)
    then = {**back, 9: DONE, **DONE_THEN.get((misfire, overlap), {})}
    await becomes(acme, dict(sorted(then.items())))
    status = (await scheduling.get(acme)).status
    assert status.fired_count == sum(one in {TASK, DONE, CANCELLED} for one in then.values())
    assert status.open_count == list(then.values()).count(TASK)


@pytest.mark.parametrize("misfire", ["FIRE_ONCE", "SKIP", "FIRE_ALL"])
async def test_a_minute_late_is_not_missed(
    clocked: Server, clock: VirtualClock, misfire: str
) -> None:
    acme = clocked.caller()
    moved_to(clock, 8.5)
    await scheduling.create(
        acme, "nightly", "@hourly", misfire_policy=f"MISFIRE_POLICY_{misfire}", grace=300
    )
    moved_to(clock, 9 + 1 / 60)
    await becomes(acme, {9: TASK})


async def test_what_passes_while_it_is_paused_is_not_made_up_for(
    clocked: Server, clock: VirtualClock
) -> None:
    acme = clocked.caller()
    moved_to(clock, 8.5)
    all_of_them = {"misfire_policy": pb.MISFIRE_POLICY_FIRE_ALL}
    await scheduling.create(acme, "nightly", "@hourly", **all_of_them)
    await scheduling.batch(acme, "PAUSE", "nightly")
    moved_to(clock, 12.5)
    await scheduling.create(acme, "awake", "@hourly", **all_of_them)
    await scheduling.batch(acme, "RESUME", "nightly")
    moved_to(clock, 13)
    await becomes(acme, {13: TASK})


async def test_a_schedule_that_fails_too_often_pauses_itself(
    clocked: Server, clock: VirtualClock
) -> None:
    acme = clocked.caller()
    moved_to(clock, 0.5)
    await scheduling.create(acme, "nightly", "@hourly", pause_after_failures=2)
    for hour, fails in enumerate([True, False, True, True], 1):
        moved_to(clock, hour)
        task = await acme.claim_one(wait=5)
        if fails:
            await acme.fail(task, non_retryable=True)
        else:
            await acme.complete(task)

        async def told(hour: int = hour) -> bool:
            status = (await scheduling.get(acme)).status
            return status.completed_count + status.failed_count == hour

        await eventually(told)
    found = await scheduling.get(acme)
    assert found.paused
    assert found.pause_reason == "2 tasks failed in a row"
    assert (found.status.failures_in_row, found.status.failed_count) == (2, 3)
    await scheduling.batch(acme, "RESUME", "nightly")
    resumed = await scheduling.get(acme)
    assert (resumed.paused, resumed.status.failures_in_row) == (False, 0)


async def test_a_schedule_fires_so_often_and_no_more(clocked: Server, clock: VirtualClock) -> None:
    acme = clocked.caller()
    moved_to(clock, 8.5)
    await scheduling.create(acme, "nightly", "@hourly", max_firings=2)
    for hour in (9, 10, 11):
        moved_to(clock, hour)
        await becomes(acme, dict.fromkeys(range(9, min(hour, 10) + 1), TASK))
    assert (await scheduling.get(acme)).status.ended
