"""A server short of memory, of files, or of a network that works."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest

from codeq.v1 import codeq_service_pb2 as pb, codeq_service_pb2_grpc as services
from codeq.v1.task_pb2 import TASK_VIEW_FULL
from tests.faults import h2raw
from tests.faults.h2raw import PREFACE, Raw, Tally, block
from tests.faults.slow_links import Link
from tests.faults.transport_prober import Prober
from tests.faults.transport_server import TOKENS, attacked
from tests.support.stores import engines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.faults.transport_server import Attacked
    from tests.support.stores import Engine

pytestmark = pytest.mark.alone

_MB: Final = 1 << 20
MEMORY_MB: Final = 300
ATTACKER: Final = (("authorization", f"Bearer {TOKENS['attacker']}"),)
VICTIM: Final = (("authorization", f"Bearer {TOKENS['victim']}"),)


@contextlib.asynccontextmanager
async def stub_of(address: str) -> AsyncIterator[Any]:
    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
    ]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        yield services.CodeQServiceStub(channel)


def large(**changes: object) -> pb.BatchEnqueueRequest:
    """A message of 4 MiB."""
    task = {"command": "LARGE", "payload": {"data": bytes(_MB - 100)}, **changes}
    return pb.BatchEnqueueRequest(tasks=[{**task, "delay": {"seconds": 86_400}}] * 4, atomic=True)


async def large_calls(
    server: Attacked, seconds: float, request: pb.BatchEnqueueRequest
) -> dict[str, int]:
    """What becomes of such messages from one caller, 16 at a time on each of 4 connections."""
    codes: dict[str, int] = {}
    ends = time.monotonic() + seconds

    async def one(stub: Any) -> None:
        while time.monotonic() < ends:
            call = stub.BatchEnqueue(request, metadata=ATTACKER, timeout=30)
            code = (await call.code()).name
            codes[code] = codes.get(code, 0) + 1

    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        for _ in range(4):
            stub = await stack.enter_async_context(stub_of(server.address))
            for _ in range(16):
                group.create_task(one(stub))
    return codes


async def waiting_calls(server: Attacked) -> set[str]:
    """What becomes of a hundred claims at a time that wait for nothing."""
    request = pb.ClaimRequest(worker_id="w", commands=["NOTHING"], wait={"seconds": 1})
    async with stub_of(server.address) as stub:
        calls = [stub.Claim(request, metadata=ATTACKER, timeout=20) for _ in range(100)]
        return {(await call.code()).name for call in calls}


async def test_a_caller_with_ten_times_its_places_is_refused_and_others_are_not(
    engine: Engine,
) -> None:
    with (
        attacked(engine, max_calls_per_principal=10) as server,
        Prober(server.address, TOKENS["victim"]) as prober,
    ):
        probed = prober.taken()
        while probed.total < 20:
            assert await waiting_calls(server) == {"OK", "RESOURCE_EXHAUSTED"}
            probed += prober.taken()
        assert probed.share >= 0.99, probed


async def test_large_messages_wait_until_there_is_memory_for_them(engine: Engine) -> None:
    """A call takes up to six times its message; pygrpc-native takes messages before it asks, and
    only refuses them then.
    """
    native = engine.grpc == "native"
    with (
        attacked(engine, **({"max_calls_per_principal": 6} if native else {})) as server,
        Prober(server.address, TOKENS["victim"]) as prober,
    ):
        server.forget_peak()
        before = server.size()
        codes = await large_calls(server, 2.0, large())
        probed = prober.taken()
        assert probed.share >= 0.99, (probed, codes)
        assert server.lives
        assert codes["OK"]
        assert codes.keys() <= {"OK", "RESOURCE_EXHAUSTED"}
        if native:
            assert codes["RESOURCE_EXHAUSTED"]
        else:
            assert server.size().peak_mb < before.rss_mb + MEMORY_MB


async def test_large_messages_that_are_refused_leave_nothing_behind(engine: Engine) -> None:
    native = engine.grpc == "native"
    with attacked(engine, **({"max_calls_per_principal": 6} if native else {})) as server:
        server.forget_peak()
        before = server.size()
        codes = await large_calls(server, 2.0, large(command="no name"))
        assert codes["INVALID_ARGUMENT"]
        assert codes.keys() <= {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}
        if not native:
            assert server.size().peak_mb < before.rss_mb + MEMORY_MB


async def test_large_calls_that_are_left_while_the_store_hangs_take_no_memory(
    engine: Engine,
) -> None:
    """Places are few for pygrpc-native only, as above."""
    native, request = engine.grpc == "native", large()
    request.atomic = False
    del request.tasks[3:]
    with attacked(engine, **({"max_calls_per_principal": 6} if native else {})) as server:
        async with stub_of(server.address) as stub:
            await stub.BatchEnqueue(large(), metadata=ATTACKER, timeout=20)
        server.forget_peak()
        before = server.size()
        server.store.pause()

        async def leave(stub: Any) -> None:
            for _ in range(20):
                call = stub.BatchEnqueue(request, metadata=ATTACKER, timeout=20)
                await asyncio.sleep(0.2)
                call.cancel()

        async with contextlib.AsyncExitStack() as stack:
            stubs = [await stack.enter_async_context(stub_of(server.address)) for _ in range(4)]
            await asyncio.gather(*[leave(stub) for stub in stubs for _ in range(8)])
        server.store.resume()
        server.wait_until_quiet(before)
        if not native:
            assert server.size().peak_mb < before.rss_mb + MEMORY_MB


async def test_replies_that_nobody_reads_hold_their_places(engine: Engine) -> None:
    """With pygrpc-native a reply is no call any more once it is handed over."""
    with attacked(engine, max_calls_per_principal=5) as server:
        before = server.size()
        async with stub_of(server.address) as stub:
            task = {"command": "UNREAD", "payload": {"data": bytes(_MB)}}
            for _ in range(2):
                request = pb.EnqueueRequest(task=task)
                await stub.Enqueue(request, metadata=ATTACKER, timeout=20)
        listing = pb.ListTasksRequest(filter={"command": "UNREAD"}, view=TASK_VIEW_FULL)
        fragment = block("/codeq.v1.CodeQService/ListTasks", TOKENS["attacker"])
        raw, tally = listing.SerializeToString(), Tally()
        hello = PREFACE + h2raw.settings(INITIAL_WINDOW_SIZE=0)
        deaf = await Raw.open(server.port, tally, hello=hello)
        for stream in h2raw.streams(0, 20):
            await deaf.send(h2raw.call(stream, fragment, raw))
        held = 0 if engine.grpc == "native" else 5
        while tally.answers < 20 - held or server.under_way()["calls"] != held:
            await asyncio.sleep(0.05)
        async with stub_of(server.address) as stub:
            request = pb.EnqueueRequest(task={"command": "READ"})
            await stub.Enqueue(request, metadata=VICTIM, timeout=20)
        await deaf.close()
        server.wait_until_quiet(before)


async def test_a_server_without_files_left_serves_on_and_recovers(engine: Engine) -> None:
    with attacked(engine) as server:
        async with stub_of(server.address) as stub:
            request = pb.EnqueueRequest(task={"command": "FILES"})
            await stub.Enqueue(request, metadata=VICTIM, timeout=20)
            server.limit_files(256)
            taken = []
            for _ in range(400):
                sock = socket.socket()
                sock.setblocking(False)
                sock.connect_ex(("127.0.0.1", server.port))
                taken.append(sock)
            while server.size().fds < 250:
                await asyncio.sleep(0.05)
            for _ in range(20):
                await stub.Enqueue(request, metadata=VICTIM, timeout=20)
            async with stub_of(server.address) as other:
                refused = other.Enqueue(request, metadata=VICTIM, timeout=1)
                code = await refused.code()
                assert code.name in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
            for sock in taken:
                sock.close()
            async with stub_of(server.address) as other:
                call = other.Enqueue(request, metadata=VICTIM, timeout=20, wait_for_ready=True)
                assert await call.code() is grpc.StatusCode.OK


async def test_a_slow_link_holds_up_nobody_else_and_no_deadline(engine: Engine) -> None:
    with attacked(engine) as server, Prober(server.address, TOKENS["victim"]) as prober:
        async with Link(server.port, byte_seconds=0.01) as link, stub_of(link.address) as stub:
            request = pb.EnqueueRequest(task={"command": "SLOW"})
            late = stub.Enqueue(request, metadata=ATTACKER, timeout=0.3)
            assert await late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            soon = stub.Enqueue(request, metadata=ATTACKER, timeout=30)
            assert await soon.code() is grpc.StatusCode.OK
        probed = prober.taken()
        assert probed.total >= 5
        assert probed.failed == {}
        assert server.lives


async def leave_in_silence(server: Attacked) -> int:
    """How many of ten tasks come back to others, of a worker whose network died without a word.
    Their leases last an hour: it is the server that has to notice.
    """
    async with Link(server.port) as link, stub_of(link.address) as stub:
        task = {"command": "SILENT", "lease_duration": {"seconds": 3_600}}
        async with stub_of(server.address) as near:
            request = pb.BatchEnqueueRequest(tasks=[task] * 10)
            await near.BatchEnqueue(request, metadata=VICTIM, timeout=20)
            wants = pb.StreamClaimRequest(worker_id="w", commands=["SILENT"], max_outstanding=10)
            wants.disconnect_policy = pb.DISCONNECT_POLICY_RELEASE
            stream, got = stub.StreamClaim(wants, metadata=VICTIM), 0
            while got < 10:
                got += len((await stream.read()).batch.tasks)
            link.fall_silent()
            claim = pb.ClaimRequest(worker_id="x", commands=["SILENT"], max_tasks=10)
            claim.wait.FromSeconds(50)
            found = await near.Claim(claim, metadata=VICTIM, timeout=60)
            stream.cancel()
            return len(found.tasks)


@pytest.mark.timeout(120)
async def test_a_worker_whose_network_died_is_noticed_and_its_tasks_come_again() -> None:
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(attacked(engine)) for engine in engines()]
        assert await asyncio.gather(*map(leave_in_silence, servers)) == [10, 10]
        for server in servers:
            assert server.under_way()["streams"] == 0
