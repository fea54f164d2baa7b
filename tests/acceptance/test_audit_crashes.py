"""A server that is killed while operators call it: what was answered has exactly one event.

What was not answered may have one or none, whether or not it was done: docs/operations.md says so.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from collections import Counter
from typing import TYPE_CHECKING

import grpc
import pytest

from codeq.v1 import admin_service_pb2 as admin_pb
from codeq_grpc.auth.credentials import hash_token
from tests.acceptance.servers import Serve
from tests.integration.auditing import trail
from tests.integration.calling import start
from tests.support.server import Caller

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.stores import StoreProcess

KILLS = 4
CALLERS = 6
METADATA = (("authorization", "Bearer operator"),)


@pytest.fixture(autouse=True)
def grpc_engine(store: StoreProcess, monkeypatch: pytest.MonkeyPatch) -> str:
    """Comes with the store: each of the two with one of the two."""
    monkeypatch.setenv("CODEQ_GRPC_ENGINE", store.engine.grpc)
    return store.engine.grpc


@pytest.fixture
def serve(store: StoreProcess) -> Iterator[Serve]:
    entry = {
        "sha256": hash_token("operator"),
        "subject": "operator",
        "tenant": "acme",
        "roles": ["operator"],
    }
    settings = {"CODEQ_REDIS_URL": store.url, "CODEQ_TOKENS": json.dumps([entry])}
    with Serve(settings) as serve:
        yield serve


async def operate(caller: Caller, name: str, acked: list[str], tried: list[str]) -> None:
    """Changes settings until the server is gone."""
    number = 0
    while True:
        number += 1
        request_id = f"{name}-{number}"
        request = admin_pb.UpdateQueueRequest(queue={"command": name, "max_backlog": number})
        tried.append(request_id)
        call = start(caller, "UpdateQueue", request, metadata=(("x-request-id", request_id),))
        try:
            await call
        except grpc.aio.AioRpcError:
            return
        acked.append(request_id)


async def test_every_call_that_was_answered_has_exactly_one_event(serve: Serve) -> None:
    seed = random.randrange(1 << 30)
    sys.stdout.write(f"seed {seed}\n")  # shown where it fails
    chance = random.Random(seed)
    acked: list[str] = []
    tried: list[str] = []
    for round_ in range(KILLS):
        await asyncio.to_thread(serve.start)
        options = (("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1))
        async with grpc.aio.insecure_channel(serve.address, options=options) as channel:
            caller = Caller(channel, METADATA)
            working = [
                asyncio.create_task(operate(caller, f"q{round_}-{n}", acked, tried))
                for n in range(CALLERS)
            ]
            enough = len(acked) + 50
            while len(acked) < enough:
                await asyncio.sleep(0.01)
            await asyncio.sleep(chance.random() * 0.05)
            serve.program.send(signal.SIGKILL)
            await asyncio.wait(working)
    await asyncio.to_thread(serve.start)
    async with grpc.aio.insecure_channel(serve.address) as channel:
        events = await trail(Caller(channel, METADATA))
    found = Counter(event.request_id for event in events)
    assert [request_id for request_id in acked if found[request_id] != 1] == []
    assert set(found) <= set(tried)
    assert max(found.values()) == 1
    assert len(acked) >= KILLS * 50
