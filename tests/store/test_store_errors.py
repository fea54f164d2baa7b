"""What each error of the store means to callers, as the store sends it and redis-py spells it."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import pytest

from codeq_grpc.core.errors import CodeQError, StoreFull, StoreUnavailable
from codeq_grpc.store.connection import Connection
from codeq_grpc.store.scripts import Script
from tests.support.admin import Admin

if TYPE_CHECKING:
    from tests.support.stores import StoreProcess

PASSING = [
    "MISCONF Errors writing to the AOF file: No space left on device",
    "MISCONF Valkey is configured to save RDB snapshots, but it's unable to persist to disk.",
    "LOADING Redis is loading the dataset in memory",
    "READONLY You can't write against a read only replica.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "CLUSTERDOWN The cluster is down",
    "CLUSTERDOWN Hash slot not served",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "NOREPLICAS Not enough good replicas to write.",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "UNKILLABLE Sorry the script already executed write commands against the dataset.",
    "ERR max number of clients reached",
]
FULL = [
    "OOM command not allowed when used memory > 'maxmemory'.",
    "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
]
BUGS = [
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "ERR unknown command 'X'",
    "ERR value is not an integer or out of range",
    "NOPERM this user has no permissions to run the 'evalsha' command",
]


def failing(text: str) -> Script:
    """A script that the store answers with this error."""
    quoted = text.replace("'", r"\'")
    source = f"#!lua\nreturn redis.error_reply('{quoted}')".encode()
    sha = hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()
    return Script("failing", source, sha, ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *[(text, StoreUnavailable) for text in PASSING],
        *[(text, StoreFull) for text in FULL],
        *[(text, CodeQError) for text in BUGS],
    ],
)
async def test_error_of_the_store_is_told_as_what_it_means(
    connection: Connection, text: str, expected: type[CodeQError]
) -> None:
    with pytest.raises(CodeQError) as caught:
        await connection.run(failing(text), [], [])
    assert type(caught.value) is expected


async def test_connection_works_on_after_errors(connection: Connection) -> None:
    for text in (PASSING[0], FULL[0], BUGS[0]) * 5:
        with pytest.raises(CodeQError):
            await connection.run(failing(text), [], [])
    assert await connection.registry_mark() == b""


@pytest.mark.parametrize("url", ["", "?password=wrong"], ids=["none", "wrong"])
async def test_missing_or_wrong_password_is_a_bug_of_the_configuration_not_an_outage(
    own_store: StoreProcess, url: str
) -> None:
    with Admin(own_store.socket_path) as admin:
        admin.call("CONFIG", "SET", "requirepass", "secret")
    connection = Connection(own_store.url + url)
    with pytest.raises(CodeQError) as caught:
        await connection.registry_mark()
    assert type(caught.value) is CodeQError
    await connection.close()


async def test_nobody_there_is_unavailable() -> None:
    connection = Connection("unix:///nowhere/at/all")
    with pytest.raises(StoreUnavailable):
        await connection.registry_mark()
    await connection.close()


async def test_what_is_no_reply_is_unavailable_and_its_connection_is_not_used_again() -> None:
    connections = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await reader.read(1 << 16):
            writer.write(b"*3\r\n$-7\r\nnot the protocol\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        connection = Connection(f"redis://127.0.0.1:{port}")
        for asked in (1, 2):
            with pytest.raises(StoreUnavailable):
                await connection.registry_mark()
            assert connections == asked
        await connection.close()
