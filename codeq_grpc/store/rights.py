"""What the store's user must be allowed to do, tried without changing anything.

A script that comes to a command which its user may not run stops there, with what it has written
before. So every command that scripts come to is tried beforehand, on a key that is a string: those
for hashes, lists, streams and sorted sets find the wrong type, and do nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from codeq_grpc.store import keys

if TYPE_CHECKING:
    from codeq_grpc.store.connection import Connection

_ARGUMENTS: Final[dict[str, tuple[str | int, ...]]] = {
    "GET": (),
    "HDEL": ("f",),
    "HEXISTS": ("f",),
    "HGET": ("f",),
    "HGETALL": (),
    "HINCRBY": ("f", 0),
    "HKEYS": (),
    "HLEN": (),
    "HMGET": ("f",),
    "HSCAN": (0,),
    "HSET": ("f", 0),
    "HSETNX": ("f", 0),
    "LINDEX": (0,),
    "LLEN": (),
    "LPOS": ("e",),
    "LPUSH": ("e",),
    "LRANGE": (0, 0),
    "LTRIM": (0, 0),
    "RPUSH": ("e",),
    "XADD": ("*", "f", "v"),
    "XREVRANGE": ("+", "-"),
    "XTRIM": ("MAXLEN", 0),
    "ZADD": (0, "m"),
    "ZCARD": (),
    "ZCOUNT": (0, 0),
    "ZLEXCOUNT": ("-", "+"),
    "ZMSCORE": ("m",),
    "ZPOPMIN": (),
    "ZRANGE": (0, 0),
    "ZRANGEBYLEX": ("-", "+"),
    "ZRANGEBYSCORE": (0, 0),
    "ZREM": ("m",),
    "ZREVRANGE": (0, 0),
    "ZREVRANGEBYLEX": ("+", "-"),
    "ZREVRANK": ("m",),
    "ZSCORE": ("m",),
}
TRIED: Final[tuple[tuple[str | int, ...], ...]] = (
    *((command, keys.PROBE, *arguments) for command, arguments in _ARGUMENTS.items()),
    ("TIME",),
    ("PUBLISH", keys.wake_channel("nobody"), ""),
    ("EVALSHA", "0" * 40, 0),
    ("EVAL", "return 0", 0),
    ("SCRIPT LOAD", "return 0"),
)
"""Beside SET, with which the key is written."""


async def missing_rights(connection: Connection) -> str:
    """What the store's user may not do and must, in words; '' when there is nothing."""
    denied = await connection.denied(TRIED)
    return f"the store's user may not run {', '.join(denied)}" if denied else ""
