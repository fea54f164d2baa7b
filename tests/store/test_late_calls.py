"""A store that was stopped runs at last what its callers gave up long ago: it must not matter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codeq_grpc.core.errors import StoreUnavailable
from codeq_grpc.store.connection import Connection
from codeq_grpc.store.keys import Queue
from codeq_grpc.store.reads import Reads
from codeq_grpc.store.rows import pack_claimant
from codeq_grpc.store.tasks import Claimant, TaskStore
from tests.support.driver import LEASE_MS, task

if TYPE_CHECKING:
    from codeq_grpc.core.retry import RetryPolicy
    from tests.support.stores import StoreProcess


async def test_calls_that_nobody_waits_for_lease_and_add_nothing(
    own_store: StoreProcess, policy: RetryPolicy
) -> None:
    connection = Connection(own_store.url, timeout=0.3)
    store = TaskStore(connection, retry=policy, lease_ms=LEASE_MS)
    queue = Queue("acme", "RENDER", 7)
    await store.enqueue(queue, [task(), task(), task()])
    own_store.pause()
    try:
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await store.claim(queue, [Claimant(pack_claimant("", "w"), 1)], max_bytes=1_000)
        with pytest.raises(StoreUnavailable):
            await store.enqueue(queue, [task()])
        with pytest.raises(StoreUnavailable):
            await connection.info()
    finally:
        own_store.resume()
    counts = await Reads(connection).stats(queue)
    assert (counts.pending, counts.in_progress, counts.enqueued_total) == (3, 0, 3)
    claimed = await store.claim(queue, [Claimant(pack_claimant("", "w"), 9)], max_bytes=1_000)
    assert len(claimed.tasks) == 3
    await connection.close()
