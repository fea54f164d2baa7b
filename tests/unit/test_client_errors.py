"""Failed calls raise what the server raised, or what tells that none answered."""

from __future__ import annotations

import asyncio
import socket

import grpc
import pytest

from codeq_grpc.client import CallFailed, Client, DeadlineExceeded, ServerUnavailable, code_of
from codeq_grpc.client.errors import from_call
from codeq_grpc.core import errors
from codeq_grpc.wire.errors import CODES, DETAILS_KEY, to_status
from tests.unit.scripted import Scripted, serving


def call_error(error: errors.CodeQError) -> grpc.aio.AioRpcError:
    code, message, details = to_status(error)
    trailing = grpc.aio.Metadata((DETAILS_KEY, details))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, message)


@pytest.mark.parametrize("kind", CODES)
def test_an_error_comes_back_as_it_was_raised(kind: type[errors.CodeQError]) -> None:
    found = from_call(call_error(kind("what", metadata={"a": "b"}, retry_after=1.5)))
    assert type(found) is kind
    assert (found.message, found.metadata, found.retry_after) == ("what", {"a": "b"}, 1.5)
    assert code_of(found) is CODES[kind]


def test_a_reason_of_a_newer_server_keeps_its_code() -> None:
    class RateLimited(errors.CodeQError):
        reason = "RATE_LIMITED"

    CODES[RateLimited] = grpc.StatusCode.RESOURCE_EXHAUSTED
    try:
        error = call_error(RateLimited("too fast"))
    finally:
        del CODES[RateLimited]
    found = from_call(error)
    assert isinstance(found, CallFailed)
    assert code_of(found) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert found.message == "too fast"


async def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    async with Client(address, timeout=2) as client:
        with pytest.raises(ServerUnavailable, match="refused"):
            await client.enqueue("c")


async def test_nobody_answers() -> None:
    class Mute(Scripted):
        async def Enqueue(self, request: object, context: object) -> None:
            await asyncio.sleep(60)

    async with serving(Mute()) as client:
        client._call._timeout = 0.1
        with pytest.raises(DeadlineExceeded):
            await client.enqueue("c")


async def test_a_call_that_the_server_does_not_have() -> None:
    async with serving(Scripted()) as client:
        with pytest.raises(CallFailed) as caught:
            await client.enqueue("c")
    assert code_of(caught.value) is grpc.StatusCode.UNIMPLEMENTED
    assert "request id: " in caught.value.__notes__[0]


async def test_cancelling_goes_through() -> None:
    cancelled = asyncio.Event()

    class Slow(Scripted):
        async def Enqueue(self, request: object, context: object) -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.set()
                raise

    async with serving(Slow()) as client:
        call = asyncio.create_task(client.enqueue("c"))
        await asyncio.sleep(0.1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        async with asyncio.timeout(2):
            await cancelled.wait()


async def test_credential_and_request_id_travel_with_every_call() -> None:
    seen: list[dict[str, str]] = []

    class Listening(Scripted):
        async def Report(self, request: object, context: object) -> None:  # type: ignore[override]
            seen.append(dict(context.invocation_metadata()))  # type: ignore[attr-defined]
            raise NotImplementedError

    async with serving(Listening()) as open_client, Client(open_client.target, token="t") as client:
        for _ in range(2):
            with pytest.raises(CallFailed):
                await client.report([])
    assert {one["authorization"] for one in seen} == {"Bearer t"}
    assert len({one["x-request-id"] for one in seen}) == 2


async def test_a_client_is_opened_before_use() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await Client().queues()
