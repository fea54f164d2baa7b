"""Messages between servers: work has come, a task has ended, a lease of a stream is over.

Messages are hints: who waits also looks by itself every few seconds. A key name alone says
"work in this queue"; key, NUL, name says "this task has ended"; `~`, key, NUL, names says "these
tasks have changed"; `+` (reported) or `!` (lost), stream, NUL, then queue number, name and fence
of each lease says "these leases are over"; `?`, stream, NUL, number of leases, these, and a text
says "these are to be cancelled, and why".
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Final, Protocol

from codeq_grpc.core.errors import CodeQError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis.asyncio.client import PubSub

    from codeq_grpc.store.connection import Connection
    from codeq_grpc.store.keys import Queue

_NUMBER_BYTES: Final = 5
_NAME_BYTES: Final = 7
_LEASE_BYTES: Final = 20
_SILENCE: Final = 15.0
_PONG: Final = 5.0
"""Seconds without a message after which the store is asked whether it is there, and for its
answer."""

LeaseKey = tuple[int, bytes, int]
"""Queue number, name of the task, fence."""


class Listener(Protocol):
    """Who is told."""

    def work(self, key: bytes) -> None:
        """Tasks wait in the queue whose `w` key this is."""

    def ended(self, key: bytes, name: bytes) -> None:
        """A task of the queue whose `g` key this is has ended."""

    def leases_over(self, stream: str, leases: Sequence[LeaseKey], *, lost: bool) -> None:
        """Leases of a stream were reported, or lost."""

    def cancel(self, stream: str, leases: Sequence[LeaseKey], reason: str) -> None:
        """Tasks that a stream holds are to be cancelled."""

    def changed(self, key: bytes, names: Sequence[bytes]) -> None:
        """Tasks of the queue whose `m` key this is have changed."""

    def missed(self) -> None:
        """Messages may have been missed: look at everything."""


def over_message(stream: str, leases: Sequence[LeaseKey], *, lost: bool) -> bytes:
    """Tells the server of a stream that leases of it are over."""
    return (b"!" if lost else b"+") + stream.encode() + b"\0" + _pack(leases)


def cancel_message(stream: str, leases: Sequence[LeaseKey], reason: str) -> bytes:
    """Tells the server of a stream that leases of it are to be cancelled."""
    count = len(leases).to_bytes(2, "big")
    return b"?" + stream.encode() + b"\0" + count + _pack(leases) + reason.encode()


def _pack(leases: Sequence[LeaseKey]) -> bytes:
    return b"".join(
        number.to_bytes(_NUMBER_BYTES, "big") + name + fence.to_bytes(8, "big")
        for number, name, fence in leases
    )


def _unpack(raw: bytes) -> list[LeaseKey]:
    parts = (raw[at : at + _LEASE_BYTES] for at in range(0, len(raw), _LEASE_BYTES))
    return [
        (
            int.from_bytes(part[:_NUMBER_BYTES], "big"),
            part[_NUMBER_BYTES : _NUMBER_BYTES + _NAME_BYTES],
            int.from_bytes(part[_NUMBER_BYTES + _NAME_BYTES :], "big"),
        )
        for part in parts
    ]


class Wakeups:
    """One subscription a server; reconnects for ever and then tells that messages were missed."""

    def __init__(
        self, connection: Connection, server: str, on_error: Callable[[CodeQError], None]
    ) -> None:
        self._connection = connection
        self._server = server
        self._on_error = on_error
        self.listening = asyncio.Event()

    async def run(self, listener: Listener) -> None:
        """Listens until cancelled."""
        delay = 0.05
        while True:
            try:
                async with self._connection.subscribed(self._server) as pubsub:
                    self.listening.set()
                    listener.missed()
                    delay = 0.05
                    while True:
                        message = await _next(pubsub)
                        if message["type"] == "message":
                            _dispatch(message["data"], listener)
            except CodeQError as error:
                self._on_error(error)
            self.listening.clear()
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, 1.0)

    async def tell(self, server: str, message: bytes) -> None:
        """Sends to another server."""
        await self._connection.publish(server, message)


async def _next(pubsub: PubSub) -> dict[str, Any]:
    """The next message of any type. Silence is no error to TCP, so it is answered by a ping."""
    message = await pubsub.get_message(timeout=_SILENCE)
    if message is None:
        await pubsub.ping()
        message = await pubsub.get_message(timeout=_PONG)
    if message is None:
        raise StoreUnavailable("the subscription is dead")
    return dict(message)


def _dispatch(message: bytes, listener: Listener) -> None:
    key, found, rest = message.partition(b"\0")
    if not found:
        listener.work(key)
    elif key[:1] in {b"!", b"+"}:
        listener.leases_over(key[1:].decode(), _unpack(rest), lost=key[:1] == b"!")
    elif key[:1] == b"?":
        end = 2 + _LEASE_BYTES * int.from_bytes(rest[:2], "big")
        listener.cancel(key[1:].decode(), _unpack(rest[2:end]), rest[end:].decode())
    elif key[:1] == b"~":
        names = [rest[at : at + _NAME_BYTES] for at in range(0, len(rest), _NAME_BYTES)]
        listener.changed(key[1:], names)
    else:
        listener.ended(key, rest)


def work_key(queue: Queue) -> bytes:
    """The key that `Listener.work` names."""
    return queue.keys["w"]


def ended_key(queue: Queue) -> bytes:
    """The key that `Listener.ended` names."""
    return queue.keys["g"]


def changed_key(queue: Queue) -> bytes:
    """The key that `Listener.changed` names."""
    return queue.keys["m"]
