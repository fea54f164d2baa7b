"""Connections to the store, and what its errors mean.

Nothing is repeated here on its own account: a call whose reply was lost may have been executed,
and only the caller knows whether repeating is safe. NOSCRIPT is the exception, since the store
says that it did nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import hiredis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    ClusterDownError,
    ConnectionError as RedisConnectionError,
    InvalidResponse,
    NoPermissionError,
    NoScriptError,
    RedisError,
    ResponseError,
    TimeoutError as RedisTimeoutError,
    TryAgainError,
)

from codeq_grpc.core.errors import CodeQError, StoreFull, StoreUnavailable
from codeq_grpc.store import keys, scripts
from codeq_grpc.store.versions import version_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

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
CONFIGURATION: Final = (
    *("appendonly", "appendfsync", "no-appendfsync-on-rewrite", "save"),
    *("min-replicas-to-write", "min-replicas-max-lag"),
)
"""What durability hangs on."""
_FACT: Final = re.compile(r"^(\w+):(.*?)\r?$", re.MULTILINE)


def _is_unknown(error: ResponseError) -> bool:
    return "unknown command" in str(error).lower()


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


async def _settle(connection: Any, replicas: int, seconds: float) -> str:
    """What is missing, '' when nothing is."""

    async def ask(*command: Any) -> Any:
        await connection.send_command(*command)
        return await connection.read_response()

    wait = int(seconds * 800)  # who waits for this is to hear what is missing
    # What is asked comes after its reply: with `appendfsync always` it is on the disc by then.
    await ask("EVAL", scripts.STAMP.source, 1, keys.STAMP)
    try:
        if not connection.version.waitaof_is_true:
            (_, fsync) = await ask("CONFIG", "GET", "appendfsync")
            if fsync != b"always":
                return f"appendfsync is {fsync.decode()}"
        if connection.version.has_waitaof:
            discs, others = await ask("WAITAOF", 1, replicas, wait)
        elif replicas:
            discs, others = 1, await ask("WAIT", replicas, wait)
        else:
            return f"{connection.version} has no WAITAOF"
    except ResponseError as error:
        return str(error)[:200]
    if discs < 1:
        return "not on the store's disc"
    return f"on {others} of {replicas} replicas" if others < replicas else ""


class Tls(NamedTuple):
    """By which CA the store's certificate is verified, if not by one that the system knows, and
    what it is shown. The files are read for each connection, so they may be replaced.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def options(self) -> dict[str, Any]:
        """For redis-py."""
        files = {"ssl_ca_certs": self.ca, "ssl_certfile": self.certificate, "ssl_keyfile": self.key}
        given = {name: str(path) for name, path in files.items() if path}
        return {**given, "ssl_min_version": ssl.TLSVersion.TLSv1_2}


NO_FILES: Final = Tls()


class _Packing:
    """Packs commands in C: redis-py leaves that to hiredis in its blocking client only."""

    _writer: asyncio.StreamWriter | None

    def pack_command(self, *args: Any) -> list[bytes]:
        """The command as it is on the wire. Its name may be of several words."""
        packed: bytes = hiredis.pack_command((*args[0].split(), *args[1:]))
        return [packed]

    async def disconnect(self, *args: Any, **given: Any) -> None:
        """Drops what the store has not taken yet: it would stay in memory until the store does."""
        if self._writer is not None and self._writer.transport.get_write_buffer_size():
            self._writer.transport.abort()
        await super().disconnect(*args, **given)  # type: ignore[misc]


class _Lives(BlockingConnectionPool):
    """Knows which life of the store each connection leads to: a process of it from its start to its
    end, as its run_id tells. Connections to another life than the latest seen are not handed out.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, redis_connect_func=self._introduce)
        self.life = 0
        self._run_id = ""

    async def _introduce(self, connection: Any) -> None:
        await connection.on_connect()
        await connection.send_command("INFO", "server")
        facts = dict(_FACT.findall((await connection.read_response()).decode()))
        connection.run_id, connection.version = facts.get("run_id", ""), version_of(facts)
        if connection.run_id != self._run_id:
            self._run_id = connection.run_id
            self.life += 1

    async def ensure_connection(self, connection: Any) -> None:
        """Before a connection is handed out."""
        await super().ensure_connection(connection)
        if connection.run_id != self._run_id:
            await connection.disconnect()
            await connection.connect()


class Connection:
    """A bounded pool to one store. Every call ends within `timeout` seconds, waiting included.

    Calls wait for each other here, first come, first served: those that wait in the pool of
    redis-py are overtaken by newcomers without end. And its `socket_timeout` stays off: it is an
    `asyncio.wait_for` a write, which before Python 3.12 may swallow the cancellation of a caller.

    With `settling` connections beside those, it can `settle` and knows the store's `life`.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 5.0,
        size: int = 64,
        settling: int = 0,
        tls: Tls = NO_FILES,
    ) -> None:
        self.timeout = timeout
        self._turns = asyncio.Semaphore(size)
        pool = _Lives if settling else BlockingConnectionPool
        self._pool = pool.from_url(
            url,
            max_connections=size + settling + 1,  # a subscription takes no turn
            timeout=timeout,
            socket_timeout=None,
            socket_connect_timeout=min(timeout, 2.0),
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            driver_info=None,  # not everybody may do CLIENT SETINFO
            **(tls.options() if url.startswith("rediss:") else {}),
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

    @property
    def life(self) -> int:
        """Counts the lives of the store that were seen. While it stays the same, all calls that
        began and ended meanwhile were carried out in one.
        """
        return self._pool.life if isinstance(self._pool, _Lives) else 0

    async def settle(self, replicas: int) -> tuple[int, str]:
        """Returns when all that the store has done before is on its disc, and on those of so many
        replicas: the life of which that is true, and what is missing after `timeout` seconds.
        """
        with _translated():
            async with asyncio.timeout(self.timeout):
                connection = await self._pool.get_connection()
                try:
                    return self.life, await _settle(connection, replicas, self.timeout)
                finally:
                    await self._pool.release(connection)

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

    async def type_of(self, key: str) -> str:
        """Of what type a key is; `none` when it is not there."""
        async with self._call():
            told: Any = await self._redis.type(key)
            return str(told.decode())

    async def scan(self, cursor: int, pattern: str, count: int) -> tuple[int, list[bytes]]:
        """Some keys of that pattern, and where to go on, 0 at the end."""
        async with self._call():
            reply: Any = await self._redis.scan(cursor, pattern, count)
            return int(reply[0]), reply[1]

    async def info(self) -> dict[str, Any]:
        """INFO of the store, parsed."""
        async with self._call():
            facts: dict[str, Any] = await self._redis.info()
            return facts

    async def time_ms(self) -> float:
        """TIME of the store, in milliseconds."""
        async with self._call():
            seconds, microseconds = await self._redis.time()
            return int(seconds) * 1_000 + int(microseconds) / 1_000

    async def configuration(self) -> dict[str, str] | None:
        """The settings of the store that durability hangs on; None when it does not tell them."""
        async with self._call():
            try:
                told: Any = await self._redis.config_get(*CONFIGURATION)
            except ResponseError as error:
                # By an ACL, or renamed to nothing, as providers of stores do.
                if isinstance(error, NoPermissionError) or _is_unknown(error):
                    return None
                raise
            return dict(told)

    async def cluster_state(self) -> str:
        """`ok`, or else, of a store that is part of a cluster."""
        async with self._call():
            told: Any = await self._redis.execute_command("CLUSTER INFO")
            return str(told["cluster_state"])

    async def probe_write(self) -> None:
        """Fails with the reason when the store does not take writes."""
        async with self._call():
            await self._redis.set(keys.PROBE, "1", px=60_000)

    async def denied(self, commands: Sequence[Sequence[Any]]) -> list[str]:
        """Those of them that the store's access list refuses; nothing else counts as an answer."""
        async with self._call(), self._redis.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            replies = await pipe.execute(raise_on_error=False)
        pairs = zip(commands, replies, strict=True)
        return [str(command[0]) for command, reply in pairs if isinstance(reply, NoPermissionError)]

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
