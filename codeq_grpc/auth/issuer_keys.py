"""The keys of an issuer: one that is fixed, or those that it publishes as a JWKS (RFC 7517).

Published keys are fetched anew every 4 to 5 minutes, so one that is removed verifies nothing 5
minutes later. While the issuer cannot be asked, or says what makes no sense, those that it had stay
good for a day. A kid that is not among them has them fetched at once, but not within 30 s of the
last time: a flood of made-up kids costs two requests a minute, and needs no memory here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
from typing import TYPE_CHECKING, Final, Protocol

from codeq_grpc.auth.asking import TIMEOUT, Outage, Unanswered
from codeq_grpc.auth.documents import read_object
from codeq_grpc.core import clock
from codeq_grpc.core.claims import Refused
from codeq_grpc.core.errors import IdentityUnavailable
from codeq_grpc.public_keys import PublicKey, UnusableKey, from_jwk, from_pem

if TYPE_CHECKING:
    from codeq_grpc.auth.asking import Asker

_log = logging.getLogger(__name__)
TTL: Final = 300.0
STALE: Final = 86_400.0
"""Seconds for which keys are good although the issuer cannot be asked."""
AGAIN: Final = 30.0
"""Seconds between two fetches that unknown kids cause, and at most between two that failed."""
_JWKS_BYTES: Final = 256 << 10
_JWKS_KEYS: Final = 100
_WAITING: Final = 1_000
"""Calls that may wait for keys at the same time."""
_TOLD: Final = 10
"""Kids of a kind in one line of the log."""
_LOOK: Final = 0.5
"""Seconds between looks at whether it is time."""


class Keys(Protocol):
    """Where the keys of an issuer are."""

    def current(self, kid: str, algorithm: str) -> PublicKey | None:
        """The key, if it is known and good now."""

    async def find(self, kid: str, algorithm: str) -> PublicKey:
        """The key. Raises Refused, or IdentityUnavailable when that cannot be told now."""


class FixedKey:
    """One key, whatever kid a token names. Raises UnusableKey."""

    def __init__(self, pem: str) -> None:
        self._key = from_pem(pem)

    def current(self, kid: str, algorithm: str) -> PublicKey | None:  # noqa: ARG002 - as of others
        """The key, for its algorithm."""
        return self._key if algorithm == self._key.algorithm else None

    async def find(self, kid: str, algorithm: str) -> PublicKey:
        """The key, for its algorithm."""
        key = self.current(kid, algorithm)
        if key is None:
            raise Refused("the key is for another algorithm")
        return key


def read_jwks(body: bytes) -> dict[str, PublicKey]:
    """The usable keys by kid; of several under one kid the first counts. Raises ValueError
    for what is no JWKS.
    """
    listed = read_object(body).get("keys")
    if not isinstance(listed, list):
        raise ValueError("no keys")  # noqa: TRY004 - as all else that is wrong with it
    if len(listed) > _JWKS_KEYS:
        raise ValueError("too many keys")
    found: dict[str, PublicKey] = {}
    for one in listed:
        with contextlib.suppress(UnusableKey):
            kid, key = from_jwk(one)
            found.setdefault(kid, key)
    return found


class PublishedKeys:
    """The keys at one URL. `run` fetches them; whoever needs one only waits for that."""

    def __init__(self, issuer: str, url: str, asker: Asker) -> None:
        self._issuer = issuer
        self._url = url
        self._asker = asker
        self._keys: dict[str, PublicKey] = {}
        self._fetched_at = -math.inf
        self._tried_at = -math.inf
        self._due_at = -math.inf
        self._failures = 0
        self._wanted = asyncio.Event()
        self._fetching: asyncio.Future[None] | None = None
        self._waiting = 0
        self._outage = Outage(f"the issuer {issuer}")

    def current(self, kid: str, algorithm: str) -> PublicKey | None:
        """The key, if it was there when the issuer last answered, within a day."""
        key = self._keys.get(kid)
        if key is None or key.algorithm != algorithm or self._is_stale():
            return None
        return key

    async def find(self, kid: str, algorithm: str) -> PublicKey:
        """The key; one that is not known may be new."""
        if kid not in self._keys or self._is_stale():
            await self._news()
        if self._is_stale() or (kid not in self._keys and self._outage.lasts):
            raise IdentityUnavailable
        key = self.current(kid, algorithm)
        if key is None:
            raise Refused("no such key of this algorithm")
        return key

    async def run(self) -> None:
        """Keeps the keys new, for ever."""
        while True:
            await self.tick()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await self._wanted.wait()

    async def tick(self) -> None:
        """Fetches the keys if it is time, or if they are wanted."""
        if clock.monotonic() < self._due_at and not self._wanted.is_set():
            return
        self._fetching = self._fetching or asyncio.get_running_loop().create_future()
        self._tried_at = clock.monotonic()
        self._wanted.clear()
        try:
            await self._fetch()
        finally:
            done, self._fetching = self._fetching, None
            done.set_result(None)

    def _is_stale(self) -> bool:
        return clock.monotonic() - self._fetched_at > STALE

    async def _news(self) -> None:
        """Waits for the fetch that is under way, or asks for one if the last was long ago."""
        if self._fetching is None:
            if clock.monotonic() - self._tried_at < AGAIN:
                return
            self._fetching = asyncio.get_running_loop().create_future()
            self._wanted.set()
        if self._waiting >= _WAITING:
            raise IdentityUnavailable
        self._waiting += 1
        try:
            async with asyncio.timeout(TIMEOUT + 1):
                await asyncio.shield(self._fetching)
        except TimeoutError:
            raise IdentityUnavailable from None
        finally:
            self._waiting -= 1

    async def _fetch(self) -> None:
        try:
            answer = await self._asker.get(self._url, _JWKS_BYTES)
        except Unanswered as why:
            self._failed(str(why))
            return
        if answer.status != 200:
            self._failed(f"it answered {answer.status}")
            return
        try:
            found = read_jwks(answer.body)
        except ValueError:
            self._failed("its answer is no JWKS")
        except Exception:  # noqa: BLE001 - logged in full; others' users are not to notice
            _log.exception("a JWKS could not be read", extra={"issuer": self._issuer})
            self._failed("its answer could not be read")
        else:
            self._replace(found)

    def _failed(self, why: str) -> None:
        pause = min(AGAIN, 2.0**self._failures) * random.uniform(0.7, 1.0)
        self._failures = min(self._failures + 1, 10)
        self._due_at = clock.monotonic() + pause
        self._outage.began(why)

    def _replace(self, found: dict[str, PublicKey]) -> None:
        # Good from when it was asked: what it said may be as old as that.
        self._fetched_at = self._tried_at
        self._due_at = self._tried_at + TTL * random.uniform(0.8, 0.95)
        self._failures = 0
        self._outage.over()
        if found != self._keys:
            changes = {
                "new": found.keys() - self._keys,
                "gone": self._keys.keys() - found,
                "changed": {k for k in found.keys() & self._keys if found[k] != self._keys[k]},
            }
            kids = {how: sorted(some)[:_TOLD] for how, some in changes.items()}
            _log.info("an issuer has other keys", extra={"issuer": self._issuer, **kids})
        self._keys = found
