"""Runs a program for a task: payload in, result out, and nothing of it left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from typing import TYPE_CHECKING, Final

from codeq.v1.task_pb2 import Payload
from codeq_grpc.core import limits
from codeq_grpc.core.errors import PayloadTooLarge
from codeq_grpc.worker import Reject, Retry

if TYPE_CHECKING:
    from asyncio.subprocess import Process

    from codeq_grpc.worker import TaskContext

_KILL_AFTER: Final = 5.0
"""Seconds between SIGTERM and SIGKILL."""
_CHUNK: Final = 1 << 16
_NOT_IN_NAMES: Final = re.compile(r"[^A-Z0-9]")


class Program:
    """A handler: runs `words`, as they are, once per task; `timeout` in seconds."""

    def __init__(self, words: list[str], *, timeout: float | None) -> None:
        self._words = words
        self._timeout = timeout

    async def __call__(self, task: TaskContext) -> Payload | None:
        """Runs the program; its standard output is the result.

        Raises:
            Retry: It failed, was ended by a signal, or took too long.
            Reject: It wrote more than a result may have.
        """
        process = await asyncio.create_subprocess_exec(
            *self._words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(task),
            # A group of its own: Ctrl-C at the worker is not for it, and its end takes all along.
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(self._timeout):
                output, errors = await _talk(process, task.payload)
                code = await process.wait()
        except TimeoutError:
            await _end(process)
            raise Retry(f"still running after {self._timeout:g} s", kind="timeout") from None
        except BaseException:
            await _end(process)
            raise
        if code != 0:
            raise _failure(code, errors.text())
        return _result(output)


class _Kept:
    """The first or the last `size` bytes of a flow, and how long it was."""

    def __init__(self, size: int, *, last: bool) -> None:
        self.data = bytearray()
        self.length = 0
        self._size = size
        self._last = last

    def add(self, chunk: bytes) -> None:
        self.length += len(chunk)
        if self._last:
            self.data += chunk
            del self.data[: -self._size]
        else:
            self.data += chunk[: self._size - len(self.data)]

    def text(self) -> str:
        return self.data.decode("utf-8", "replace")


async def _talk(process: Process, payload: bytes) -> tuple[_Kept, _Kept]:
    output = _Kept(limits.PAYLOAD_BYTES, last=False)
    errors = _Kept(limits.ERROR_DETAIL_CHARS, last=True)
    async with asyncio.TaskGroup() as group:
        group.create_task(_feed(process, payload))
        group.create_task(_read(process.stdout, output))
        group.create_task(_read(process.stderr, errors))
    return output, errors


async def _feed(process: Process, payload: bytes) -> None:
    stdin = process.stdin
    if stdin is None:
        return
    try:
        stdin.write(payload)
        await stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        pass  # a program need not read its input
    stdin.close()


async def _read(stream: asyncio.StreamReader | None, kept: _Kept) -> None:
    while stream is not None and (chunk := await stream.read(_CHUNK)):
        kept.add(chunk)


async def _end(process: Process) -> None:
    """Ends the program and everything it has started in its group."""
    _signal(process, signal.SIGTERM)
    try:
        async with asyncio.timeout(_KILL_AFTER):
            await process.wait()
    except TimeoutError:
        pass
    finally:
        _signal(process, signal.SIGKILL)


def _signal(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left there
        os.killpg(process.pid, number)


def _failure(code: int, errors: str) -> Retry:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    if code < 0:
        kind, ending = f"signal.{-code}", f"ended by {_signal_name(-code)}"
    else:
        kind, ending = f"exit.{code}", f"exit code {code}"
    return Retry(lines[-1] if lines else ending, kind=kind, detail=errors)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _result(output: _Kept) -> Payload | None:
    if output.length > limits.PAYLOAD_BYTES:
        raise Reject(
            f"standard output has {output.length} bytes, at most {limits.PAYLOAD_BYTES} are kept"
            " as a result; store it elsewhere and print where",
            kind=PayloadTooLarge.reason,
            detail="",
        )
    if not output.length:
        return None
    data = bytes(output.data)
    try:
        data.decode()
    except UnicodeDecodeError:
        return Payload(data=data, content_type="application/octet-stream")
    return Payload(data=data, content_type="text/plain; charset=utf-8")


def _environment(task: TaskContext) -> dict[str, str]:
    headers = {
        f"CODEQ_HEADER_{_NOT_IN_NAMES.sub('_', key.upper())}": value
        for key, value in task.headers.items()
        if "\0" not in value  # no variable can hold it
    }
    return {
        **os.environ,
        **headers,
        "CODEQ_TASK_ID": task.task_id,
        "CODEQ_COMMAND": task.command,
        "CODEQ_ATTEMPT": str(task.attempt),
        "CODEQ_FENCE": str(task.fence),
    }
