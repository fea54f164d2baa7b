"""WatchTasks when a store restarts, a watcher is slow or a server ends: what was missed is said."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest

from codeq.v1 import codeq_service_pb2 as pb
from tests.integration.calling import ask
from tests.integration.refusals import refused
from tests.integration.streaming import WatchReader
from tests.integration.test_shutdown import ending
from tests.integration.test_watch import by_filter, by_ids
from tests.support.server import eventually, running_server
from tests.support.stores import StoreProcess

if TYPE_CHECKING:
    from tests.support.server import Server
    from tests.support.stores import Engine


async def test_a_store_that_was_restarted_makes_a_gap_and_what_follows_is_told(
    own_store: StoreProcess, own_server: Server
) -> None:
    acme = own_server.caller()
    async with WatchReader(acme, by_filter()) as watch:
        await watch.sees(await acme.enqueue(), "PENDING")
        own_store.kill()
        own_store.start()
        await watch.until(lambda one: one.gaps)
        task_id = await acme.enqueue()
        await watch.sees(task_id, "PENDING")
        assert watch.refusal is None


async def test_a_store_that_forgot_who_watches_is_told_again_before_the_gap_is(
    engine: Engine,
) -> None:
    """One that comes back empty, or with a replica's older state: after the gap nothing may be
    missed without another one.
    """
    with StoreProcess(engine) as store:
        async with running_server(store) as server:
            acme = server.caller()
            async with WatchReader(acme, by_filter()) as watch:
                await acme.enqueue()
                for _ in range(3):
                    gaps = watch.gaps
                    store.kill()
                    store.start()
                    await watch.until(functools.partial(has_more_gaps, gaps))
                    await watch.sees(await acme.enqueue(), "PENDING")


def has_more_gaps(before: int, watch: WatchReader) -> bool:
    """Whether one came since."""
    return watch.gaps > before


async def test_a_watcher_that_cannot_keep_up_is_told_of_a_gap(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codeq_grpc.broker.watches._PENDING", 50)
    acme = server.caller()
    async with WatchReader(acme, by_filter()) as watch:
        await acme.enqueue_many(60)
        await watch.until(lambda one: one.gaps)
        await watch.sees(await acme.enqueue(), "PENDING")


async def test_a_watch_ends_when_its_server_drains(store: StoreProcess) -> None:
    async with ending(store) as one:
        task_id = await one.acme.enqueue()
        async with (
            WatchReader(one.acme, by_filter()) as first,
            WatchReader(one.acme, by_ids(task_id)) as second,
        ):
            await one.end()
            for watch in (first, second):
                await watch.until(lambda reader: reader.ended)
                assert watch.refusal is not None
                assert watch.refusal.kind == ("UNAVAILABLE", "DRAINING")
                assert watch.refusal.retry_after
                assert watch.gaps == 0


async def test_new_watches_are_refused_while_the_server_drains(server: Server) -> None:
    server.app._watches.drain()
    request = pb.WatchTasksRequest(selector=by_filter())
    refusal = await refused(ask(server.caller(), "WatchTasks", request))
    assert refusal.kind == ("UNAVAILABLE", "DRAINING")


async def test_a_store_that_fails_while_a_watch_reads_ends_no_watch(
    own_store: StoreProcess, own_server: Server
) -> None:
    """What cannot be read is a gap; the watcher need not come again."""
    acme = own_server.caller()
    async with WatchReader(acme, by_filter()) as watch:
        reads, read = own_server.app._reads, own_server.app._reads.read
        failing = pytest.MonkeyPatch()

        async def fails(*args: Any, **more: Any) -> Any:
            failing.undo()
            own_store.kill()
            return await read(*args, **more)

        failing.setattr(reads, "read", fails)
        await acme.enqueue()
        await eventually(lambda: own_store._process is None)
        own_store.start()
        await watch.until(lambda one: one.gaps or one.ended)
        assert watch.refusal is None
        await watch.sees(await acme.enqueue(), "PENDING")
