"""Asking others over HTTP, who may be down, slow or lying."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import aiohttp

from codeq_grpc.core import clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_log = logging.getLogger(__name__)
TIMEOUT: Final = 3.0
"""Seconds for an answer, from the name of the host to the last byte."""
_SILENCE: Final = 10.0
_HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity"}


class Unanswered(Exception):
    """There was no answer that could be used; tells why, without anything of what was sent."""


class Answer(NamedTuple):
    """Status and body."""

    status: int
    body: bytes


class Asker:
    """One pool of connections. It follows no redirects, takes no proxy from the environment, keeps
    no cookies, unpacks nothing, and verifies certificates.
    """

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Answers come while the block runs."""
        connector = aiohttp.TCPConnector(
            ssl=ssl.create_default_context(), limit=128, ttl_dns_cache=60
        )
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS,
            trust_env=False,
            auto_decompress=False,
        ) as session:
            self._session = session
            try:
                yield
            finally:
                self._session = None

    async def get(self, url: str, most: int) -> Answer:
        """A body of at most `most` bytes. Raises Unanswered."""
        return await self._ask("GET", url, most, None)

    async def post(self, url: str, message: dict[str, Any], most: int) -> Answer:
        """The answer to a message in JSON. Raises Unanswered."""
        return await self._ask("POST", url, most, message)

    async def _ask(self, method: str, url: str, most: int, message: Any) -> Answer:
        if self._session is None:
            raise Unanswered("this server is starting or stopping")
        try:
            async with (
                asyncio.timeout(TIMEOUT),
                self._session.request(method, url, json=message, allow_redirects=False) as response,
            ):
                return Answer(response.status, await _read(response, most))
        except Unanswered:
            raise
        except TimeoutError:
            raise Unanswered(f"it did not answer within {TIMEOUT:g} s") from None
        except Exception as error:  # noqa: BLE001 - whatever it sends; the text may have the URL
            raise Unanswered(f"asking it failed ({type(error).__name__})") from None


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Unanswered("its answer is compressed")
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > most:
            raise Unanswered(f"its answer is larger than {most} bytes")
    return bytes(body)


class Outage:
    """Whether somebody can be asked, told in the log when it changes, and not more often than every
    10 s.
    """

    def __init__(self, who: str) -> None:
        self._who = who
        self._told = False
        self._again_at = 0.0
        self.lasts = False

    def began(self, why: str) -> None:
        """There was no answer."""
        self.lasts = True
        if not self._told and clock.monotonic() >= self._again_at:
            self._told = True
            self._again_at = clock.monotonic() + _SILENCE
            _log.warning("%s cannot be asked: %s", self._who, why)

    def over(self) -> None:
        """There was one."""
        self.lasts = False
        if self._told:
            self._told = False
            _log.info("%s answers again", self._who)
