"""A server in a process of its own, as the parent sees it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from typing import TYPE_CHECKING, Final, Self

from codeq_grpc.processes.channel import Channel

if TYPE_CHECKING:
    import signal
    from collections.abc import AsyncIterator, Sequence

    from codeq_grpc.processes.channel import Message

_PROGRAM: Final = ("-P", "-m", "codeq_grpc.cli.child")
"""-P: not from whatever stands in the current directory."""


class ServerProcess:
    """A process that serves what it is told to."""

    def __init__(self, process: asyncio.subprocess.Process, channel: Channel) -> None:
        self._process = process
        self._channel = channel

    @classmethod
    async def start(cls, orders: Message, inherited: Sequence[int]) -> Self:
        """A new interpreter, since gRPC does not survive a fork. `orders` go through the channel,
        which is its standard input: they hold credentials, and arguments are for all to read.
        """
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as stack:
            stack.enter_context(ours)
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *_PROGRAM,
                    stdin=theirs.fileno(),
                    pass_fds=inherited,
                    # Ctrl-C goes to the parent alone, who tells the others.
                    start_new_session=True,
                )
            channel = await Channel.over(ours)
            stack.pop_all()
        channel.send(orders)
        return cls(process, channel)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def send(self, message: Message) -> None:
        """Tells it something."""
        self._channel.send(message)

    async def messages(self) -> AsyncIterator[Message]:
        """What it tells, until it ends."""
        while (message := await self._channel.receive()) is not None:
            yield message

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def wait(self) -> int:
        """Its exit code, or minus the signal that ended it."""
        code = await self._process.wait()
        await self._channel.close()
        return code
