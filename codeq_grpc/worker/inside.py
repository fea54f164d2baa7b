"""What runs inside a process of a worker: one handler at a time, until the worker is gone.

The main thread runs handlers. Another one listens, so that a handler that computes hears of its
cancellation, and so that the process ends with its worker however that one ended. Only a call
into C that keeps the interpreter's lock holds both up until it returns.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import threading
from typing import TYPE_CHECKING, Final

from codeq.v1.task_pb2 import ClaimedTask
from codeq_grpc.worker import outcomes
from codeq_grpc.worker.context import TaskContext
from codeq_grpc.worker.frames import Kind, Unframer, frame

if TYPE_CHECKING:
    import socket

    from codeq.v1.codeq_service_pb2 import Outcome
    from codeq.v1.task_pb2 import LeaseRef, Progress

SHIELDED: Final = (signal.SIGINT, signal.SIGTERM)
"""Meant for the worker, which lets its processes finish, and sent to all by some supervisors."""
_LEAVE: Final = 2.0
"""Seconds that an idle process has for leaving in order."""
_CHUNK: Final = 1 << 16


def serve(connection: socket.socket) -> None:
    """The whole life of the process; `connection` is its end of the worker's socket pair."""
    # A session of its own: the terminal's Ctrl-C is not for it, and the worker can end it with
    # everything that its handlers have started.
    os.setsid()
    for number in SHIELDED:
        # Handled, not ignored: programs that a handler starts would inherit the latter.
        signal.signal(number, lambda *_: None)
        signal.siginterrupt(number, False)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SHIELDED)
    _Process(connection).run()


class _Process:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._work: queue.SimpleQueue[tuple[bytes, TaskContext] | None] = queue.SimpleQueue()
        self._sending = threading.Lock()
        self._received = 0
        self._done = 0

    def run(self) -> None:
        """Runs handlers until the worker hangs up."""
        threading.Thread(target=self._listen, name="codeq-listener", daemon=True).start()
        while (work := self._work.get()) is not None:
            handler, context = work
            self._send(frame(Kind.BEGUN))
            outcome = _end_of(handler, context)
            self._done += 1
            self._send(frame(Kind.OUTCOME, outcome.SerializeToString()))

    def _listen(self) -> None:
        """Takes in what the worker says, and ends the process with it."""
        handler, context, unframer = b"", TaskContext(ClaimedTask()), Unframer()
        while data := self._receive():
            for kind, body in unframer.feed(data):
                if kind is Kind.HANDLER:
                    handler = body
                elif kind is Kind.TASK:
                    context = TaskContext(ClaimedTask.FromString(body), self._tell)
                    self._received += 1
                    self._work.put((handler, context))
                elif kind is Kind.CANCEL:
                    context.cancelled.set(body.decode())
        if self._received == self._done:
            self._work.put(None)
            threading.Event().wait(_LEAVE)  # this thread ends with the process, at the latest here
        os.killpg(os.getpgrp(), signal.SIGKILL)

    def _receive(self) -> bytes:
        try:
            return self._connection.recv(_CHUNK)
        except OSError:
            return b""

    def _tell(self, _: LeaseRef, progress: Progress) -> None:
        self._send(frame(Kind.PROGRESS, progress.SerializeToString()))

    def _send(self, data: bytes) -> None:
        with self._sending, contextlib.suppress(OSError):  # nobody is there: `_listen` ends us
            self._connection.sendall(data)


def _end_of(pickled: bytes, context: TaskContext) -> Outcome:
    lease = context.claimed.lease
    try:
        handler = pickle.loads(pickled)  # noqa: S301 - our own worker has pickled it
        return outcomes.completed(lease, handler(context))
    except BaseException as error:  # noqa: BLE001 - whatever it is gets reported
        return outcomes.failed(lease, error)
