"""Keeps servers running: starts them, replaces those that end, and ends them all in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from typing import TYPE_CHECKING, Any, Final, Protocol

from codeq_grpc.core.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from codeq_grpc.processes.channel import Message

_log = logging.getLogger(__name__)

_STEADY: Final = 10.0
"""Seconds of life after which an end is an accident, and no reason to wait."""
_FIRST_WAIT: Final = 0.5
_LONGEST_WAIT: Final = 30.0
_ATTEMPTS: Final = 3
"""Starts in vain, of one process, after which there is no hope if none has ever served."""
_PARTING: Final = 10.0
"""Seconds from the end of a process's channel to its own."""


class GaveUp(Exception):
    """No process ever served; the message says why."""


class Child(Protocol):
    """A running process."""

    @property
    def pid(self) -> int:
        """Of the process."""

    def send(self, message: Message) -> None:
        """Tells it something; does not wait."""

    def messages(self) -> AsyncIterator[Message]:
        """What it tells, until it ends."""

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, unless it has ended."""

    async def wait(self) -> int:
        """Its exit code, or minus the signal that ended it."""


class Restarts:
    """How long one process is waited with before it is started again."""

    def __init__(self) -> None:
        self._early = 0

    def wait_after(self, lived: float) -> float:
        """Seconds, after a life of `lived` seconds: none after a long one, else more and more."""
        if lived >= _STEADY:
            self._early = 0
            return 0.0
        self._early += 1
        return float(min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(self._early - 1, 10)))

    @property
    def in_vain(self) -> bool:
        """Whether it has ended early so often that trying on would not help at the first start."""
        return self._early >= _ATTEMPTS


class Supervisor:
    """Keeps `count` children of `start`; gives each `patience` seconds to end."""

    def __init__(
        self,
        start: Callable[[], Awaitable[Child]],
        count: int,
        *,
        patience: float,
        pause: Callable[[float, asyncio.Event], Awaitable[None]] | None = None,
    ) -> None:
        self._start = start
        self._numbers = range(1, count + 1)
        self._patience = patience
        self._pause = pause or _pause
        self._children: dict[int, Child] = {}
        self._states: dict[int, Message] = {}
        self._failures: dict[int, str] = {}
        self._ending = asyncio.Event()
        self._served = asyncio.Event()

    async def run(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """Until `stop` is set and all have ended; calls `ready` when the first one serves. Raises
        GaveUp.
        """
        loop = asyncio.get_running_loop()
        keepers = [loop.create_task(self._keep(number)) for number in self._numbers]
        stopped = loop.create_task(stop.wait())
        telling = loop.create_task(self._tell_when_served(ready))
        try:
            await asyncio.wait([stopped, *keepers], return_when=asyncio.FIRST_COMPLETED)
            for keeper in keepers:
                if keeper.done():
                    keeper.result()
            await self._drain(keepers)
        finally:
            stopped.cancel()
            telling.cancel()
            self._ending.set()
            self._signal_all(signal.SIGKILL)
            ended, _ = await asyncio.wait([stopped, telling, *keepers])
            for task in ended:
                if not task.cancelled():
                    task.exception()  # two may give up in the same moment; one is told of

    async def _tell_when_served(self, ready: Callable[[], None]) -> None:
        await self._served.wait()
        ready()

    async def _drain(self, keepers: list[asyncio.Task[None]]) -> None:
        _log.info("stopping all processes")
        self._ending.set()
        self._signal_all(signal.SIGTERM)
        await asyncio.wait(keepers, timeout=self._patience)
        if self._children:
            pids = [child.pid for child in self._children.values()]
            _log.warning(
                "processes did not end within %g s and are killed",
                self._patience,
                extra={"pids": pids},
            )

    def _signal_all(self, number: signal.Signals) -> None:
        for child in self._children.values():
            child.signal(number)

    async def _keep(self, number: int) -> None:
        restarts = Restarts()
        while not self._ending.is_set():
            began = monotonic()
            told = await self._run_one(number)
            if self._ending.is_set():
                return
            wait = restarts.wait_after(lived := monotonic() - began)
            failure = self._failures.pop(number, "")
            if not self._served.is_set() and (failure or restarts.in_vain):
                raise GaveUp(failure or f"no process comes to serve; the last one {told['how']}")
            _log.warning(
                "a process ended and is replaced",
                extra={**told, "lived_s": round(lived, 1), "wait_s": wait}
                | ({"failure": failure} if failure else {}),
            )
            await self._pause(wait, self._ending)

    async def _run_one(self, number: int) -> Message:
        """Runs a process to its end; what to tell of that."""
        try:
            child = await self._start()
        except OSError as error:
            return {"process_number": number, "how": f"could not be started: {error}"}
        self._children[number] = child
        if self._ending.is_set():
            child.signal(signal.SIGTERM)
        self._send_states()
        async for message in child.messages():
            self._take(number, child, message)
        code = await self._end_of(child)
        del self._children[number]
        state = self._states.pop(number, {})
        self._send_states()
        about = {"process_number": number, "pid": child.pid, "how": describe_end(code)}
        return about | ({"server": state["server"]} if state else {})

    async def _end_of(self, child: Child) -> int:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PARTING):
                return await child.wait()
        child.signal(signal.SIGKILL)
        return await child.wait()

    def _take(self, number: int, child: Child, message: Message) -> None:
        if "failed" in message:
            self._failures[number] = message["failed"]
            return
        self._states[number] = {"pid": child.pid, **message}
        self._served.set()
        self._send_states()

    def _send_states(self) -> None:
        processes = [
            {"process": number, **self._states.get(number, _NOT_YET)} for number in self._numbers
        ]
        for child in self._children.values():
            child.send({"processes": processes})


_NOT_YET: Final[dict[str, Any]] = {"ready": False, "reasons": {"server": "the process is starting"}}


def describe_end(code: int) -> str:
    """What an exit code says, or minus a signal's number."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


async def _pause(seconds: float, ending: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await ending.wait()
