"""One process that runs handlers, as its worker sees it."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import multiprocessing
import os
import signal
import socket
import threading
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Final, Self

from codeq.v1.codeq_service_pb2 import Outcome
from codeq.v1.task_pb2 import Progress
from codeq_grpc.worker import inside
from codeq_grpc.worker.frames import PROCESS_NAME, Kind, Unframer, frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.process import BaseProcess

    from codeq_grpc.worker.context import TaskContext

_SPAWN: Final = multiprocessing.get_context("spawn")
"""Not fork: gRPC and threads do not survive it."""


class Died(Exception):
    """The process ended with a task in hand; `begun` tells whether it had begun with it."""

    def __init__(self, message: str, *, begun: bool) -> None:
        super().__init__(message)
        self.begun = begun


class Process(asyncio.Protocol):
    """Runs one task at a time, made by `start`. `on_end` hears of its end, whyever it ended.

    There are two signs of that: its socket ends, and the system says so. What it has sent
    before counts; so the first sign alone makes the worker end it, the second read what is left.
    """

    def __init__(
        self, process: BaseProcess, ours: socket.socket, on_end: Callable[[Process], object]
    ) -> None:
        self.used = False
        self.ended = asyncio.Event()
        self.pid = process.pid
        self._process = process
        self._code: int | None = None
        self._socket = ours
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.WriteTransport | None = None
        self._unframer = Unframer()
        self._context: TaskContext | None = None
        self._outcome: asyncio.Future[Outcome | None] | None = None
        self._begun = False
        self._reaped = False
        self._closed = False
        self._leaving = False
        self._killed = False
        # Before the exit handler of multiprocessing, which waits for processes.
        atexit.register(self.kill)
        threading.Thread(target=self._watch, name="codeq-watcher", daemon=True).start()

    @classmethod
    async def start(cls, on_end: Callable[[Process], object]) -> Self:
        """A new process; it imports what it needs when the first task comes.

        Raises:
            OSError: The system has no room for another.
        """
        ours, theirs = socket.socketpair()
        process = _SPAWN.Process(target=inside.serve, args=(theirs,), name=PROCESS_NAME)
        try:
            with theirs, _shielded():
                process.start()
        except BaseException:
            ours.close()
            raise
        self = cls(process, ours, on_end)
        ours.setblocking(False)
        try:
            await self._loop.create_unix_connection(lambda: self, sock=ours)
        except BaseException:
            self.kill()
            ours.close()
            raise
        return self

    @property
    def free(self) -> bool:
        """Whether it can be given a task."""
        return self._outcome is None and not (self._closed or self._reaped or self._killed)

    async def run(self, handler: bytes, context: TaskContext) -> Outcome:
        """Runs a pickled handler for a task.

        Cancelling this kills the process, unless it only says that the task is to be cancelled:
        then the handler is told and goes on.

        Raises:
            Died: The process did, of itself.
        """
        outcome: asyncio.Future[Outcome | None] = self._loop.create_future()
        self._outcome = outcome
        self._context, self._begun, self.used = context, False, True
        self._write(Kind.HANDLER, handler)
        self._write(Kind.TASK, context.claimed.SerializeToString())
        told = False
        try:
            while not outcome.done():
                try:
                    await asyncio.wait({outcome})
                except asyncio.CancelledError:
                    if told or context.lost.is_set() or not context.cancelled.is_set():
                        raise
                    told = True
                    self._write(Kind.CANCEL, context.cancelled.reason.encode())
            if (said := outcome.result()) is None:
                raise Died(self._epitaph(), begun=self._begun)
            return said
        finally:
            if not outcome.done():
                self.kill()
            self._context = self._outcome = None

    def leave(self) -> None:
        """Asks an idle process to end; a busy one ends at once."""
        self._leaving = True
        if self._transport is not None:
            self._transport.close()

    def kill(self) -> None:
        """Ends it and everything that it has started in its group."""
        self._killed = True
        if self._reaped or self.pid is None:
            return
        for send in (os.killpg, os.kill):  # it has no group of its own in its first moments
            with contextlib.suppress(ProcessLookupError, PermissionError):
                send(self.pid, signal.SIGKILL)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101 - a stream socket has one
        self._transport = transport
        if self._reaped:
            self._hang_up()

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        for kind, body in self._unframer.feed(data):
            if kind is Kind.BEGUN:
                self._begun = True
            elif kind is Kind.PROGRESS and self._context is not None:
                self._context.relay(Progress.FromString(body))
            elif kind is Kind.OUTCOME and self._outcome is not None and not self._outcome.done():
                self._outcome.set_result(Outcome.FromString(body))

    def connection_lost(self, _: Exception | None) -> None:
        """Called by the loop."""
        self._closed = True
        if not self._leaving:
            self.kill()
        self._settle()

    def _watch(self) -> None:
        """Waits for the end of the process, in a thread: no other way works on every system."""
        if self.pid is not None and hasattr(os, "waitid"):  # macOS has it from Python 3.13 on
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
                self.kill()  # what it leaves behind, as long as its number is its own
        self._process.join()
        self._reaped = True
        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody to tell
            self._loop.call_soon_threadsafe(self._exited)

    def _exited(self) -> None:
        atexit.unregister(self.kill)
        self._code = self._process.exitcode
        if self._transport is not None:
            self._hang_up()
        self._settle()

    def _hang_up(self) -> None:
        """Makes the socket end behind what was sent, even if a grandchild keeps it open."""
        with contextlib.suppress(OSError):  # it is closed
            self._socket.shutdown(socket.SHUT_RD)

    def _settle(self) -> None:
        if not self._closed or not self._reaped or self.ended.is_set():
            return
        self.ended.set()
        self._on_end(self)
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_result(None)

    def _write(self, kind: Kind, body: bytes) -> None:
        if self._transport is not None:
            self._transport.write(frame(kind, body))

    def _epitaph(self) -> str:
        code = self._code
        if code is None:
            how = "ended"
        elif code >= 0:
            how = f"ended with exit code {code}"
        else:
            how = f"was ended by {_name_of(-code)}"
        if self._begun:
            return f"the process that ran this attempt {how}"
        return f"the process {how} before it could begin; its standard error may tell why"


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@contextlib.contextmanager
def _shielded() -> Iterator[None]:
    """Keeps Ctrl-C from a process that is about to start: `inside.serve` takes over from here."""
    resource_tracker.ensure_running()  # or `start` does it, which lifts the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, inside.SHIELDED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
