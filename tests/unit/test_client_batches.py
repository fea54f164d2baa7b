"""Flows of specs are cut so that every call fits, and results come back in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from codeq.v1 import codeq_service_pb2 as pb
from codeq_grpc.client import spec
from codeq_grpc.client.batches import cut, cut_async, whole
from codeq_grpc.core import limits
from codeq_grpc.core.errors import CodeQError, PayloadTooLarge
from tests.unit.scripted import Scripted, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from codeq.v1.task_pb2 import TaskSpec


async def flow(specs: list[TaskSpec]) -> AsyncIterator[TaskSpec]:
    for one in specs:
        yield one


@given(sizes=st.lists(st.integers(0, 400), max_size=40), tasks=st.integers(1, 8))
async def test_nothing_is_lost_reordered_or_over_the_limits(sizes: list[int], tasks: int) -> None:
    specs = [spec("c", bytes(size), headers={"n": str(n)}) for n, size in enumerate(sizes)]
    batches = [batch async for batch in cut_async(flow(specs), tasks=tasks, size=1000)]
    assert [one for batch in batches for one in batch] == specs
    for batch in batches:
        assert 1 <= len(batch) <= tasks
        assert len(pb.BatchEnqueueRequest(tasks=batch).SerializeToString()) <= 1000


async def test_a_spec_beyond_the_limit_comes_alone() -> None:
    specs = [spec("c", b"x"), spec("c", bytes(2000)), spec("c", b"x")]
    assert [len(batch) async for batch in cut_async(specs, size=1000)] == [1, 1, 1]


def test_an_atomic_batch_is_one_call_or_none() -> None:
    assert len(whole(cut([spec("c")] * 1000, tasks=1000))) == 1000
    assert whole(cut([])) == []
    with pytest.raises(ValueError, match="one call"):
        whole(cut([spec("c")] * 1001, tasks=1000))


async def test_results_keep_the_order_and_what_cannot_be_sent_is_an_error() -> None:
    scripted = Scripted()
    specs = [spec(f"c{n}") for n in range(5)]
    specs.insert(2, spec("big", bytes(limits.BATCH_BYTES)))
    async with serving(scripted) as client:
        results = [result async for result in client.enqueue_many(specs, batch_size=2)]
    ids = ["" if isinstance(result, CodeQError) else result.task_id for result in results]
    assert ids == ["c0", "c1", "", "c2", "c3", "c4"]
    assert isinstance(results[2], PayloadTooLarge)
    assert [len(batch.tasks) for batch in scripted.batches] == [2, 2, 1]


async def test_nothing_to_enqueue_makes_no_call() -> None:
    scripted = Scripted()
    async with serving(scripted) as client:
        assert [one async for one in client.enqueue_many([])] == []
        assert [one async for one in client.enqueue_many([], atomic=True)] == []
    assert scripted.batches == []
