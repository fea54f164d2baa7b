"""A call that is over takes its request along, and does not wait for Python to look for cycles."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest

from codeq.v1 import codeq_service_pb2 as pb
from tests.integration.looking import armed
from tests.integration.refusals import refused
from tests.support.server import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.admin import Admin
    from tests.support.server import Server

REQUESTS = (pb.EnqueueRequest, pb.ClaimRequest, pb.GetTaskRequest)


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def kept(before: Sequence[object] = ()) -> list[object]:
    """Requests in memory, but for those from before: modules of tests have some. The caller, in
    this process too, sends bytes and has none.
    """
    known = {id(one) for one in before}
    found = [one for one in gc.get_objects() if isinstance(one, REQUESTS)]
    return [one for one in found if id(one) not in known]


async def test_of_a_call_that_is_over_nothing_is_kept(
    server: Server, admin: Admin, no_collector: None
) -> None:
    acme, before = server.caller(), kept()

    def call(rpc: str, request: Any) -> Any:
        make: Any = acme.channel.unary_unary(f"/codeq.v1.CodeQService/{rpc}")
        return make(request.SerializeToString(), metadata=acme.metadata, timeout=20)

    await call("Enqueue", pb.EnqueueRequest(task={"command": "RENDER"}))
    for rpc, request, code in (
        ("Enqueue", pb.EnqueueRequest(task={"command": "no name"}), "INVALID_ARGUMENT"),
        ("GetTask", pb.GetTaskRequest(task_id="x" * 18), "NOT_FOUND"),
    ):
        assert (await refused(call(rpc, request))).kind[0] == code
    claim = pb.ClaimRequest(worker_id="w", commands=["NOTHING"], wait={"seconds": 20})
    left = call("Claim", claim)
    await armed(admin, command="NOTHING")
    left.cancel()
    del claim, request
    await asyncio.sleep(0)
    await eventually(lambda: kept(before) == [])
