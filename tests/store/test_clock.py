"""The clock: the store's own, moved in tests only, and where the tests move it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from codeq_grpc.core.retry import RetryPolicy
from codeq_grpc.store import scripts
from codeq_grpc.store.keys import Queue, created_ms
from codeq_grpc.store.tasks import TaskStore
from tests.support.clock import TIME_CALL, reads_clock, with_clock
from tests.support.driver import task

if TYPE_CHECKING:
    from codeq_grpc.store.connection import Connection

WITHOUT_CLOCK = {
    *(scripts.CONFIGURE, scripts.SETTINGS, scripts.PASS_ON, scripts.STAMP, scripts.BACKLOG),
    *(scripts.FOLLOWS, scripts.VITALS, scripts.SET_ASIDE, scripts.EXAMINE_REGISTRY),
    *(scripts.LIST_KEYS, scripts.EXAMINE_KEYS, scripts.LIST_SCHEDULES, scripts.LIST_FIRINGS),
    *(scripts.SCHEDULE_VERSIONS, scripts.PAUSE_SCHEDULES, scripts.DELETE_SCHEDULE),
}


@pytest.mark.parametrize("script", scripts.ALL, ids=lambda script: script.name)
def test_virtual_clock_takes_the_place_of_the_only_look_at_the_time(
    script: scripts.Script,
) -> None:
    if script in WITHOUT_CLOCK:
        assert not reads_clock(script)
        assert b"TIME'" not in script.source
        assert with_clock(script) is script
        return
    assert script.source.count(TIME_CALL) == script.source.count(b"'TIME'") == 1
    altered = with_clock(script).source
    assert b"'TIME'" not in altered
    assert altered.count(b"table.remove(ARGV)") == 1
    assert altered.startswith(script.source.split(b"\n", 1)[0] + b"\n")


async def test_time_is_that_of_the_store(connection: Connection) -> None:
    tasks = TaskStore(connection, retry=RetryPolicy(), lease_ms=30_000)
    before = time.time_ns() // 1_000_000
    added = await tasks.enqueue(Queue("acme", "RENDER", 7), [task()])
    after = time.time_ns() // 1_000_000
    assert before <= added.now_ms <= after
    assert [created_ms(name) for name in added.names] == [added.now_ms]
