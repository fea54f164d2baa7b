"""Is the store fit for tasks: reachable, writable, never evicting, a primary, and as durable as
promised.

A full store is told of, but does not make a server unfit: enqueues are refused until workers have
drained it, and they need the server for that. Nor does a store that does not tell its settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from codeq_grpc.core.errors import CodeQError, NotDurable, StoreFull
from codeq_grpc.store.levels import differences, hidden
from codeq_grpc.store.rights import missing_rights
from codeq_grpc.store.versions import version_of

if TYPE_CHECKING:
    from codeq_grpc.core.durability import Level
    from codeq_grpc.store.connection import Connection
    from codeq_grpc.store.durability import Durability
    from codeq_grpc.store.levels import Configuration, Info

CHECKS: Final = (
    *("reachable", "writable", "rights", "noeviction", "primary", "version", "durability"),
    *("cluster", "memory", "settings", "clock"),
)
HARMLESS: Final = frozenset({"memory", "settings", "clock"})
"""Checks whose failure a server goes on serving with."""


def _judge(level: Level, info: Info, configuration: Configuration | None) -> dict[str, str]:
    problems = {}
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        problems["noeviction"] = f"maxmemory-policy is {policy}, it must be noeviction"
    role = str(info.get("role", "master"))
    if role != "master":
        problems["primary"] = f"the store is a {role}, not the primary"
    version = version_of(info)
    if version.too_old:
        problems["version"] = f"{version} is older than {version.too_old}"
    if different := differences(level, info, configuration):
        problems["durability"] = "; ".join(different)
    if names := hidden(level, info, configuration):
        problems["settings"] = (
            f"{', '.join(names)}: cannot be checked, the store does not allow CONFIG GET;"
            f" see that they are as {level} needs them"
        )
    return problems


async def _look(connection: Connection, level: Level) -> dict[str, str]:
    info = await connection.info()
    problems = _judge(level, info, await connection.configuration())
    if info.get("cluster_enabled"):
        state = await connection.cluster_state()
        if state != "ok":
            problems["cluster"] = f"cluster_state is {state}"
    return problems


async def check_store(
    connection: Connection, durability: Durability, *, rights: bool = True
) -> dict[str, str]:
    """What is wrong: check -> reason; empty when the store is fit. `rights` tries all commands."""
    since = durability.since()
    try:
        problems = await _look(connection, durability.level)
    except CodeQError as error:
        return {"reachable": error.message}
    try:
        await connection.probe_write()
    except StoreFull as error:
        problems["memory"] = error.message
    except CodeQError as error:
        problems["writable"] = error.message
    if rights and "writable" not in problems and (missing := await _missing(connection)):
        problems["rights"] = missing
    if not problems.keys() - HARMLESS:
        try:
            await durability.reached(since, durability.timeout)
        except NotDurable as error:
            problems["durability"] = f"not reached: {error.metadata['problem']}"
    return problems


async def _missing(connection: Connection) -> str:
    try:
        return await missing_rights(connection)
    except CodeQError as error:
        return f"not known: {error.message}"


async def describe_store(connection: Connection) -> dict[str, str]:
    """Name, version and persistence of the store, for people."""
    info = await connection.info()
    configuration = await connection.configuration() or {}
    version = version_of(info)
    return {
        "engine": version.engine,
        "version": version.text,
        "aof": str(bool(info.get("aof_enabled"))).lower(),
        "fsync": configuration.get("appendfsync", "unknown"),
        "policy": str(info.get("maxmemory_policy", "")),
    }
