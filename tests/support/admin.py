"""A plain connection to a store, past the code under test."""

from __future__ import annotations

import itertools
import socket
from typing import TYPE_CHECKING, Any, Self

import hiredis

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

_SECONDS = 20.0


def _pack(command: Sequence[str | bytes | int]) -> bytes:
    parts: tuple[Any, ...] = tuple(command)  # hiredis declares a tuple of one
    packed: bytes = hiredis.pack_command(parts)
    return packed


class Admin:
    """Blocking: one command, one reply. An error of the store is a RuntimeError."""

    def __init__(self, path: str) -> None:
        self._reader = hiredis.Reader(replyError=RuntimeError)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_SECONDS)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise

    def send(self, *command: str | bytes | int) -> None:
        """Without waiting for the reply."""
        self._socket.sendall(_pack(command))

    def receive(self) -> Any:
        """The next reply or message."""
        while (reply := self._reader.gets()) is False:
            data = self._socket.recv(1 << 16)
            if not data:
                raise ConnectionError("the store closed the connection")
            self._reader.feed(data)
        if isinstance(reply, RuntimeError):
            raise reply
        return reply

    def call(self, *command: str | bytes | int) -> Any:
        """The reply to a command."""
        self.send(*command)
        return self.receive()

    def calls(self, commands: Sequence[Sequence[str | bytes | int]]) -> list[Any]:
        """The replies to several commands, sent at once."""
        self._socket.sendall(b"".join(map(_pack, commands)))
        return [self.receive() for _ in commands]

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Ear(Admin):
    """Hears what is published on one channel."""

    def __init__(self, path: str, channel: str) -> None:
        super().__init__(path)
        self._path = path
        self._channel = channel.encode()
        self._marks = itertools.count()
        self.call("SUBSCRIBE", channel)

    def heard(self) -> list[bytes]:
        """Every message since the last call; waits for nothing but those already sent."""
        mark = b"mark %d" % next(self._marks)
        with Admin(self._path) as admin:
            admin.call("PUBLISH", self._channel, mark)
        messages = iter(lambda: self.receive()[2], mark)
        return list(messages)
