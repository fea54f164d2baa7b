"""The health pages over raw sockets: what is no request of theirs is refused by 4xx or the end of
the connection, never by 5xx, and never takes them from others.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Final

import pytest

from tests.integration.looking import page

if TYPE_CHECKING:
    from tests.support.server import Server

PATIENCE: Final = 10.0
HOST: Final = b"Host: a\r\n"
LAST: Final = HOST + b"Connection: close\r\n"
GET: Final = b"GET /livez HTTP/1.1\r\n" + HOST
POST: Final = b"POST /livez HTTP/1.1\r\n" + HOST
SECOND: Final = b"GET /readyz HTTP/1.1\r\n" + HOST + b"\r\n"


async def statuses(server: Server, raw: bytes, answers: int = 100) -> list[int]:
    """What answers come to these bytes, till the connection is closed or there are so many."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.ports.http)
    found = b""
    codes: list[bytes] = []
    try:
        writer.write(raw)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE):
                while len(codes) < answers and (chunk := await reader.read(1 << 16)):
                    found += chunk
                    codes = re.findall(rb"HTTP/1\.[01] (\d{3})", found)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return [int(code) for code in codes]


PATHS: Final = {
    b"/": 404,
    b"/..%2f..%2fetc%2fpasswd": 404,
    b"/../../etc/passwd": 404,
    b"/livez/../../readyz": 404,
    b"/%2e%2e/livez": 404,
    b"/livez%00": 404,
    b"/livez%0d%0aX: y": 400,
    b"//livez": 404,
    b"/livez/": 404,
    b"/LIVEZ": 404,
    b"/livez;a=b": 404,
    b"/%ff%fe": 404,
    b"/" + b"a" * 9_000: 400,
    b"*": 400,
    b"livez": 400,
    b"": 400,
}
METHODS: Final = {
    **dict.fromkeys((b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE"), 405),
    b"PROPFIND": 405,
    **dict.fromkeys((b"MADEUP", b"G ET", b"GET\0", b"\xff", b"", b"A" * 9_000), 400),
}
BROKEN: Final = {
    "two lengths": POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a length and chunks": POST
    + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": POST
    + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "a length with a sign": POST + b"Content-Length: +1\r\n\r\na",
    "a length of two words": POST + b"Content-Length: 1 1\r\n\r\na",
    "a length in hex": POST + b"Content-Length: 0x1\r\n\r\na",
    "a length of 2^64": POST + b"Content-Length: 18446744073709551616\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunks not last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a chunk of a strange size": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "a chunk longer than told": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
    "space before the colon": GET + b"X-A : b\r\n\r\n",
    "a folded header": GET + b"X-A: b\r\n c\r\n\r\n",
    "NUL in a header": GET + b"X-A: a\0b\r\n\r\n",
    "a header without a name": GET + b": b\r\n\r\n",
    "a header without a colon": GET + b"nonsense\r\n\r\n",
    "a header of 9,000 bytes": GET + b"X-A: " + b"a" * 9_000 + b"\r\n\r\n",
    "no version": b"GET /livez\r\n\r\n",
    "a version of the future": b"GET /livez HTTP/3.0\r\n" + HOST + b"\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0",
    "random bytes": bytes(range(128, 256)) * 4 + b"\r\n\r\n",
}
"""Each is refused and the connection closed, so that nothing hides behind it."""
BODIES: Final = {
    "JSON with one key twice": b'{"a": 1, "a": 2}',
    "JSON a thousand deep": b"[" * 1_000 + b"]" * 1_000,
    "JSON with garbage behind": b"{} x",
    "a mark of byte order": b"\xef\xbb\xbf{}",
    "a number beyond all": b"1e400",
    "no number": b"NaN",
    "ten megabytes": b"a" * (10 << 20),
}
"""The pages read no body; what comes as one is passed over."""


async def still_there(server: Server) -> None:
    """Fails unless others are served."""
    assert await page(server, "/livez") == (200, {"status": "ok"})


async def test_paths_that_are_none_lead_nowhere(server: Server) -> None:
    for path, status in PATHS.items():
        raw = b"GET " + path + b" HTTP/1.1\r\n" + LAST + b"\r\n"
        assert await statuses(server, raw) == [status], path[:40]
    await still_there(server)


async def test_methods_that_are_none_do_nothing(server: Server) -> None:
    for method, status in METHODS.items():
        raw = method + b" /livez HTTP/1.1\r\n" + LAST + b"\r\n"
        assert await statuses(server, raw) == [status], method[:40]
    overriding = POST + b"X-HTTP-Method-Override: GET\r\nContent-Length: 0\r\n\r\n"
    assert await statuses(server, overriding, 1) == [405]
    await still_there(server)


@pytest.mark.parametrize("why", BROKEN)
async def test_a_broken_request_is_refused_and_nothing_behind_it_is_read(
    server: Server, why: str
) -> None:
    seen = await statuses(server, BROKEN[why] + SECOND)
    assert len(seen) <= 1, "the second request was answered"
    assert all(400 <= status < 500 for status in seen), seen
    await still_there(server)


@pytest.mark.parametrize("why", BODIES)
async def test_a_body_is_passed_over(server: Server, why: str) -> None:
    body = BODIES[why]
    for start, status in ((GET, 200), (POST, 405)):
        raw = start + b"Content-Length: %d\r\n\r\n" % len(body) + body
        assert await statuses(server, raw, 1) == [status]
    await still_there(server)


async def test_a_body_that_does_not_come_is_not_waited_for(server: Server) -> None:
    for headers in (
        b"Content-Length: 1000\r\n\r\nshort",
        b"Transfer-Encoding: chunked\r\n\r\nff\r\nshort",
    ):
        assert await statuses(server, GET + headers, 1) == [200]
    told_to_send = GET + b"Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
    assert await statuses(server, told_to_send, 2) == [100, 200]
    assert await statuses(server, GET + b"Expect: wonders\r\n\r\n", 1) == [417]
    await still_there(server)


async def test_requests_behind_one_another_are_answered_in_turn(server: Server) -> None:
    assert await statuses(server, (GET + b"\r\n") * 3 + SECOND, 4) == [200] * 4
