"""Whatever is sent to a server, the answer is OK or a documented refusal; it names a field that
the request has, comes before the deadline, and a refused request changes nothing.

A few hundred inputs; thousands with `--hypothesis-profile=long`, which takes the seed of
`--hypothesis-seed` or prints its own, and `-o log_cli_level=info`, which tells the answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings, strategies as st

from codeq.v1 import task_pb2
from codeq_grpc.store import keys
from codeq_grpc.wire.errors import CODES
from tests.integration.calling import METHODS, answer, ask, start_raw
from tests.integration.looking import contents
from tests.integration.refusals import read_refusal
from tests.integration.requests import of_keys, requests
from tests.properties.messages import messages_of, mutated, nearly_good
from tests.support.admin import Admin
from tests.support.fields import names_a_field
from tests.support.server import running_server

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from google.protobuf.message import Message

    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess

_log = logging.getLogger(__name__)

LONG: Final = settings.get_current_profile_name() == "long"
EXAMPLES: Final = 250 if LONG else 20
"""For each RPC, on each engine."""
NEVER: Final = {"UNKNOWN", "INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "UNAUTHENTICATED"}
ALLOWED: Final = {
    ("OK", ""),
    ("RESOURCE_EXHAUSTED", ""),  # a message beyond the limit
    *((code.name, error.reason) for error, code in CODES.items() if code.name not in NEVER),
}
DEADLINE: Final = 30.0
WAIT_MS: Final = 20
"""What a request is left to wait at most."""


class World:
    """A server, its store, and the loop in which calls to it run."""

    def __init__(self, runner: asyncio.Runner, server: Server, admin: Admin) -> None:
        self._runner = runner
        self._caller: Caller = server.caller()
        self._admin = admin
        self._lease: task_pb2.LeaseRef | None = None
        self.seen: Counter[str] = Counter()
        """Codes and reasons that came."""
        self.run(self._caller.enqueue_many(3))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What it gives."""
        return self._runner.run(work)

    def lease(self) -> task_pb2.LeaseRef:
        """A live one; the last one unless that has been reported."""
        if self._lease is None:
            self.run(self._caller.enqueue("FUZZ"))
            claimed = self.run(self._caller.claim("FUZZ", lease=3_600))
            self._lease = claimed[0].lease
        return self._lease

    async def _told(self, rpc: str, raw: bytes) -> tuple[tuple[str, str], tuple[str, ...]]:
        call = start_raw(self._caller, rpc, raw, timeout=DEADLINE)
        try:
            response = await answer(rpc, call)
        except grpc.aio.AioRpcError as error:
            refusal = read_refusal(error)
            return refusal.kind, refusal.fields
        finally:
            call.cancel()
        told = GetMessageClass(METHODS[rpc].output_type).FromString(response)
        for item in getattr(told, "failures", ()):
            code = next(code for code in grpc.StatusCode if code.value[0] == item.code)
            assert (code.name, item.reason) in ALLOWED
            if item.reason == "INVALID_FIELD":
                assert names_a_field(METHODS[rpc].input_type, item.metadata["field"])
        return ("OK", ""), ()

    def good(self, rpc: str) -> list[Any]:
        """Requests of an RPC about a task, a key and a schedule that there are."""
        found: list[Any] = [request for name, request in requests(self.lease()) if name == rpc]
        if rpc == "RevokeApiKey":
            made = self.run(ask(self._caller, *next(of_keys())))
            for request in found:
                request.key_id = made.key.key_id
        if any(hasattr(request, "schedule_id") for request in found):
            self.run(self._remake_schedule())
        if rpc == "RollbackSchedule":
            for request in found:
                request.ClearField("etag")
        return found

    async def _remake_schedule(self) -> None:
        """The one that requests name, at its first version."""
        every = list(requests(task_pb2.LeaseRef(task_id="none")))
        with contextlib.suppress(grpc.aio.AioRpcError):
            await ask(self._caller, *next(one for one in every if one[0] == "DeleteSchedule"))
        await ask(self._caller, *next(one for one in every if one[0] == "CreateSchedule"))

    def _contents(self) -> dict[bytes, Any]:
        """All that is stored, but for the clocks of queues, which go on whatever is asked."""
        found = contents(self._admin)
        for name in found:
            if name.endswith(b"}:s"):
                found[name].pop(b"clk", None)
        return found

    def ask(self, rpc: str, raw: bytes) -> None:
        """Sends it and holds the answer against what is promised."""
        before = self._contents()
        kind, fields = self.run(self._told(rpc, raw))
        assert kind in ALLOWED, kind
        self.seen[" ".join(kind).strip()] += 1
        for path in fields:
            assert names_a_field(METHODS[rpc].input_type, path), path
        if kind == ("OK", ""):
            self._lease = None
        elif self._contents() != before:
            self._changed_by_time(rpc, raw, made(before))

    def _changed_by_time(self, rpc: str, raw: bytes, known: set[tuple[bytes, bytes]]) -> None:
        """Servers do things by themselves when they are due, but they make neither queues nor
        tasks, nor do they something each time that a request is refused.
        """
        for _ in range(5):
            before = self._contents()
            assert made(before) <= known, "a refused request made something"
            self.run(self._told(rpc, raw))
            if self._contents() == before:
                return
        raise AssertionError("a refused request changes the store")


def made(found: dict[bytes, Any]) -> set[tuple[bytes, bytes]]:
    """Queues and tasks."""
    return {
        (name, field)
        for name, value in found.items()
        if name.endswith(b"}:m") or name == keys.REGISTRY[1].encode()
        for field in value
    }


@pytest.fixture
def world(store: StoreProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("codeq_grpc.app._CLOSING", 0.0)
    with asyncio.Runner() as runner, Admin(store.socket_path) as admin:
        over = asyncio.Event()
        started: asyncio.Future[Server] = runner.get_loop().create_future()

        async def serve() -> None:
            async with running_server(store) as server:
                started.set_result(server)
                await over.wait()

        serving = runner.get_loop().create_task(serve())

        async def begun() -> Server:
            either: list[asyncio.Future[Any]] = [serving, started]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            return started.result()

        try:
            yield World(runner, runner.run(begun()), admin)
        finally:
            over.set()
            runner.run(asyncio.wait_for(serving, 30))


def patient(raw: bytes, rpc: str) -> bytes:
    """The request, but for a wait that would make the test wait."""
    try:
        request: Any = GetMessageClass(METHODS[rpc].input_type).FromString(raw)
    except DecodeError:
        return raw
    if "wait" in request.DESCRIPTOR.fields_by_name and request.HasField("wait"):
        wait = request.wait
        if 0 <= wait.seconds <= 60 and 0 <= wait.nanos < 10**9 and wait.ToMilliseconds() > WAIT_MS:
            wait.FromMilliseconds(WAIT_MS)
            return bytes(request.SerializeToString())
    return raw


def drawn(data: st.DataObject, rpc: str, good: list[Message]) -> bytes:
    """The bytes of a request: nearly good, wild, or hardly one."""
    kind = data.draw(st.sampled_from(["nearly good", "nearly good", "good", "wild", "bytes"]))
    if kind == "wild":
        message: Message = data.draw(messages_of(METHODS[rpc].input_type))
        return message.SerializeToString()
    base = data.draw(st.sampled_from(good))
    if kind == "bytes":
        return data.draw(mutated(base.SerializeToString()))
    if kind == "good":
        return base.SerializeToString()
    changed: Message = data.draw(nearly_good(base))
    return changed.SerializeToString()


@pytest.mark.timeout(1_800 if LONG else 120)
@pytest.mark.parametrize("rpc", METHODS)
def test_no_request_is_answered_as_a_bug_and_a_refused_one_changes_nothing(
    world: World, rpc: str
) -> None:
    @settings(
        max_examples=EXAMPLES,
        derandomize=not LONG,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def hold(data: st.DataObject) -> None:
        world.ask(rpc, patient(drawn(data, rpc, world.good(rpc)), rpc))

    hold()
    _log.info("%s: %s", rpc, dict(world.seen))
    assert world.seen.total() >= EXAMPLES // 2
    assert {"OK", "INVALID_ARGUMENT INVALID_FIELD"} <= world.seen.keys()
