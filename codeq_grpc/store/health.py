"""Is the store fit for tasks: reachable, writable, never evicting, a primary.

A full store is told of, but does not make a server unfit: enqueues are refused until workers have
drained it, and they need the server for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from codeq_grpc.core.errors import CodeQError, StoreFull

if TYPE_CHECKING:
    from codeq_grpc.store.connection import Connection

CHECKS: Final = ("reachable", "writable", "noeviction", "primary", "version", "memory")
HARMLESS: Final = frozenset({"memory"})
"""Checks whose failure a server goes on serving with."""
_REDIS_MIN: Final = (7, 0)
_VALKEY_MIN: Final = (7, 2)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())


def _judge(info: dict[str, object]) -> dict[str, str]:
    problems = {}
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        problems["noeviction"] = f"maxmemory-policy is {policy}, it must be noeviction"
    role = str(info.get("role", "master"))
    if role != "master":
        problems["primary"] = f"the store is a {role}, not the primary"
    name, minimum = ("valkey", _VALKEY_MIN) if "valkey_version" in info else ("redis", _REDIS_MIN)
    version = str(info.get(f"{name}_version", "0.0"))
    if _version(version) < minimum:
        problems["version"] = f"{name} {version} is older than {'.'.join(map(str, minimum))}"
    return problems


async def check_store(connection: Connection) -> dict[str, str]:
    """What is wrong: check -> reason; empty when the store is fit."""
    try:
        problems = _judge(await connection.info())
    except CodeQError as error:
        return {"reachable": error.message}
    try:
        await connection.probe_write()
    except StoreFull as error:
        problems["memory"] = error.message
    except CodeQError as error:
        problems["writable"] = error.message
    return problems


async def describe_store(connection: Connection) -> dict[str, str]:
    """Name, version and persistence of the store, for people."""
    info = await connection.info()
    name = "valkey" if "valkey_version" in info else "redis"
    return {
        "engine": name,
        "version": str(info.get(f"{name}_version", "")),
        "aof": str(bool(info.get("aof_enabled"))).lower(),
        "policy": str(info.get("maxmemory_policy", "")),
    }
