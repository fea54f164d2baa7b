"""Reads an old store, a bounded number of things at a time; changes it in `remove` only."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError as RedisConnectionError,
    RedisError,
    TimeoutError as RedisTimeoutError,
)

from codeq_grpc.legacy.keyspace import PREFIXES, Keyspace, Place, Queue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

STEP: Final = 100
"""Records at a time: each may be as large as a payload."""
_IDS: Final = 1_000
_SECONDS: Final = 30.0
_PAUSES: Final = (0.1, 0.5, 2.0, 5.0, 10.0)
"""Before each repeat of what failed."""
_PASSING: Final = (RedisConnectionError, RedisTimeoutError, BusyLoadingError, OSError)

Entry = tuple[bytes, float | None]
"""An id, and its score where it has one."""


class OldStoreError(Exception):
    """The old store does not answer, or not as one; the message says how."""


def place_of(url: str) -> str:
    """Which store a URL names, without its credentials.

    Raises:
        ValueError: It names none.
    """
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return f"unix://{parts.path}"
    if parts.scheme not in {"redis", "rediss"} or not parts.hostname:
        raise ValueError("is not a URL such as redis://localhost:6379, rediss:// or unix:///path")
    return f"redis://{parts.hostname}:{parts.port or 6379}/{parts.path.strip('/') or '0'}"


class Reader:
    """One old store. All that it does may be repeated, so it sits short outages out."""

    def __init__(self, url: str) -> None:
        try:
            self._redis = Redis.from_url(
                url,
                protocol=2,
                driver_info=None,
                socket_timeout=None,  # it may swallow a cancellation; see `_repeated`
                socket_connect_timeout=5.0,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError as error:
            raise OldStoreError(f"the URL of the old store: {error}") from error
        # Cursors as they come: those of KVRocks are no numbers.
        for command in ("SCAN", "SSCAN", "HSCAN"):
            self._redis.set_response_callback(command, _as_it_is)
        self.space = Keyspace(PREFIXES[0])
        self._answered = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()

    async def find(self, prefix: str | None) -> list[str]:
        """Uses the keyspace with that prefix, or the only one that there is; gives all of them."""
        found = []
        for each in PREFIXES if prefix is None else (prefix,):
            kind = await self.kind(Keyspace(each).tasks)
            if kind == "hash":
                found.append(each)
        if len(found) == 1:
            self.space = Keyspace(found[0])
        return found

    async def _ask(self, *command: Any) -> Any:
        return await self._repeated(lambda: self._redis.execute_command(*command))

    async def _repeated(self, call: Callable[[], Awaitable[Any]]) -> Any:
        # A store that never answered is a mistake in its URL sooner than an outage.
        for pause in (*(_PAUSES if self._answered else ()), None):
            try:
                async with asyncio.timeout(_SECONDS):
                    told = await call()
                self._answered = True
                return told
            except (RedisError, OSError) as error:
                if pause is None or not isinstance(error, _PASSING):
                    text = " ".join(str(error).split()) or "it does not answer"
                    raise OldStoreError(f"the old store: {text[:300]}") from error
            await asyncio.sleep(pause)
        return None

    async def kind(self, key: str | bytes) -> str:
        """The type of a key."""
        told: bytes = await self._ask("TYPE", key)
        return told.decode()

    async def length(self, name: str) -> int:
        """How many a hash, set or sorted set of a fixed name has, 0 if there is none such."""
        key = self.space.key(name)
        ask = {"hash": "HLEN", "set": "SCARD", "zset": "ZCARD"}.get(await self.kind(key))
        return int(await self._ask(ask, key)) if ask else 0

    async def keys(self, name: str) -> AsyncIterator[list[bytes]]:
        """Keys whose names go on from there; one may come twice."""
        pattern = self.space.key(name).encode() + b"*"
        cursor: bytes = b"0"
        while True:
            cursor, found = await self._ask("SCAN", cursor, "MATCH", pattern, "COUNT", _IDS)
            if found:
                yield found
            if cursor == b"0":
                return

    async def entries(self, queue: Queue, kind: str) -> AsyncIterator[list[Entry]]:
        """The ids of a queue, those that are next first."""
        if kind == "list":
            walk = self._list(queue.key)
        elif kind == "set":
            walk = self._set(queue.key)
        elif kind == "zset":
            walk = self._sorted(queue.key)
        else:
            raise OldStoreError(f"{queue.key!r} is a {kind}, which holds no ids")
        async for step in walk:
            yield step

    async def _list(self, key: bytes) -> AsyncIterator[list[Entry]]:
        """Pushed at the head, taken at the tail."""
        last = -1
        while ids := await self._ask("LRANGE", key, last - _IDS + 1, last):
            yield [(task_id, None) for task_id in reversed(ids)]
            last -= _IDS

    async def _set(self, key: bytes) -> AsyncIterator[list[Entry]]:
        cursor: bytes = b"0"
        while True:
            cursor, ids = await self._ask("SSCAN", key, cursor, "COUNT", _IDS)
            yield [(task_id, None) for task_id in ids]
            if cursor == b"0":
                return

    async def _sorted(self, key: bytes) -> AsyncIterator[list[Entry]]:
        first = 0
        while True:
            found = await self._ask("ZRANGE", key, first, first + _IDS - 1, "WITHSCORES")
            if not found:
                return
            yield [(bytes(task_id), float(score)) for task_id, score in _pairs(found)]
            first += _IDS

    async def records(self, name: str) -> AsyncIterator[list[tuple[bytes, bytes]]]:
        """All of a hash, id and record; one may come twice."""
        key = self.space.key(name)
        if await self.kind(key) != "hash":
            return
        cursor: bytes = b"0"
        while True:
            cursor, found = await self._ask("HSCAN", key, cursor, "COUNT", STEP)
            yield [(bytes(a), bytes(b)) for a, b in _pairs(found)]
            if cursor == b"0":
                return

    async def some(self, key: str, ids: Sequence[bytes]) -> list[bytes | None]:
        """Records of a hash, None for those that it has not."""
        if not ids:
            return []
        found: list[bytes | None] = await self._ask("HMGET", key, *ids)
        return found

    async def leases(self, ids: Sequence[bytes]) -> list[int]:
        """What is left of each lease in ms, 0 for none."""
        told = await self._pipe([("PTTL", self.space.lease(task_id)) for task_id in ids])
        return [max(0, int(ms)) for ms in told]

    async def owners(self, keys: Sequence[bytes]) -> list[tuple[bytes | None, int]]:
        """The task of each idempotency key, and for how many ms it has it."""
        told = await self._pipe([(word, key) for key in keys for word in ("GET", "PTTL")])
        return [(told[i], max(0, int(told[i + 1]))) for i in range(0, len(told), 2)]

    async def remove(self, ids: Sequence[tuple[bytes, Sequence[tuple[Queue, str]]]]) -> None:
        """Removes tasks with all that the old programs knew of them. The record goes last: what a
        removal leaves that was broken off, the next run finds.
        """
        commands: list[tuple[Any, ...]] = []
        for task_id, queues in ids:
            for queue, kind in queues:
                commands.append(_removal(queue, kind, task_id))
            commands.append(("DEL", self.space.lease(task_id)))
        if not ids:
            return
        names = [task_id for task_id, _ in ids]
        commands.append(("ZREM", self.space.ends, *names))
        commands.append(("HDEL", self.space.results, *names))
        commands.append(("HDEL", self.space.tasks, *names))
        await self._pipe(commands)

    async def _pipe(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        async def pipe() -> list[Any]:
            async with self._redis.pipeline(transaction=False) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                told: list[Any] = await pipe.execute()
                return told

        return list(await self._repeated(pipe)) if commands else []


def _as_it_is(response: Any, **_: Any) -> Any:
    return response


def _removal(queue: Queue, kind: str, task_id: bytes) -> tuple[Any, ...]:
    if kind == "list":
        # From the tail, where those that were moved first are.
        return ("LREM", queue.key, -1 if queue.place is Place.PENDING else 0, task_id)
    return ("SREM" if kind == "set" else "ZREM", queue.key, task_id)


def _pairs(flat: Any) -> list[tuple[Any, Any]]:
    """From a flat reply, or from one that redis-py has paired already."""
    if isinstance(flat, dict):
        return list(flat.items())
    if flat and isinstance(flat[0], tuple | list):
        return [tuple(pair) for pair in flat]
    return list(zip(flat[::2], flat[1::2], strict=True))
