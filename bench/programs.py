"""The processes of a bench: each has a time limit, and is ended by its process id."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from bench.session import NotMeasured

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT: Final = Path(__file__).parents[1]
LIMIT: Final = 300.0
"""Seconds that a process may live, whatever becomes of us."""
_GRACE: Final = 20.0
_LAUNCH: Final = """
import os, select, signal, sys
program, parent = os.pidfd_open(os.getpid()), os.pidfd_open(os.getppid())
first = os.fork()
if first == 0:
    if os.fork() == 0:
        devnull = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(devnull, fd)
        if program not in select.select([program, parent], [], [], float(sys.argv[1]))[0]:
            signal.pidfd_send_signal(program, signal.SIGTERM)
            if not select.select([program], [], [], 15)[0]:
                signal.pidfd_send_signal(program, signal.SIGKILL)
    os._exit(0)
os.waitpid(first, 0)
os.close(program)
os.close(parent)
os.execvp(sys.argv[2], sys.argv[2:])
"""
"""Leaves a watcher behind that ends the program when its time is over, or when we are gone."""


class Program:
    """A process that we started. What it writes to stdout are lines of JSON, if it `talks`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        limit: float = LIMIT,
        talks: bool = True,
    ) -> None:
        self.name = name
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        pipe = subprocess.PIPE if talks else subprocess.DEVNULL
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LAUNCH, str(limit), *command],
            cwd=ROOT,
            env={**os.environ, "GRPC_VERBOSITY": "NONE", **(env or {})},
            stdin=pipe,
            stdout=pipe,
            stderr=self._log,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Asks it to end, then ends it."""
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE)
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self._log.close()

    def check(self) -> None:
        """Raises if it has ended."""
        code = self._process.poll()
        if code is not None:
            raise NotMeasured(f"{self.name} ended with {code}: {self._said()}")

    def _said(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return " / ".join(lines[-3:])[-400:] or "it said nothing"

    def tell(self, line: str) -> None:
        """Writes a line to it."""
        if self._process.stdin is None:
            raise AssertionError("it does not talk")
        try:
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            self._process.wait(_GRACE)
            self.check()

    def hear(self, seconds: float) -> dict[str, Any]:
        """Its next line."""
        if self._process.stdout is None:
            raise AssertionError("it does not talk")
        until = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            left = until - time.monotonic()
            if left <= 0:
                raise NotMeasured(f"{self.name} said nothing for {seconds:.0f} s: {self._said()}")
            if select.select([self._process.stdout], [], [], left)[0]:
                read = os.read(self._process.stdout.fileno(), 1 << 16)
                if not read:
                    self._process.wait(_GRACE)
                    self.check()
                self._buffer += read
        line, _, self._buffer = self._buffer.partition(b"\n")
        heard: dict[str, Any] = json.loads(line)
        return heard

    def rest(self, seconds: float) -> str:
        """All that it still writes, once it has ended."""
        try:
            out, _ = self._process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise NotMeasured(f"{self.name} was not done after {seconds:.0f} s") from None
        if self._process.returncode:
            raise NotMeasured(f"{self.name} ended with {self._process.returncode}: {self._said()}")
        return str(out.decode())


def driver(name: str, job: Mapping[str, Any], *, limit: float = LIMIT) -> Program:
    """Starts `bench.drivers.<name>`, which gets its job as JSON."""
    return Program(
        name, [sys.executable, "-m", f"bench.drivers.{name}", json.dumps(job)], limit=limit
    )
