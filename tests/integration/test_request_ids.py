"""Request ids: given or made, told to the caller, and in every log line of the call."""

from __future__ import annotations

import io
import json
import logging
import re
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import pytest

from codeq.v1 import codeq_service_pb2 as pb
from codeq_grpc.logs import JsonFormatter
from tests.integration.refusals import refused
from tests.integration.streaming import stream_request
from tests.support.server import token_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.server import Caller, Server

MADE: Final = re.compile(r"[0-9a-f]{16}")
SAFE: Final = ("a", "x" * 128, "AZaz09._:-")
UNSAFE: Final = ("", "x" * 129, "a b", "a/b", 'a"b', "{}", "a;b", "a,b")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """The log of the process as JSON lines."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(ZoneInfo("UTC")))
    root = logging.getLogger("codeq_grpc")
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.setLevel(level)
    root.removeHandler(handler)


def calls_in(log: io.StringIO) -> list[dict[str, Any]]:
    """The lines about calls."""
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    return [line for line in lines if line["message"] == "call"]


async def id_told(call: Any) -> str:
    """In the trailing metadata."""
    return str(dict(await call.trailing_metadata())["x-request-id"])


@pytest.mark.parametrize("request_id", SAFE)
async def test_a_harmless_id_is_echoed(acme: Caller, request_id: str) -> None:
    metadata = (("x-request-id", request_id),)
    good = acme.start("AdminQueues", pb.AdminQueuesRequest(), metadata=metadata)
    assert await id_told(good) == request_id
    bad = acme.start("Enqueue", pb.EnqueueRequest(), metadata=metadata)
    assert (await refused(bad)).request_id == request_id


@pytest.mark.parametrize("request_id", UNSAFE)
async def test_an_unsafe_id_is_replaced(acme: Caller, request_id: str) -> None:
    metadata = (("x-request-id", request_id),)
    call = acme.start("AdminQueues", pb.AdminQueuesRequest(), metadata=metadata)
    assert MADE.fullmatch(await id_told(call))


async def test_without_an_id_each_call_gets_its_own(acme: Caller) -> None:
    calls = [acme.start("AdminQueues", pb.AdminQueuesRequest()) for _ in range(20)]
    ids = {await id_told(call) for call in calls}
    assert len(ids) == 20
    assert all(map(MADE.fullmatch, ids))


async def test_strangers_and_streams_get_one_too(server: Server) -> None:
    metadata = (("x-request-id", "mine"),)
    stranger = server.stranger()
    call = stranger.start("Enqueue", pb.EnqueueRequest(), metadata=metadata)
    assert (await refused(call)).request_id == "mine"
    call = server.caller().start("StreamClaim", pb.StreamClaimRequest(), metadata=metadata)
    assert (await refused(call.read())).request_id == "mine"


async def test_every_call_leaves_one_line_with_its_id_and_who_called(
    server: Server, log: io.StringIO
) -> None:
    producer = server.caller("acme", "producer")
    await producer.start(
        "Enqueue", pb.EnqueueRequest(task={"command": "C"}), metadata=(("x-request-id", "good"),)
    )
    await refused(
        producer.start(
            "Enqueue",
            pb.EnqueueRequest(task={"command": "C", "headers": {"bad\nkey" * 40: ""}}),
            metadata=(("x-request-id", "bad"),),
        )
    )
    await refused(
        producer.start("Claim", pb.ClaimRequest(), metadata=(("x-request-id", "denied"),))
    )
    await refused(
        server.stranger().start("Claim", pb.ClaimRequest(), metadata=(("x-request-id", "strange"),))
    )
    lines = {line["request_id"]: line for line in calls_in(log)}
    assert list(lines) == ["good", "bad", "denied", "strange"]
    assert {one: line["code"] for one, line in lines.items()} == {
        "good": "OK",
        "bad": "INVALID_ARGUMENT",
        "denied": "PERMISSION_DENIED",
        "strange": "UNAUTHENTICATED",
    }
    assert {line["level"] for one, line in lines.items() if one != "good"} == {"info"}
    assert lines["good"]["level"] == "debug"
    assert (lines["bad"]["subject"], lines["bad"]["tenant"]) == ("producer of acme", "acme")
    assert lines["denied"]["reason"] == "SCOPE_MISSING"
    assert all(line["method"].startswith("/codeq.v1.CodeQService/") for line in lines.values())
    assert all(line["took_ms"] >= 0 for line in lines.values())


async def test_neither_tokens_nor_payloads_are_logged(
    server: Server, acme: Caller, log: io.StringIO
) -> None:
    secret = b"canary-payload"
    await acme.enqueue(data=secret, headers={"h": "canary-header"})
    task = await acme.claim_one()
    await acme.complete(task, secret)
    await refused(acme.start("Enqueue", pb.EnqueueRequest(task={"payload": {"data": secret}})))
    wrong = server.stranger(("authorization", "Bearer canary-token"))
    await refused(wrong.start("Claim", pb.ClaimRequest()))
    call = acme.start("StreamClaim", stream_request(), timeout=None)
    await call.read()
    call.cancel()
    text = log.getvalue()
    assert "INVALID_FIELD" in text
    assert "canary" not in text
    assert token_of("acme", "admin") not in text
