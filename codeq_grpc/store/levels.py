"""What each level of durability asks of the store's configuration, and where a store differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from codeq_grpc.core.durability import Level
from codeq_grpc.store.versions import version_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Info = dict[str, Any]
Configuration = dict[str, str]
_Wanted = dict[str, tuple[str, ...]]

_SOON: Final[_Wanted] = {
    "appendonly": ("yes",),
    "appendfsync": ("everysec", "always"),
    "no-appendfsync-on-rewrite": ("no",),
}
_AT_ONCE: Final[_Wanted] = {**_SOON, "appendfsync": ("always",)}


def _wanted(level: Level, info: Info) -> _Wanted:
    if level is Level.D0:
        return {}
    if level is Level.D1 or (level.waits and version_of(info).waitaof_is_true):
        return _SOON
    return _AT_ONCE


def differences(level: Level, info: Info, configuration: Configuration | None) -> list[str]:
    """What is not as the level needs it, as far as the store tells."""
    return list(_differences(level, info, configuration))


def _differences(
    level: Level, info: Info, configuration: Mapping[str, str] | None
) -> Iterator[str]:
    if level is Level.D3 and not version_of(info).has_waitaof:
        yield f"{version_of(info)} has no WAITAOF, D3 needs Redis 7.2 or newer, or Valkey"
    told = configuration
    if told is None:
        told = {"appendonly": "yes" if info.get("aof_enabled") else "no"}
    for name, allowed in _wanted(level, info).items():
        value = told.get(name, allowed[0])
        if value not in allowed:
            yield f"{name} is {value}, {level} needs {' or '.join(allowed)}"
    if level is Level.D4:
        yield from _replication(info, told)


def _replication(info: Info, told: Mapping[str, str]) -> Iterator[str]:
    for name in ("min-replicas-to-write", "min-replicas-max-lag"):
        if told.get(name) == "0":
            yield f"{name} is 0, D4 needs 1 or more"
    replicas = [info[f"slave{n}"] for n in range(int(info.get("connected_slaves", 0)))]
    if not any(replica.get("state") == "online" for replica in replicas):
        yield "no replica is connected, D4 needs one"


def hidden(level: Level, info: Info, configuration: Configuration | None) -> list[str]:
    """Settings that the level hangs on and the store does not tell."""
    if configuration is not None:
        return []
    return [name for name in _wanted(level, info) if name != "appendonly"]
