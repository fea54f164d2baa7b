"""The worker: claims tasks, runs their handlers, reports how they ended."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import secrets
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from codeq.v1 import codeq_service_pb2 as pb
from codeq_grpc.client.specs import Span, duration, seconds
from codeq_grpc.core import clock, limits
from codeq_grpc.worker.frames import PROCESS_NAME
from codeq_grpc.worker.handlers import Handlers
from codeq_grpc.worker.heartbeats import Heartbeats
from codeq_grpc.worker.intake import Intake
from codeq_grpc.worker.leases import Leases
from codeq_grpc.worker.outages import Outages
from codeq_grpc.worker.processes import in_process
from codeq_grpc.worker.progress import Teller
from codeq_grpc.worker.reports import Ended, Reports
from codeq_grpc.worker.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from codeq_grpc.client import Client
    from codeq_grpc.core.errors import CodeQError
    from codeq_grpc.worker.handlers import Handler

logger = logging.getLogger(__name__)

H = TypeVar("H", bound="Handler")

_CANCEL_GRACE: Final = 10.0
"""Seconds that cancelled handlers have for cleaning up."""
_FLUSH_GRACE: Final = 5.0
_SAME_SIGNAL: Final = 0.2
"""Ctrl-C may come twice at once: from the terminal and from whoever started the worker."""
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def default_worker_id() -> str:
    """`host:pid:random`, cut to what the API takes."""
    tail = f":{os.getpid()}:{secrets.token_hex(4)}"
    return socket.gethostname()[: limits.WORKER_ID_CHARS - len(tail)] + tail


class Worker:
    """Serves the commands it has handlers for.

    ```python
    worker = Worker(client, concurrency=20)


    @worker.handler("greet")
    async def greet(task: TaskContext) -> str:
        return f"Hello, {task.json()['name']}"


    await worker.run(install_signal_handlers=True)
    ```

    A handler takes a `TaskContext` and returns the result: bytes, a `Payload`, something with a
    JSON form, or None for no result. If it is not asynchronous it runs in a thread. `Retry` and
    `Reject` end the attempt badly on purpose, any other exception by accident; the task's retry
    policy decides what follows. From its context a handler learns that its task is cancelled or
    its lease lost, and there it tells progress and checkpoints. Handlers run at least once per
    task and may run again after a crash or a lost lease: let them be idempotent, or use
    `TaskContext.fence`.

    A handler that computes belongs into a process: registered with `processes=True` or wrapped in
    `in_process`, it runs in one of `processes`, by default one a CPU, which are started when tasks
    come for them. It is a synchronous function at the top level of a module. Its process imports
    that module anew, so a script starts its worker under `if __name__ == "__main__":`. Let
    `concurrency` be the number of processes then: tasks beyond it only wait. A process that dies
    fails the attempt it ran, with the error type WorkerProcessDied, and another takes its place;
    an attempt that is given back or has lost its lease ends with its process.

    `concurrency` handlers run at a time and no more tasks are held, but for `prefetch` that
    wait their turn. From the end of a handler to the next task for its place 2 to 5 ms pass, more
    on a slow network. Handlers that take far longer need no `prefetch`, and tasks are better not
    held back from other workers then. Let it be half of `concurrency` for those of about 10 ms, as
    much as `concurrency` for those of 5 ms or less, and more where the server is far away: at
    least tasks a second times the seconds to the server and back.

    `lease_duration` replaces what the tasks ask for. `drain_timeout` is how long running handlers
    may take to finish after `drain`, in seconds. `on_ended` hears of each attempt once the server
    has taken its end.
    """

    def __init__(  # noqa: PLR0913 - all but the client have defaults
        self,
        client: Client,
        handlers: Mapping[str, Handler] | None = None,
        *,
        concurrency: int = 10,
        prefetch: int = 0,
        processes: int | None = None,
        worker_id: str | None = None,
        lease_duration: Span | None = None,
        drain_timeout: float = 30.0,
        on_ended: Callable[[Ended], None] | None = None,
    ) -> None:
        if concurrency < 1 or not 0 <= prefetch <= limits.MAX_OUTSTANDING - concurrency:
            raise ValueError(f"concurrency + prefetch must be 1 to {limits.MAX_OUTSTANDING}")
        self.worker_id = worker_id or default_worker_id()
        self._client = client
        self._concurrency = concurrency
        self._slots = concurrency + prefetch
        self._lease_duration = lease_duration
        self._drain_timeout = drain_timeout
        self._on_ended = on_ended
        self._handlers = Handlers(concurrency=concurrency, processes=processes)
        self._draining = asyncio.Event()
        self._aborting = asyncio.Event()
        self._failure: CodeQError | None = None
        self._signalled_at = 0.0
        for command, handler in (handlers or {}).items():
            self._handlers.register(command, handler)

    def handler(self, *commands: str, processes: bool = False) -> Callable[[H], H]:
        """Decorator: the function serves these commands, in processes if so wanted.

        Raises:
            ValueError: A command has a handler already, or there are more than 32; or a process
                cannot run the function, as it is asynchronous or not found by its name.
        """

        def register(handler: H) -> H:
            runs = in_process(handler) if processes else handler
            for command in commands:
                self._handlers.register(command, runs)
            return handler

        return register

    def drain(self) -> None:
        """Takes no more tasks; `run` returns when what runs is done, or after `drain_timeout`."""
        self._draining.set()

    def abort(self) -> None:
        """Cancels what runs and gives it back; `run` returns soon."""
        self._draining.set()
        self._aborting.set()

    async def run(self, *, install_signal_handlers: bool = False) -> None:
        """Works until drained. May be called once.

        With `install_signal_handlers` the first SIGTERM or SIGINT drains, the second aborts.
        Cancelling `run` aborts, too.

        Raises:
            CodeQError: The server refuses this worker for good: its credential or its request.
            ValueError: There is no handler, or one that cannot run in a process.
            RuntimeError: This is a process for handlers of another worker.
        """
        if multiprocessing.current_process().name == PROCESS_NAME:
            raise RuntimeError(
                "a process for handlers must not work itself; it imports the main module, so"
                ' start the worker there under `if __name__ == "__main__":`'
            )
        self._handlers.check()
        with _signals(self._on_signal) if install_signal_handlers else _nothing():
            await self._work()
        if self._failure is not None:
            raise self._failure

    def _on_signal(self) -> None:
        now = clock.monotonic()
        if not self._draining.is_set():
            logger.warning("draining; once more to stop at once")
            self._signalled_at = now
            self.drain()
        elif now - self._signalled_at >= _SAME_SIGNAL:
            logger.warning("giving back what runs")
            self.abort()

    def _fail(self, error: CodeQError) -> None:
        self._failure = self._failure or error
        self.abort()

    async def _work(self) -> None:
        span = self._lease_duration
        leases = Leases(None if span is None else seconds(span))
        outages = Outages(self._client)
        teller = Teller(self._client)
        reports = Reports(
            self._client,
            teller,
            leases,
            outages,
            slots=self._slots,
            on_ended=self._on_ended,
            on_fatal=self._fail,
        )
        runner = Runner(self._handlers, leases, reports, concurrency=self._concurrency)
        heartbeats = Heartbeats(teller, leases, runner, outages, on_fatal=self._fail)
        intake = Intake(
            self._client,
            self._request(),
            leases,
            runner,
            outages,
            slots=self._slots,
            on_fatal=self._fail,
        )
        async with asyncio.TaskGroup() as group:
            beating = group.create_task(heartbeats.run())
            opening = group.create_task(intake.run())
            try:
                await self._draining.wait()
                # In this order: what arrives from now on is given back, but nothing is
                # reported, which would make the server send more, until the streams are closed.
                reports.hold()
                runner.stop()
                await intake.quiet()
                opening.cancel()
                await asyncio.wait({opening})
                reports.release()
                await self._finish(runner)
            finally:
                opening.cancel()
                try:
                    await self._give_back(runner, reports)
                finally:
                    beating.cancel()
                    await self._handlers.close()

    def _request(self) -> pb.StreamClaimRequest:
        request = pb.StreamClaimRequest(
            worker_id=self.worker_id,
            commands=self._handlers.commands,
            max_batch_size=min(self._slots, limits.SCRIPT_BATCH),
            disconnect_policy=pb.DISCONNECT_POLICY_KEEP,
        )
        if self._lease_duration is not None:
            request.lease_duration.CopyFrom(duration(self._lease_duration))
        return request

    async def _finish(self, runner: Runner) -> None:
        """Lets handlers finish, for `drain_timeout` or until aborted."""
        try:
            async with asyncio.timeout(self._drain_timeout), asyncio.TaskGroup() as group:
                aborting = group.create_task(self._aborting.wait())
                idle = group.create_task(runner.until_idle())
                await asyncio.wait({aborting, idle}, return_when=asyncio.FIRST_COMPLETED)
                aborting.cancel()
                idle.cancel()
        except TimeoutError:
            logger.warning("%d handlers did not finish in time, giving back", runner.running)

    async def _give_back(self, runner: Runner, reports: Reports) -> None:
        """Ends whatever still runs and reports everything, within a bounded time."""
        runner.stop()
        runner.cancel()
        reports.release()
        try:
            async with asyncio.timeout(_CANCEL_GRACE):
                await runner.until_idle()
        except TimeoutError:
            runner.give_up()
        try:
            async with asyncio.timeout(_FLUSH_GRACE):
                await reports.drained()
        except TimeoutError:
            logger.warning("some ends could not be reported; their leases will run out")
        reports.close()


@contextmanager
def _signals(handle: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, handle)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


@contextmanager
def _nothing() -> Iterator[None]:
    yield
