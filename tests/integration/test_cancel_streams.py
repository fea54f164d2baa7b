"""A cancel reaches the worker's stream, whichever server holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from tests.integration import operating
from tests.integration.streaming import StreamReader, stream_request

if TYPE_CHECKING:
    from tests.support.server import Caller, Server

PROMPT = 1.5
CANCEL = pb.DIRECTIVE_KIND_CANCEL


async def test_a_stream_of_this_server_is_told_at_once(acme: Caller) -> None:
    await acme.enqueue_many(2)
    async with StreamReader(acme, stream_request()) as stream:
        first, second = await stream.take(2)
        done = await operating.cancel(acme, first.lease.task_id, reason="größer\n")
        assert done.requested_count == 1
        await stream.until(lambda one: one.directives, within=PROMPT)
        (directive,) = stream.directives
        assert (directive.lease, directive.kind) == (first.lease, CANCEL)
        assert directive.reason == "größer\n"
        assert await acme.heartbeat(second) == []


async def test_a_stream_of_another_server_is_told_at_once_and_by_heartbeats_too(
    acme: Caller, peer: Server
) -> None:
    await acme.enqueue_many(2)
    async with StreamReader(peer.caller(), stream_request()) as stream:
        first, second = await stream.take(2)
        done = await operating.cancel(acme, reason="stop all")
        assert done.requested_count == 2
        await stream.until(lambda one: len(one.directives) == 2, within=PROMPT)
        assert {(one.lease.task_id, one.kind, one.reason) for one in stream.directives} == {
            (task.lease.task_id, CANCEL, "stop all") for task in (first, second)
        }
        beats = await acme.heartbeat(first, second)
        assert {(one.kind, one.reason) for one in beats} == {(CANCEL, "stop all")}


async def test_the_credit_of_a_cancelled_task_returns_when_it_is_reported(
    acme: Caller, peer: Server
) -> None:
    ids = await acme.enqueue_many(2)
    async with StreamReader(peer.caller(), stream_request(credit=1)) as stream:
        (task,) = await stream.take(1)
        await operating.cancel(acme, task.lease.task_id)
        await stream.until(lambda one: one.directives, within=PROMPT)
        response = await acme.fail(task, type="T")
        assert response.state == task_pb2.TASK_STATE_CANCELLED
        await stream.take(2, within=PROMPT)
        assert [one.lease.task_id for one in stream.tasks] == ids


async def test_no_stream_is_told_of_leases_that_are_not_its_own(acme: Caller, peer: Server) -> None:
    await acme.enqueue_many(2)
    (held,) = await acme.claim()
    async with (
        StreamReader(acme, stream_request(idle=1)) as here,
        StreamReader(peer.caller(), stream_request("OTHER", idle=1)) as there,
    ):
        (task,) = await here.take(1)
        await operating.cancel(acme, held.lease.task_id)
        for stream in (here, there):
            await stream.until(lambda one: "idle" in one.kinds)
            assert stream.directives == []
        assert await acme.heartbeat(task) == []
