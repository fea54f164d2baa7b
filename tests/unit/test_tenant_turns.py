"""Calls at work: so many at a time, and tenants by turns when there are more."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import pytest

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from codeq_grpc.core import limits
from codeq_grpc.rpc import turns as turns_module
from codeq_grpc.rpc.turns import Turns, Work, weight_of

if TYPE_CHECKING:
    from collections.abc import Iterable


class Scene:
    """Calls by name, such as `a3`: the third of tenant a; who works is told in order."""

    def __init__(self, most: int) -> None:
        self.turns = Turns(most)
        self.waiting: dict[str, asyncio.Future[None]] = {}
        self.working: list[str] = []
        self._told: set[str] = set()

    def come(self, names: Iterable[str], weight: int = 1) -> None:
        for name in names:
            turn = self.turns.enter(name, name[0], weight)
            if turn is None:
                self.working.append(name)
            else:
                turn.add_done_callback(partial(self._begin, name))
                self.waiting[name] = turn

    def _begin(self, name: str, _: object) -> None:
        if not self.waiting.pop(name).cancelled():
            self.working.append(name)

    async def go(self, name: str) -> list[str]:
        """It goes; who came to work for it."""
        self.turns.leave(name)
        return await self.came()

    async def came(self) -> list[str]:
        before = [name for name in self.working if name not in self._told]
        await asyncio.sleep(0)
        new = [name for name in self.working if name not in self._told]
        self._told.update(new)
        assert before == new[: len(before)]
        return new

    async def work_off(self) -> list[str]:
        """All go in the order in which they came to work; that order."""
        at = 0
        while at < len(self.working):
            self.turns.leave(self.working[at])
            at += 1
            await asyncio.sleep(0)
        assert not self.waiting
        assert not self.turns._lines
        assert (self.turns._used, self.turns._working) == (0, {})
        return self.working


def calls(tenant: str, count: int) -> list[str]:
    return [f"{tenant}{number}" for number in range(count)]


async def test_while_there_are_places_nobody_waits() -> None:
    scene = Scene(3)
    scene.come(["a0", "a1", "b0"])
    assert not scene.waiting
    scene.come(["c0"])
    assert list(scene.waiting) == ["c0"]
    await scene.came()
    assert await scene.go("a1") == ["c0"]


async def test_one_call_is_next_however_many_another_tenant_has_waiting() -> None:
    scene = Scene(2)
    scene.come(calls("a", 1_000))
    await scene.came()
    await scene.go("a0")
    scene.come(["b0"])
    # The tenant whose turn it is already, and then the other.
    assert await scene.go("a1") == ["a3"]
    assert await scene.go("a2") == ["b0"]


async def test_tenants_that_wait_take_turns() -> None:
    scene = Scene(1)
    scene.come(["x0", *calls("a", 6), *calls("b", 3), *calls("c", 2)])
    assert await scene.work_off() == [
        *("x0", "a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "a3", "a4", "a5"),
    ]


async def test_what_weighs_more_counts_for_more_turns() -> None:
    scene = Scene(1)
    scene.come(["x0"])
    scene.come(calls("a", 2), weight=4)
    scene.come(calls("b", 9))
    order = await scene.work_off()
    assert order[:2] == ["x0", "a0"]
    assert order.index("a1") == 6
    assert Counter(name[0] for name in order) == {"x": 1, "a": 2, "b": 9}


async def test_what_weighs_more_than_all_places_comes_to_work_and_alone() -> None:
    scene = Scene(4)
    scene.come(["a0", "a1"], weight=100)
    scene.come(["b0"])
    assert scene.working == ["a0"]
    await scene.came()
    assert await scene.go("a0") == ["a1"]
    assert await scene.go("a1") == ["b0"]


async def test_a_debt_is_forgotten_when_nobody_else_waits() -> None:
    scene = Scene(1)
    scene.come(calls("a", 3), weight=50)
    await scene.came()
    assert await scene.go("a0") == ["a1"]
    assert await scene.go("a1") == ["a2"]
    await scene.go("a2")
    assert not scene.turns._lines
    scene.come(["a9", "b0"])
    assert list(scene.waiting) == ["b0"]


async def test_who_has_left_takes_no_turn() -> None:
    scene = Scene(1)
    scene.come(["x0", *calls("a", 5), "b0"])
    await scene.came()
    for name in ("a0", "a1", "a3"):
        scene.waiting[name].cancel()
    await asyncio.sleep(0)
    assert await scene.work_off() == ["x0", "a2", "b0", "a4"]


async def test_a_place_given_to_who_leaves_in_that_moment_comes_back() -> None:
    turns = Turns(1)
    turns.enter("x", "x", 1)

    async def call() -> None:
        try:
            turn = turns.enter("a", "a", 1)
            assert turn is not None
            await turn
        finally:
            turns.leave("a")

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    turns.leave("x")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert turns.enter("b", "b", 1) is None


async def test_leaving_twice_or_without_a_place_frees_nothing() -> None:
    scene = Scene(2)
    scene.come(["a0", "a1", "a2"])
    await scene.came()
    scene.turns.leave("nobody")
    scene.turns.leave("a2")
    assert await scene.go("a0") == ["a2"]
    scene.turns.leave("a0")
    scene.come(["a3"])
    assert list(scene.waiting) == ["a3"]


async def test_who_is_long_at_work_loses_the_place_if_somebody_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 50.0
    monkeypatch.setattr(turns_module, "monotonic", lambda: now)
    scene = Scene(2)
    scene.come(["a0"])
    now += 0.07
    scene.come(["a1", "b0", "b1"])
    await scene.came()
    scene.turns._look()
    assert await scene.came() == []
    now += 0.07
    scene.turns._look()
    assert await scene.came() == ["b0"]
    assert list(scene.waiting) == ["b1"]
    await scene.go("a0")
    assert list(scene.waiting) == ["b1"]
    assert await scene.go("b0") == ["b1"]


async def test_looks_go_on_by_themselves_while_somebody_waits() -> None:
    scene = Scene(1)
    scene.come(["a0", "b0"])
    async with asyncio.timeout(10):
        await scene.waiting["b0"]
        while scene.turns._looks:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_comes_and_goes_nobody_is_forgotten(seed: int) -> None:
    luck = random.Random(seed)
    most = luck.randint(1, 6)
    scene, number = Scene(most), 0
    for _ in range(400):
        chance = luck.random()
        if chance < 0.5:
            number += 1
            scene.come([f"{luck.choice('abc')}{number}"], weight=luck.choice((1, 1, 1, 7)))
        elif chance < 0.6 and scene.waiting:
            scene.waiting[luck.choice(sorted(scene.waiting))].cancel()
        elif scene.turns._working:
            scene.turns.leave(luck.choice(sorted(map(str, scene.turns._working))))
        await asyncio.sleep(0)
        turns = scene.turns
        assert turns._used == sum(weight for weight, _ in turns._working.values())
        assert not turns._lines or turns._used >= most
        assert sum(len(line.calls) for line in turns._lines.values()) >= len(scene.waiting)
    await scene.work_off()


async def test_small_calls_do_not_wait_for_large_ones() -> None:
    work = Work(1)
    assert work.enter("a0", "a", 126) is None
    assert work.enter("a1", "a", 126) is not None
    assert work.enter("b0", "b", 1) is None
    turn = work.enter("b1", "b", 4)
    assert turn is not None
    work.leave("a0")
    assert not turn.done()
    work.leave("b0")
    assert turn.done()


def test_batches_weigh_by_their_items() -> None:
    tasks = [task_pb2.TaskSpec()] * 1_000
    assert weight_of(pb.EnqueueRequest()) == 1
    assert weight_of(pb.EnqueueRequest(), 100 << 10) == 4
    assert weight_of(pb.EnqueueRequest(), 1 << 20) == 33
    assert weight_of(pb.BatchEnqueueRequest()) == 1
    assert weight_of(pb.BatchEnqueueRequest(tasks=tasks[:7])) == 1
    assert weight_of(pb.BatchEnqueueRequest(tasks=tasks)) == 126
    assert weight_of(pb.ClaimRequest(max_tasks=80)) == 11
    assert weight_of(pb.ClaimRequest(max_tasks=-1)) == 1
    assert weight_of(pb.ClaimRequest(max_tasks=2**31 - 1)) == 126
    assert weight_of(pb.ListTasksRequest()) == 1 + limits.PAGE_DEFAULT // 8
    assert weight_of(pb.ListTasksRequest(page_size=-9)) == 1
    assert weight_of(pb.AdminCleanupRequest(limit=10_000)) == 126
    assert weight_of(pb.ReportRequest(outcomes=[pb.Outcome()] * 16)) == 3
    assert weight_of(pb.HeartbeatRequest(leases=[pb.LeaseHeartbeat()] * 8)) == 2
