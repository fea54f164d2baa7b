"""An issuer of signed tokens and an identity service, over real HTTP, that can be down, slow or
lying.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import time
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from tests.support.signing import SigningKey, claims_of, signed, signing_key

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

    Reply = web.StreamResponse

GARBAGE: Final = {
    "garbage": b"\x00\xff\x80 no",
    "html": b"<!doctype html><h1>Welcome</h1>",
    "half": b'{"keys": [{"kty": "RS',
    "a list": b"[]",
    "null": b"null",
    "text": b'"keys"',
    "nothing": b"",
    "no keys": b'{"kyes": []}',
    "keys that are none": b'{"keys": {"a": 1}}',
    "keys twice": b'{"keys": [], "keys": []}',
    "deep": b"[" * 100_000,
    "not utf-8": '{"keys": []}'.encode("utf-16"),
    "a BOM": b'\xef\xbb\xbf{"keys": []}',
    "NaN": b'{"keys": [NaN]}',
}
"""Bodies that are no JWKS."""
MODES: Final = (
    *GARBAGE,
    *("huge", "endless", "redirect", "500", "404", "403", "429", "204", "gzip"),
    *("truncated", "closes", "silent", "dripping", "too many"),
)


class Endpoint:
    """Answers as `mode` says, and counts."""

    def __init__(self) -> None:
        self.mode = "good"
        self.content_type = "application/json"
        self.asked = 0
        self.port = 0
        self.scheme = "http"
        self.seen: list[web.Request] = []
        self.gate = asyncio.Event()
        self._over = asyncio.Event()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Without a path."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def good(self, request: web.Request, body: Any) -> tuple[int, bytes]:
        """Status and body of an honest answer."""
        raise NotImplementedError

    async def start(self, context: ssl.SSLContext | None = None) -> None:
        """Again at the same port, once it has one. With a context it speaks TLS."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, "127.0.0.1", self.port, reuse_address=True, ssl_context=context
        )
        await site.start()
        self.port = self._runner.addresses[0][1]
        self._over.clear()
        self.scheme = "https" if context else "http"

    async def stop(self) -> None:
        """Nobody listens any longer."""
        self._over.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> Reply:
        self.asked += 1
        body = await request.read()
        self.seen.append(request)
        if self.mode == "held":
            await self.gate.wait()
        mode = "good" if self.mode == "held" else self.mode
        if mode == "good":
            status, text = self.good(request, json.loads(body) if body else None)
            return web.Response(status=status, body=text, content_type=self.content_type)
        return await self._badly(request, mode)

    async def _badly(self, request: web.Request, mode: str) -> Reply:
        if mode in GARBAGE:
            return web.Response(body=GARBAGE[mode], content_type="application/json")
        if mode.isdigit():
            return web.Response(status=int(mode), text="no")
        if mode == "redirect":
            raise web.HTTPFound(f"{self.url}/elsewhere")
        _, text = self.good(request, {"idToken": "any"})
        if mode == "gzip":
            return web.Response(body=gzip.compress(text), headers={"Content-Encoding": "gzip"})
        if mode == "huge":
            return web.Response(body=text + b" " * (300 << 10))
        if mode == "too many":
            return web.Response(body=json.dumps({"keys": [{}] * 101, "users": [{}] * 2}).encode())
        return await self._in_pieces(request, mode, text)

    async def _in_pieces(self, request: web.Request, mode: str, text: bytes) -> Reply:
        reply = web.StreamResponse()
        if mode == "silent":
            await self._over.wait()
        if mode == "truncated":
            reply.content_length = len(text)
        if mode != "closes":
            await reply.prepare(request)
        with contextlib.suppress(ConnectionError):
            while mode == "endless":
                await reply.write(b" " * 65_536)
            while mode == "dripping" and not self._over.is_set():
                await reply.write(b" ")
                await asyncio.sleep(0.1)
            if mode == "truncated":
                await reply.write(text[:-5])
        if request.transport is not None:
            request.transport.abort()
        return reply


class FakeIssuer(Endpoint):
    """Publishes its keys at `/jwks` and signs tokens with them."""

    def __init__(self, *keys: SigningKey) -> None:
        super().__init__()
        self.keys: list[SigningKey] = list(keys) or [signing_key("ec-1")]
        self.jwks: list[Any] | None = None
        self.name = ""

    @property
    def jwks_url(self) -> str:
        """Where its keys are."""
        return f"{self.url}/jwks"

    def good(self, request: web.Request, body: Any) -> tuple[int, bytes]:
        """The JWKS: `jwks` if there is one, or the keys."""
        if request.path != "/jwks":
            return 404, b""
        found = [key.jwk() for key in self.keys] if self.jwks is None else self.jwks
        return 200, json.dumps({"keys": found}).encode()

    def token(self, key: SigningKey | None = None, /, **claims: Any) -> str:
        """A good one, or one with other claims."""
        return signed(key or self.keys[0], claims_of(self.name, **claims))

    def entry(self, **more: Any) -> dict[str, Any]:
        """Of the settings."""
        return {
            "issuer": self.name,
            "audiences": ["codeq"],
            "algorithms": ["RS256", "ES256", "EdDSA"],
            "jwks_url": self.jwks_url,
            "tenant_claims": ["tid"],
            "roles_claim": "roles",
            **more,
        }


class FakeIdentityService(Endpoint):
    """Knows users by their tokens. `users` are the objects that it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.users: dict[str, Any] = {}
        self.answer: Callable[[str], tuple[int, Any]] | None = None
        self.tokens: list[str] = []

    def good(self, request: web.Request, body: Any) -> tuple[int, bytes]:
        """As the scheduler before codeQ was answered."""
        token = body["idToken"]
        self.tokens.append(token)
        if self.answer is not None:
            status, found = self.answer(token)
            return status, json.dumps(found).encode()
        if token not in self.users:
            return 400, b'{"error": {"code": 400, "message": "INVALID_ID_TOKEN"}}'
        return 200, json.dumps({"kind": "lookup", "users": [self.users[token]]}).encode()


class Ahead:
    """A clock that a test sets forward. Give it to modules in place of their `monotonic`."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.seconds


@contextlib.asynccontextmanager
async def running_issuer(*keys: SigningKey, name: str = "") -> AsyncIterator[FakeIssuer]:
    """An issuer while the block runs; its name is its address, if it has no other."""
    issuer = FakeIssuer(*keys)
    await issuer.start()
    issuer.name = name or issuer.url
    try:
        yield issuer
    finally:
        await issuer.stop()


@contextlib.asynccontextmanager
async def running_identity_service() -> AsyncIterator[FakeIdentityService]:
    """An identity service while the block runs."""
    service = FakeIdentityService()
    await service.start()
    try:
        yield service
    finally:
        await service.stop()
