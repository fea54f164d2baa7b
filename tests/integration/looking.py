"""Looks behind the curtain: who waits, what is under way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from codeq_grpc.store import keys
from tests.support.server import eventually

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.server import Caller, Server


def queue_key(suffix: str, command: str = "RENDER", tenant: str = "acme") -> str:
    """One key of a queue."""
    return f"codeq:{{{tenant}/{command}/0}}:{suffix}"


def waiting_servers(admin: Admin, command: str = "RENDER") -> int:
    """How many servers asked to be woken for a queue."""
    return int(admin.call("ZCARD", queue_key("w", command)))


async def armed(admin: Admin, servers: int = 1, command: str = "RENDER") -> None:
    """Returns once so many servers wait in a queue."""
    await eventually(lambda: waiting_servers(admin, command) == servers)


async def waited_for(admin: Admin, command: str = "RENDER") -> None:
    """Returns once somebody waits for the end of a task of the queue."""
    await eventually(lambda: admin.call("HLEN", queue_key("g", command)))


async def in_progress(caller: Caller, count: int, command: str = "RENDER") -> None:
    """Returns once so many tasks are leased."""

    async def leased() -> bool:
        return (await caller.stats(command)).in_progress == count

    await eventually(leased)


async def claiming(server: Server) -> None:
    """Returns once the server waits for the store's reply to a claim."""
    work = server.app._background._tasks
    await eventually(lambda: any("Line._run" in repr(task) for task in work))


def calls_under_way() -> int:
    """How many calls the servers of this process work on."""
    return sum(map(_serves_a_call, asyncio.all_tasks()))


def _serves_a_call(task: asyncio.Task[Any]) -> bool:
    """As grpcio and pygrpc-native name such tasks."""
    coro: Any = task.get_coro()
    return task.get_name().startswith("HandleExceptions[") or coro.__qualname__ == "Server._run"


async def no_calls() -> None:
    """Returns once no server of this process works on a call."""
    await eventually(lambda: calls_under_way() == 0)


_READS: Final[dict[bytes, tuple[str | int, ...]]] = {
    b"hash": ("HGETALL",),
    b"zset": ("ZRANGE", 0, -1, "WITHSCORES"),
    b"list": ("LRANGE", 0, -1),
    b"string": ("GET",),
}


def contents(admin: Admin) -> dict[bytes, Any]:
    """Every key of the store and its value, but for what idle servers write, samples of the totals
    among it, and the audit trail, which has calls that change nothing, too. Not as DUMP has it: a
    large hash is serialised in an order that changes while it is only read.
    """
    names = [
        name
        for name in admin.call("KEYS", "*")
        if name != keys.PROBE.encode() and not name.endswith(b"}:w") and b"}:audit" not in name
    ]
    kinds = zip(names, admin.calls([("TYPE", name) for name in names]), strict=True)
    known = {name: kind for name, kind in kinds if kind != b"none"}
    reads = [(_READS[kind][0], name, *_READS[kind][1:]) for name, kind in known.items()]
    found: dict[bytes, Any] = dict(zip(known, admin.calls(reads), strict=True))
    for name, value in found.items():
        if known[name] == b"hash":
            found[name] = dict(zip(value[::2], value[1::2], strict=True))
            found[name].pop(b"samples", None)
    return found


async def page(server: Server, path: str) -> tuple[int, Any]:
    """Status and JSON of a page of the gateway."""
    url = f"http://127.0.0.1:{server.ports.http}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.json()
