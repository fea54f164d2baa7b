"""API keys as credentials.

What is revoked must be refused everywhere within 5 s. What was read of a key counts for a second
from when the reading began, and keys of calls that last are read again every second
(`rpc.sessions`, which looks twice a second). That makes 4.5 s at the worst while the store answers
within one, and 5 s while it does within 1.5 s. A reading without an answer is begun again each
second, beside it, lest one that is lost holds up all; after 4 s nobody is let in. An end is by the
store's clock: each reading tells how long the key still has.
"""

from __future__ import annotations

import asyncio
import copy
import hmac
import itertools
import math
from typing import TYPE_CHECKING, Final, NamedTuple

from codeq_grpc.auth.credentials import Source
from codeq_grpc.core.api_keys import PREFIX, digest_of, id_of
from codeq_grpc.core.clock import monotonic, now
from codeq_grpc.core.errors import (
    CredentialExpired,
    CredentialInvalid,
    StoreUnavailable,
)
from codeq_grpc.core.principal import Principal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from codeq_grpc.auth.credentials import Credential
    from codeq_grpc.core.api_keys import ApiKey

    Read = Callable[[Sequence[str]], Awaitable[tuple[int, list[ApiKey | None]]]]

_AGAIN: Final = 1.0
_FRESH: Final = 1.0
_PATIENCE: Final = 1.0
"""Seconds after which a reading that is not answered is begun again, beside it."""
_TRIES: Final = 4
_BATCH: Final = 2_000
_MOST: Final = 10_000
"""Keys that wait to be read, or are remembered: a flood of invented ones is to fill no memory."""
_NOBODYS: Final = bytes(32)
"""Compared with for keys that do not exist, so that these take as long."""


class _Known(NamedTuple):
    """What was read of a key."""

    principal: Principal
    digest: bytes
    revoked: bool


class ApiKeys:
    """The way of `cqk_...`, as a bearer token or in `x-api-key`. `read` gives the store's time in
    ms and the keys of some ids; `used` is told of each key that was good.
    """

    def __init__(self, read: Read, used: Callable[[str], None]) -> None:
        self._readings = Readings(read)
        self._used = used

    def takes(self, credential: Credential) -> bool:
        """By its first characters: one that is misspelled is shown to nobody else."""
        return credential.source is not Source.CERTIFICATE and credential.text.startswith(PREFIX)

    async def verify(self, credential: Credential) -> Principal:
        """Whose it is. Raises CredentialInvalid, CredentialExpired or StoreUnavailable."""
        key_id = id_of(credential.text)
        if key_id is None:
            raise CredentialInvalid
        known = await self._readings.find(key_id)
        expected = known.digest if known else _NOBODYS
        is_right = hmac.compare_digest(digest_of(credential.text), expected)
        if known is None or not is_right:
            raise CredentialInvalid
        if known.revoked:
            raise CredentialExpired.of(known.principal)
        self._used(key_id)
        return known.principal


class Readings:
    """Reads keys: some at a time, of all that are wanted then, each once. That there is no
    such key is remembered, too, and for as long.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._seen: dict[str, tuple[float, _Known | None]] = {}
        self._waiting: dict[str, asyncio.Future[_Known | Exception | None]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def find(self, key_id: str) -> _Known | None:
        """A key as it was a moment ago. Raises StoreUnavailable."""
        read_at, known = self._seen.get(key_id, (-math.inf, None))
        if monotonic() - read_at < _FRESH:
            return known
        waiting = self._waiting.get(key_id)
        if waiting is None:
            if len(self._waiting) >= _MOST:
                raise StoreUnavailable("too many API keys wait to be looked up")
            loop = asyncio.get_running_loop()
            waiting = self._waiting[key_id] = loop.create_future()
            if self._reading is None:
                self._reading = loop.create_task(self._run())
        # It is not of this caller alone, who may leave.
        result = await asyncio.shield(waiting)
        if isinstance(result, Exception):
            raise copy.copy(result)
        return result

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._step(list(itertools.islice(self._waiting, _BATCH)))
        finally:
            self._reading = None

    async def _step(self, key_ids: list[str]) -> None:
        results: Sequence[_Known | Exception | None]
        try:
            began, now_ms, keys = await self._tried(key_ids)
        except Exception as error:  # noqa: BLE001 - it belongs to the callers
            results = [error] * len(key_ids)
        else:
            found = [_known(now_ms, key) if key else None for key in keys]
            self._keep(began, dict(zip(key_ids, found, strict=True)))
            results = found
        for key_id, result in zip(key_ids, results, strict=True):
            waiting = self._waiting.pop(key_id)
            if not waiting.done():
                waiting.set_result(result)

    async def _tried(self, key_ids: list[str]) -> tuple[float, int, list[ApiKey | None]]:
        """When the reading that was answered first began, and what it gave."""
        under_way: dict[asyncio.Task[tuple[int, list[ApiKey | None]]], float] = {}
        try:
            for _ in range(_TRIES):
                reading = asyncio.ensure_future(self._read(key_ids))
                under_way[reading] = monotonic()
                done, _pending = await asyncio.wait(
                    under_way, timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED
                )
                for one in done:
                    return under_way[one], *one.result()
        finally:
            for one in under_way:
                if not one.cancel() and not one.cancelled():
                    one.exception()  # else it is told to have been overlooked
        raise StoreUnavailable

    def _keep(self, began: float, found: dict[str, _Known | None]) -> None:
        seen = self._seen
        for key_id, known in found.items():
            seen.pop(key_id, None)
            seen[key_id] = began, known
        while seen and (len(seen) > _MOST or began - next(iter(seen.values()))[0] >= _FRESH):
            del seen[next(iter(seen))]


def _known(now_ms: int, key: ApiKey) -> _Known:
    left = (key.expires_ms - now_ms) / 1000 if key.expires_ms else math.inf
    principal = Principal(
        subject=f"key {key.name}",
        tenant=key.tenant,
        scopes=key.scopes,
        commands=key.commands,
        credential=f"key:{key.key_id}",
        expires_at=now().timestamp() + left,
        check_again=_AGAIN,
    )
    return _Known(principal, key.digest, bool(key.revoked_ms))
