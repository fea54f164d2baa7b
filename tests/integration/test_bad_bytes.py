"""Requests that are no messages, and messages that are too large: documented codes only."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest
from grpc_health.v1 import health_pb2

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from codeq_grpc.core import limits
from tests.integration.calling import PATHS, SERVICE, STREAMING
from tests.integration.looking import contents
from tests.integration.refusals import Refusal, read_refusal, refused, told_raw
from tests.integration.requests import requests
from tests.support.server import running_server

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess

RPCS: Final = list(PATHS.values())
HEALTH: Final = [
    f"/grpc.health.v1.Health/{name}"
    for name in health_pb2.DESCRIPTOR.services_by_name["Health"].methods_by_name
]
MALFORMED: Final = {
    "tag cut short": b"\xff",
    "length beyond the end": b"\x0a\x7f",
    "length of 4 GiB": b"\x0a\xff\xff\xff\xff\x0f",
    "varint without end": b"\x08" + b"\xff" * 11,
    "end of a group that did not begin": b"\x0c",
    "group without end": b"\x0b",
    "groups without end": b"\x0b" * 5_000,
    "wire type 7": b"\x0f",
    "fixed64 cut short": b"\x09\x00\x00",
}


async def answer(caller: Caller, path: str, raw: bytes) -> tuple[str, str]:
    """Code and reason of any RPC, asked with these bytes."""
    streaming = path.rpartition("/")[2] in {*STREAMING, "Watch"}
    make: Any = caller.channel.unary_stream if streaming else caller.channel.unary_unary
    call = make(path, request_serializer=bytes, response_deserializer=bytes)(
        raw, metadata=caller.metadata, timeout=10
    )
    try:
        await (call.read() if streaming else call)
    except grpc.aio.AioRpcError as error:
        return read_refusal(error).kind
    finally:
        call.cancel()
    return "OK", ""


@pytest.mark.parametrize("path", [*RPCS, *HEALTH])
async def test_bytes_that_are_no_message_are_malformed(
    acme: Caller, admin: Admin, path: str
) -> None:
    before = contents(admin)
    seen = {why: await answer(acme, path, raw) for why, raw in MALFORMED.items()}
    assert seen == dict.fromkeys(MALFORMED, ("INVALID_ARGUMENT", "MALFORMED_MESSAGE"))
    assert contents(admin) == before


@pytest.fixture
async def lease(acme: Caller) -> task_pb2.LeaseRef:
    """A live one."""
    await acme.enqueue()
    return (await acme.claim_one()).lease


async def test_no_cut_and_no_flipped_bit_is_answered_as_a_bug(
    acme: Caller, lease: task_pb2.LeaseRef
) -> None:
    """Whatever the bytes: refused for what is wrong with them, or taken for what they say."""
    rng = random.Random(3)
    codes = set()
    for rpc, request in requests(lease):
        raw = request.SerializeToString()
        cuts = [raw[:at] for at in rng.sample(range(len(raw)), min(12, len(raw)))]
        flips = []
        for at in rng.sample(range(len(raw)), min(12, len(raw))):
            flipped = bytearray(raw)
            flipped[at] ^= 1 << rng.randrange(8)
            flips.append(bytes(flipped))
        noise = [rng.randbytes(rng.randrange(1, 60)) for _ in range(8)]
        for sample in (*cuts, *flips, *noise):
            codes.add((await told_raw(acme, rpc, sample))[0])
    assert codes <= {
        *("OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "ALREADY_EXISTS"),
        "ABORTED",  # an etag that is no longer the current one
    }
    assert {"OK", "INVALID_ARGUMENT"} <= codes


async def test_malformed_reflection_requests_are_refused(store: StoreProcess) -> None:
    async with running_server(store, reflection=True) as server:
        acme = server.caller()
        for version in ("v1", "v1alpha"):
            path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
            make: Any = acme.channel.stream_stream(path)
            for raw in MALFORMED.values():
                call = make(iter([raw]), metadata=acme.metadata, timeout=10)
                assert (await refused(call.read())).kind == (
                    "INVALID_ARGUMENT",
                    "MALFORMED_MESSAGE",
                )


_TOLD: Final = {
    "RevokeApiKey": ("NOT_FOUND", "KEY_NOT_FOUND"),
    "UpdateSchedule": ("ABORTED", "SCHEDULE_CHANGED"),
    "RollbackSchedule": ("ABORTED", "SCHEDULE_CHANGED"),
}
"""What is answered to a request that is whole, and names what is no more."""


async def test_unknown_fields_are_fine_in_every_request(
    acme: Caller, lease: task_pb2.LeaseRef
) -> None:
    unknown = b"\xc2\x3e\x03new\xc8\x3e\x07\xcd\x3e\x00\x00\x00\x00\xd3\x3e\xd4\x3e"
    for rpc, request in requests(lease):
        seen = await told_raw(acme, rpc, request.SerializeToString() + unknown)
        assert seen in {("OK", ""), _TOLD.get(rpc), ("FAILED_PRECONDITION", "LEASE_LOST")}, rpc


async def test_of_a_field_given_twice_the_last_counts(acme: Caller) -> None:
    first = pb.EnqueueRequest(task={"command": "no command", "priority": 99})
    last = pb.EnqueueRequest(task={"command": "LAST", "priority": 9})
    raw = first.SerializeToString() + last.SerializeToString()
    assert await told_raw(acme, "Enqueue", raw) == ("OK", "")
    assert len(await acme.claim("LAST")) == 1


async def test_of_two_outcomes_in_one_the_last_counts(acme: Caller) -> None:
    task_id = await acme.enqueue()
    lease = (await acme.claim_one()).lease
    parts = (pb.Outcome(complete={"lease": lease}), pb.Outcome(abandon={"lease": lease}))
    outcome = pb.Outcome.FromString(b"".join(part.SerializeToString() for part in parts))
    await acme.start("Report", pb.ReportRequest(outcomes=[outcome]))
    assert await acme.state(task_id) == "PENDING"


async def large(caller: Caller, size: int, **options: Any) -> Refusal:
    """What an Enqueue of so many bytes gets; its payload is too large in any case."""
    data = b""
    for _ in range(2):  # the second time with a message of exactly the size
        request = pb.EnqueueRequest(task={"command": "C", "payload": {"data": data}})
        data = bytes(len(data) + size - request.ByteSize())
    request = pb.EnqueueRequest(task={"command": "C", "payload": {"data": data}})
    request.task.payload.data = data[: len(data) - (request.ByteSize() - size)]
    assert request.ByteSize() == size
    behaviour: Any = caller.channel.unary_unary(
        f"/{SERVICE.full_name}/Enqueue", request_serializer=pb.EnqueueRequest.SerializeToString
    )
    return await refused(behaviour(request, metadata=caller.metadata, timeout=10, **options))


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_a_message_of_the_limit_is_read_and_a_larger_one_is_not(
    server: Server, acme: Caller, admin: Admin, compression: grpc.Compression | None
) -> None:
    before = contents(admin)
    at_limit = await large(acme, limits.MESSAGE_BYTES, compression=compression)
    beyond = await large(acme, limits.MESSAGE_BYTES + 1, compression=compression)
    if server.native and compression is grpc.Compression.Deflate:
        assert {at_limit.kind, beyond.kind} == {("UNIMPLEMENTED", "")}
    else:
        assert at_limit.kind == ("INVALID_ARGUMENT", "PAYLOAD_TOO_LARGE")
        assert beyond.kind == ("RESOURCE_EXHAUSTED", "")
    assert contents(admin) == before


async def test_a_bomb_of_compressed_zeros_is_refused(acme: Caller) -> None:
    refusal = await large(acme, 64 << 20, compression=grpc.Compression.Gzip)
    assert refusal.kind == ("RESOURCE_EXHAUSTED", "")
    assert len(await acme.enqueue()) == 18


async def test_metadata_beyond_the_limit_is_refused_and_the_connection_lives_on(
    server: Server, acme: Caller
) -> None:
    request = pb.AdminQueuesRequest()
    # pygrpc-native answers by an HTTP status, of which clients make what they like.
    beyond = "UNKNOWN" if server.native else "RESOURCE_EXHAUSTED"
    for size, code in ((8_000, "OK"), (17_000, beyond), (60_000, beyond)):
        call = acme.start("AdminQueues", request, metadata=(("x-noise", "x" * size),))
        assert (await call.code()).name == code
    many = tuple((f"x-noise-{i}", "x" * 100) for i in range(200))
    call = acme.start("AdminQueues", request, metadata=many)
    assert (await call.code()).name == beyond
    assert await acme.claim() == []


@pytest.mark.parametrize("method", ["Nothing", "enqueue", "Enqueue/", ""])
async def test_unknown_methods_exist_for_nobody(server: Server, acme: Caller, method: str) -> None:
    path = f"/{SERVICE.full_name}/{method}"
    for caller, kind in (
        (acme, ("UNIMPLEMENTED", "")),
        (server.stranger(), ("UNAUTHENTICATED", "CREDENTIAL_MISSING")),
    ):
        assert await answer(caller, path, b"") == kind
        assert await answer(caller, f"/other.v1.Service/{method}", b"") == kind


async def test_a_deadline_that_has_passed_is_never_answered_as_a_bug(acme: Caller) -> None:
    for timeout in (0, -1, 1e-9):
        call = acme.start("Enqueue", pb.EnqueueRequest(task={"command": "C"}), timeout=timeout)
        assert (await call.code()).name in {"DEADLINE_EXCEEDED", "UNAVAILABLE", "OK"}


async def test_a_deadline_in_a_hundred_years_is_fine(acme: Caller) -> None:
    request = pb.EnqueueRequest(task={"command": "C"})
    call = acme.start("Enqueue", request, timeout=3_155_760_000.0)
    assert await call.code() is grpc.StatusCode.OK


async def test_of_two_messages_to_a_unary_call_the_first_is_answered(acme: Caller) -> None:
    raw = [pb.EnqueueRequest(task={"command": name}).SerializeToString() for name in "AB"]
    behaviour: Any = acme.channel.stream_unary(f"/{SERVICE.full_name}/Enqueue")
    await behaviour(iter(raw), metadata=acme.metadata, timeout=10)
    assert len(await acme.claim("A")) == 1
    assert await acme.claim("B") == []
