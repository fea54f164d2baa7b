"""Calls with headers and frames that no gRPC client sends. Most of them the engine answers, before
codeQ has a say; docs/bad-input.md tells where one engine answers INTERNAL by itself.
"""

from __future__ import annotations

import asyncio
import gzip
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from codeq.v1 import codeq_service_pb2 as pb
from tests.integration.calling import PATHS
from tests.integration.looking import contents
from tests.integration.raw_http2 import Headers, answered, connected, framed, headers_of
from tests.support.server import bearer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.admin import Admin
    from tests.support.server import Server

ENQUEUE: Final = PATHS["Enqueue"]
RAW: Final = pb.EnqueueRequest(task={"command": "RENDER"}).SerializeToString()
MESSAGE: Final = framed(RAW)
SECOND: Final = "1S"
"""A deadline, where there would be no answer without one."""


class Case(NamedTuple):
    """Headers beside or instead of the usual ones, what is sent, and what each engine answers: a
    code of gRPC, or how the call ended.
    """

    native: str
    grpcio: str
    changed: Mapping[str, str | None] = MappingProxyType({})
    data: bytes | None = MESSAGE
    more: Headers = ()


def same(answer: str, changed: dict[str, str | None], data: bytes | None = MESSAGE) -> Case:
    """Both engines agree."""
    return Case(answer, answer, changed, data)


_ZIPPED: Final = gzip.compress(RAW)
_GZIP: Final[dict[str, str | None]] = {"grpc-encoding": "gzip"}
CASES: Final[dict[str, Case]] = {
    **{
        f"compressed by {name!r}": Case(
            "UNIMPLEMENTED", "INTERNAL", {"grpc-encoding": name}, framed(RAW, compressed=1)
        )
        for name in ("snappy", "br", "GZIP", "x", "")
    },
    "compressed as told": same("OK", _GZIP, framed(_ZIPPED, compressed=1)),
    "not compressed though it may be": same("OK", _GZIP),
    "compressed by identity": same(
        "INTERNAL", {"grpc-encoding": "identity"}, framed(RAW, compressed=1)
    ),
    "compressed and not told how": same("INTERNAL", {}, framed(RAW, compressed=1)),
    "no gzip": same("INTERNAL", _GZIP, framed(RAW, compressed=1)),
    "gzip cut short": same("INTERNAL", _GZIP, framed(_ZIPPED[:-6], compressed=1)),
    "an unknown flag": Case("INTERNAL", "INVALID_ARGUMENT", {}, framed(RAW, compressed=2)),
    **{
        f"content-type {kind!r}": same("OK", {"content-type": kind})
        for kind in (None, "", "text/html", "application/json", "application/grpc+json")
    },
    "no te": Case("OK", "reset", {"te": None}),
    "te of something else": Case("reset", "INTERNAL", {"te": "gzip"}),
    "GET": Case("OK", "reset", {":method": "GET"}),
    "OPTIONS": Case("OK", "INTERNAL", {":method": "OPTIONS"}),
    "no scheme": same("reset", {":scheme": None}),
    "no path": same("reset", {":path": None}),
    "an empty path": Case("reset", "UNIMPLEMENTED", {":path": ""}),
    "a path without slash": Case("reset", "UNIMPLEMENTED", {":path": ENQUEUE[1:]}),
    "a path with a query": Case("OK", "UNIMPLEMENTED", {":path": f"{ENQUEUE}?a=b"}),
    "a path with one slash too many": same("UNIMPLEMENTED", {":path": f"/{ENQUEUE}"}),
    "a path of percent signs": same("UNIMPLEMENTED", {":path": ENQUEUE.replace("E", "%45")}),
    "a path of 4,000 characters": same("UNIMPLEMENTED", {":path": "/" + "a" * 4_000}),
    **{
        f"timeout {text!r}": Case("OK", "INTERNAL", {"grpc-timeout": text})
        for text in ("", "abc", "1", "1x", "-1S", "S", "1.5S", "\uff11S")
    },
    **{
        f"timeout {text!r}": same("OK", {"grpc-timeout": text})
        for text in ("99999999999S", "99999999H", "8H")
    },
    # Either its own clock or the server is first.
    "timeout '0S'": Case(
        "UNAVAILABLE|DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", {"grpc-timeout": "0S"}
    ),
    "no message": Case("INTERNAL", "INVALID_ARGUMENT", {"grpc-timeout": SECOND}, None),
    "empty data": Case("INTERNAL", "INVALID_ARGUMENT", {"grpc-timeout": SECOND}, b""),
    "half a prefix": Case("INTERNAL", "INVALID_ARGUMENT", {"grpc-timeout": SECOND}, MESSAGE[:3]),
    "half a message": Case("INTERNAL", "INVALID_ARGUMENT", {"grpc-timeout": SECOND}, MESSAGE[:-2]),
    "a length of 4 GiB": Case("INTERNAL", "RESOURCE_EXHAUSTED", {}, b"\0\xff\xff\xff\xff" + RAW),
    "a length of 5 MiB": Case("INTERNAL", "RESOURCE_EXHAUSTED", {}, b"\0\0\x50\0\0" + RAW),
    "-bin of no base64": Case("OK", "INTERNAL", {"x-bin": "@@@"}),
    "-bin without padding": same("OK", {"x-bin": "AA"}),
    "a credential in -bin": same(
        "UNAUTHENTICATED", {"authorization": None, "authorization-bin": "QmVhcmVyIHg="}
    ),
    "a line break in the credential": Case(
        "closed",
        "UNAUTHENTICATED",
        {"authorization": dict(bearer("acme", "admin"))["authorization"] + "\r\nx: y"},
    ),
    "a line break": Case("closed", "OK", {"x-a": "a\r\nx-role: admin"}),
    "NUL": Case("closed", "OK", {"x-a": "a\0b"}),
    "upper case": Case("closed", "INTERNAL", {"X-Upper": "a"}),
    "an empty name": Case("closed", "INTERNAL", {}, more=(("", "x"),)),
    "a second path": Case("reset", "UNIMPLEMENTED", {}, more=((":path", "/x"),)),
    "an unknown pseudo header": Case("closed", "INTERNAL", {}, more=((":what", "x"),)),
    "connection: close": Case("reset", "OK", {"connection": "close"}),
    "transfer-encoding": Case("reset", "OK", {"transfer-encoding": "chunked"}),
    "a length too short": Case("reset", "OK", {"content-length": "3"}),
    "no length": Case("reset", "OK", {"content-length": "x"}),
    "another host": same("OK", {"host": "elsewhere"}),
    "a status in the request": same("OK", {"grpc-status": "0"}),
    "300 headers": same("OK", {f"x-{number}": "v" for number in range(300)}),
}


@pytest.mark.parametrize("what", CASES)
async def test_what_no_client_sends_has_one_answer_and_harms_nobody(
    server: Server, admin: Admin, what: str
) -> None:
    case = CASES[what]
    before = contents(admin)
    answer = await answered(server, (*headers_of(ENQUEUE, case.changed), *case.more), case.data)
    assert answer.code in (case.native if server.native else case.grpcio).split("|")
    if answer.code != "OK":
        assert contents(admin) == before
    assert (await answered(server, headers_of(ENQUEUE), MESSAGE)).code == "OK"


@pytest.mark.parametrize("rpc", PATHS)
async def test_no_spelling_of_a_method_asks_for_less(
    server: Server, admin: Admin, rpc: str
) -> None:
    """Whatever an engine cuts off a path, the scope is asked for."""
    before = contents(admin)
    nobody = {"authorization": "Bearer acme.nobody.token"}
    for more in ("?", "?a=b", "#a", "/", "/../x", "%3f", ";a"):
        answer = await answered(server, headers_of(PATHS[rpc] + more, nobody), MESSAGE)
        assert answer.code == "UNAUTHENTICATED", more
        role = dict(bearer("acme", "producer" if rpc in WORKERS else "worker"))
        answer = await answered(server, headers_of(PATHS[rpc] + more, {**role}), framed(b""))
        open_to_all = rpc in {"GetTask", "ListTasks", "WatchTasks"}
        assert open_to_all or answer.code in {"PERMISSION_DENIED", "UNIMPLEMENTED"}, more
    assert contents(admin) == before


WORKERS: Final = {"Claim", "StreamClaim", "Heartbeat", "Complete", "Fail", "Abandon", "Report"}


async def test_calls_without_a_message_cost_no_place_and_leave_the_connection_open(
    server: Server,
) -> None:
    async with connected(server) as wire:
        for path in PATHS.values():
            hurried = headers_of(path, {"grpc-timeout": "100m"})
            code = (await wire.call(hurried, None)).code
            assert code in {"INTERNAL", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED"}
        assert (await wire.call(headers_of(ENQUEUE), MESSAGE)).code == "OK"


ALIKE: Final = [
    name
    for name, case in CASES.items()
    if not {case.native, case.grpcio} & {"OK", "INVALID_ARGUMENT"}
    and not case.changed.keys() & {":path", "grpc-timeout"}
]
"""What the engine refuses, whatever the RPC."""


@pytest.mark.parametrize("what", ALIKE)
async def test_every_rpc_has_the_same_answer(server: Server, admin: Admin, what: str) -> None:
    before = contents(admin)
    case = CASES[what]
    headers = {rpc: (*headers_of(PATHS[rpc], case.changed), *case.more) for rpc in PATHS}
    # All at once: grpcio takes its time, some 100 ms, to refuse a stream.
    calls = {rpc: asyncio.create_task(answered(server, headers[rpc], case.data)) for rpc in headers}
    codes = {rpc: (await call).code for rpc, call in calls.items()}
    assert codes == dict.fromkeys(PATHS, case.native if server.native else case.grpcio)
    assert contents(admin) == before


@pytest.mark.parametrize("rpc", PATHS)
async def test_no_rpc_answers_a_deadline_that_has_passed_as_a_bug(
    server: Server, admin: Admin, rpc: str
) -> None:
    before = contents(admin)
    async with connected(server) as wire:
        for timeout in ("0S", "0n", "1n", "1u"):
            headers = headers_of(PATHS[rpc], {"grpc-timeout": timeout})
            answer = await wire.call(headers, framed(b""))
            assert answer.code in {"DEADLINE_EXCEEDED", "UNAVAILABLE", "INVALID_ARGUMENT", "OK"}
    assert contents(admin) == before
