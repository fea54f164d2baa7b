"""Connections to the store, and what its errors mean.

Nothing is repeated here on its own account: a call whose reply was lost may have been executed,
and only the caller knows whether repeating is safe. NOSCRIPT is the exception, since the store
says that it did nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

import hiredis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    ClusterDownError,
    ConnectionError as RedisConnectionError,
    InvalidResponse,
    NoScriptError,
    RedisError,
    ResponseError,
    TimeoutError as RedisTimeoutError,
    TryAgainError,
)

from codeq_grpc.core.errors import CodeQError, StoreFull, StoreUnavailable
from codeq_grpc.store import keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from redis.asyncio.client import PubSub

    from codeq_grpc.store.scripts import Script

_UNAVAILABLE: Final = (
    "MISCONF",
    "LOADING",
    "READONLY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "NOREPLICAS",
    "BUSY",
    "UNKILLABLE",
    "max number of clients",
)
"""Errors that pass by themselves, as redis-py spells them, with or without their prefix."""
_SPELLED: Final = (
    "loading the dataset",
    "against a read only",
    "link with master is down",
    "is busy running a script",
    "not enough good replicas",
    "the cluster is down",
    "unable to persist",
    "errors writing to the aof",
)


def _translate(error: RedisError) -> CodeQError:
    text = str(error)
    lower = text.lower()
    if isinstance(error, ResponseError) and (
        "OOM " in text or "used memory > 'maxmemory'" in lower or "out of memory" in lower
    ):
        return StoreFull()
    passing = any(text.startswith(word) or f"{word} " in text for word in _UNAVAILABLE)
    passing = passing or isinstance(error, ClusterDownError | TryAgainError)
    if passing or any(phrase in lower for phrase in _SPELLED):
        return StoreUnavailable(f"the store refuses commands: {text[:200]}")
    # To redis-py this is a ConnectionError, or the cause of one; but it does not pass by itself.
    if isinstance(error, AuthenticationError) or isinstance(error.__cause__, AuthenticationError):
        return CodeQError(f"the store refuses our credentials: {text[:200]}")
    # After an InvalidResponse, what no store says, redis-py has closed the connection.
    if isinstance(error, RedisConnectionError | RedisTimeoutError | InvalidResponse):
        return StoreUnavailable()
    return CodeQError(f"store error: {text[:500]}")


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        raise _translate(error) from error
    except (OSError, TimeoutError) as error:
        raise StoreUnavailable from error


class _Packing:
    """Packs commands in C: redis-py leaves that to hiredis in its blocking client only."""

    def pack_command(self, *args: Any) -> list[bytes]:
        """The command as it is on the wire. Its name may be of several words."""
        packed: bytes = hiredis.pack_command((*args[0].split(), *args[1:]))
        return [packed]


class Connection:
    """A bounded pool to one store. Every call ends within `timeout` seconds, waiting included.

    Calls wait for each other here, first come, first served: those that wait in the pool of
    redis-py are overtaken by newcomers without end. And its `socket_timeout` stays off: it is an
    `asyncio.wait_for` a write, which before Python 3.12 may swallow the cancellation of a caller.
    """

    def __init__(self, url: str, *, timeout: float = 5.0, size: int = 64) -> None:
        self.timeout = timeout
        self._turns = asyncio.Semaphore(size)
        self._pool = BlockingConnectionPool.from_url(
            url,
            max_connections=size + 1,  # a subscription takes no turn
            timeout=timeout,
            socket_timeout=None,
            socket_connect_timeout=min(timeout, 2.0),
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        kind = self._pool.connection_class
        self._pool.connection_class = type(kind.__name__, (_Packing, kind), {})
        self._redis = Redis(connection_pool=self._pool)

    @contextlib.asynccontextmanager
    async def _call(self) -> AsyncIterator[None]:
        with _translated():
            async with asyncio.timeout(self.timeout), self._turns:
                yield

    async def close(self) -> None:
        """Closes every connection."""
        await self._redis.aclose()
        await self._pool.disconnect()

    async def run(self, script: Script, names: Sequence[bytes | str], args: Sequence[Any]) -> Any:
        """One script call; raises StoreUnavailable, StoreFull or, for a bug, CodeQError."""
        async with self._call():
            try:
                return await self._redis.execute_command(
                    "EVALSHA", script.sha, len(names), *names, *args
                )
            except NoScriptError:
                return await self._redis.execute_command(
                    "EVAL", script.source, len(names), *names, *args
                )

    async def run_each(
        self, script: Script, calls: Sequence[tuple[Sequence[bytes], Sequence[Any]]]
    ) -> list[Any]:
        """Calls of a script that changes nothing (keys, arguments), in one round trip. What is
        wrong with one of them stands in place of its reply.
        """
        async with self._call():
            replies = await self._pipe(script, calls)
            if any(isinstance(reply, NoScriptError) for reply in replies):
                await self._redis.script_load(script.source)
                replies = await self._pipe(script, calls)
        errors = {i: _translate(r) for i, r in enumerate(replies) if isinstance(r, RedisError)}
        for error in errors.values():
            if isinstance(error, StoreUnavailable):
                raise error
        return [errors.get(i, reply) for i, reply in enumerate(replies)]

    async def _pipe(
        self, script: Script, calls: Sequence[tuple[Sequence[bytes], Sequence[Any]]]
    ) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for names, args in calls:
                pipe.execute_command("EVALSHA", script.sha, len(names), *names, *args)
            replies: list[Any] = await pipe.execute(raise_on_error=False)
            return replies

    async def read_registry(self) -> dict[bytes, bytes]:
        """All queues: number -> tenant/command."""
        async with self._call():
            rows: Any = await self._redis.hgetall(keys.REGISTRY[1])
            return dict(rows)

    async def registry_mark(self) -> bytes:
        """Something that changes whenever a queue is added, or lost by a failover."""
        async with self._call():
            mark: Any = await self._redis.get(keys.REGISTRY[0])
            return bytes(mark or b"")

    async def registry_row(self, number: int) -> bytes | None:
        """tenant/command of one queue."""
        async with self._call():
            row: Any = await self._redis.hget(keys.REGISTRY[1], str(number))
            return bytes(row) if row else None

    async def registry_number(self, name: str) -> int:
        """Number of the queue tenant/command; 0 when there is none."""
        async with self._call():
            return int(await self._redis.hget(keys.REGISTRY[2], name) or 0)

    async def info(self) -> dict[str, Any]:
        """INFO of the store, parsed."""
        async with self._call():
            facts: dict[str, Any] = await self._redis.info()
            return facts

    async def probe_write(self) -> None:
        """Fails with the reason when the store does not take writes."""
        async with self._call():
            await self._redis.set(keys.PROBE, "1", px=60_000)

    async def publish(self, server: str, message: bytes) -> None:
        """Sends to one server's channel."""
        async with self._call():
            await self._redis.publish(keys.wake_channel(server), message)

    @contextlib.asynccontextmanager
    async def subscribed(self, server: str) -> AsyncIterator[PubSub]:
        """A subscription to a server's own channel, confirmed by the store."""
        with _translated():
            async with self._redis.pubsub() as pubsub:
                async with asyncio.timeout(self.timeout):
                    await pubsub.subscribe(keys.wake_channel(server))
                    await pubsub.get_message(timeout=None)
                yield pubsub
