"""Calls that come while one is under way go out together; each caller gets what is its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest

from codeq_grpc.core.errors import CodeQError, StoreFull, StoreUnavailable
from codeq_grpc.store import coalescer
from codeq_grpc.store.coalescer import Bounds, Coalescer
from codeq_grpc.store.keys import Queue

if TYPE_CHECKING:
    from collections.abc import Sequence

QUEUE: Final = Queue("acme", "RENDER", 7)
OTHER: Final = Queue("acme", "OTHER", 8)


class Store:
    """Runs calls when told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[Queue, list[int]]] = []
        self.seconds: list[float] = []
        self._gates: list[asyncio.Future[None]] = []

    async def run(
        self, queue: Queue, items: Sequence[int], seconds: float
    ) -> tuple[list[int], str]:
        self.seconds.append(seconds)
        self.calls.append((queue, list(items)))
        gate = asyncio.get_running_loop().create_future()
        self._gates.append(gate)
        number = len(self.calls)
        await gate
        return [item * 10 for item in items], f"call {number}"

    def answer(self, error: Exception | None = None) -> None:
        """The oldest call returns, or fails."""
        gate = self._gates.pop(0)
        if gate.done():
            return  # nobody waits for it any more
        if error is None:
            gate.set_result(None)
        else:
            gate.set_exception(error)

    def items(self) -> list[list[int]]:
        """Of each call so far."""
        return [items for _, items in self.calls]


@pytest.fixture
def store() -> Store:
    return Store()


def joined(store: Store, **bounds: Any) -> Coalescer[Queue, int, int, str]:
    """A coalescer of numbers, each of which has its own size."""
    given = {"items": 5, "size": 1_000, "timeout": 5.0, **bounds}
    return Coalescer(store.run, lambda item: item, Bounds(**given))


async def settle() -> None:
    """Lets everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


def start(
    calls: Coalescer[Queue, int, int, str], *items: int, queue: Queue = QUEUE
) -> asyncio.Task[tuple[Sequence[int], str]]:
    """One caller."""
    return asyncio.create_task(calls(queue, items))


async def test_a_lone_call_goes_out_at_once(store: Store) -> None:
    calls = joined(store)
    one = start(calls, 1, 2)
    await settle()
    assert store.items() == [[1, 2]]
    store.answer()
    assert await one == ([10, 20], "call 1")
    two = start(calls, 3)
    await settle()
    store.answer()
    assert await two == ([30], "call 2")


async def test_those_that_come_meanwhile_go_together_and_each_gets_its_own(store: Store) -> None:
    calls = joined(store)
    first, *rest = (start(calls, *items) for items in ((1,), (2, 3), (4,), (5,)))
    await settle()
    assert store.items() == [[1]]
    store.answer()
    await settle()
    assert store.items() == [[1], [2, 3, 4, 5]]
    store.answer()
    assert await first == ([10], "call 1")
    assert [await one for one in rest] == [
        ([20, 30], "call 2"),
        ([40], "call 2"),
        ([50], "call 2"),
    ]


async def test_queues_do_not_wait_for_each_other(store: Store) -> None:
    calls = joined(store)
    one, two = start(calls, 1), start(calls, 2, queue=OTHER)
    await settle()
    assert store.calls == [(QUEUE, [1]), (OTHER, [2])]
    store.answer()
    store.answer()
    await one
    await two


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [({"items": 3}, [[1], [2, 3, 4], [5, 6]]), ({"size": 9}, [[1], [2, 3, 4], [5], [6]])],
)
async def test_a_call_is_bounded_by_count_and_bytes(
    store: Store, bounds: dict[str, int], expected: list[list[int]]
) -> None:
    calls = joined(store, **bounds)
    tasks = [start(calls, item) for item in range(1, 7)]
    for _ in expected:
        await settle()
        store.answer()
    assert [(await task)[0] for task in tasks] == [[10 * item] for item in range(1, 7)]
    assert store.items() == expected


async def test_what_one_caller_brings_is_never_cut(store: Store) -> None:
    calls = joined(store, items=2)
    first, large, last = start(calls, 1), start(calls, 2, 3, 4), start(calls, 5)
    for _ in range(3):
        await settle()
        store.answer()
    assert [(await one)[0] for one in (first, large, last)] == [[10], [20, 30, 40], [50]]
    assert store.items() == [[1], [2, 3, 4], [5]]


async def test_who_leaves_while_waiting_takes_its_items_along(store: Store) -> None:
    calls = joined(store)
    first, gone, last = start(calls, 1), start(calls, 2), start(calls, 3)
    await settle()
    gone.cancel()
    await settle()
    store.answer()
    await settle()
    store.answer()
    assert (await first)[0] == [10]
    assert (await last)[0] == [30]
    assert gone.cancelled()
    assert store.items() == [[1], [3]]


async def test_who_leaves_while_its_items_are_on_their_way_costs_the_others_nothing(
    store: Store,
) -> None:
    calls = joined(store)
    first, gone, last = start(calls, 1), start(calls, 2), start(calls, 3)
    await settle()
    store.answer()
    await settle()
    gone.cancel()
    await settle()
    store.answer()
    assert (await first)[0] == [10]
    assert (await last)[0] == [30]
    assert store.items() == [[1], [2, 3]]


async def test_the_first_caller_may_leave_and_the_others_go_on(store: Store) -> None:
    calls = joined(store)
    gone, last = start(calls, 1), start(calls, 2)
    await settle()
    gone.cancel()
    await settle()
    assert store.items() == [[1], [2]]
    store.answer()  # to nobody
    store.answer()
    assert (await last)[0] == [20]


async def test_an_error_belongs_to_those_of_its_call(store: Store) -> None:
    calls = joined(store)
    first, one, two = start(calls, 1), start(calls, 2), start(calls, 3)
    await settle()
    store.answer(StoreFull())
    await settle()
    store.answer(StoreUnavailable("gone"))
    with pytest.raises(StoreFull):
        await first
    errors: list[CodeQError] = []
    for task in (one, two):
        with pytest.raises(StoreUnavailable, match="gone") as caught:
            await task
        errors.append(caught.value)
    assert errors[0] is not errors[1]
    again = start(calls, 4)
    await settle()
    store.answer()
    assert (await again)[0] == [40]


async def test_nobody_waits_longer_than_the_timeout(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(coalescer, "monotonic", lambda: clock[0])
    calls = joined(store, timeout=5.0)
    first, old = start(calls, 1), start(calls, 2)
    await settle()
    clock[0] += 5.1
    young = start(calls, 3)
    await settle()
    store.answer()
    await settle()
    store.answer()
    assert (await first)[0] == [10]
    with pytest.raises(StoreUnavailable):
        await old
    assert (await young)[0] == [30]
    assert store.items() == [[1], [3]]


async def test_a_call_is_told_how_long_all_of_its_callers_wait(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(coalescer, "monotonic", lambda: clock[0])
    calls = joined(store, timeout=5.0)
    tasks = [start(calls, 1)]
    for item in (2, 3):
        await settle()
        clock[0] += 1.5
        tasks.append(start(calls, item))
    await settle()
    clock[0] += 1.5
    store.answer()
    await settle()
    store.answer()
    await asyncio.gather(*tasks)
    assert store.seconds == [5.0, 2.0]


async def test_too_much_that_waits_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coalescer, "_WAITING_BYTES", 10)
    calls = joined(store)
    first, waits, refused = start(calls, 1), start(calls, 6), start(calls, 5)
    await settle()
    with pytest.raises(StoreUnavailable, match="too much"):
        await refused
    fits = start(calls, 4)
    await settle()
    store.answer()
    await settle()
    store.answer()
    assert [(await one)[0] for one in (first, waits, fits)] == [[10], [60], [40]]
