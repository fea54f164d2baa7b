"""Starts real programs, reads what they print, and ends them whatever a test does."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

CODEQ = str(Path(sys.executable).with_name("codeq"))
PATIENCE = 30.0
"""Seconds; far more than anything takes, so that a busy machine is no reason to fail."""
_POLL = 0.02


def free_port() -> int:
    """A TCP port that nobody listens on.

    Below those that the kernel hands to clients: a port of these could be taken between two
    starts of one server.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_until(holds: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Returns once `holds` does, fails after `patience` seconds."""
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, f"not within {patience:g} s: {what}"
        time.sleep(_POLL)


def alive(pid: int) -> bool:
    """Whether there is such a process; one that has ended and was not waited for is none."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return not status.parent.parent.is_dir()


def kill(pid: int) -> None:
    """Kills a process and waits until it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid), f"the end of process {pid}")


class Output:
    """What a program writes to one stream, read as it comes."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._lines: list[bytes] = []
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._reader.start()

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                with self._changed:
                    self._lines.append(line)
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def text(self) -> str:
        """Everything so far."""
        with self._changed:
            return b"".join(self._lines).decode()

    @property
    def ended(self) -> bool:
        """Whether nothing more can come."""
        with self._changed:
            return self._ended

    def wait(self, deadline: float) -> None:
        """Returns when there may be more, or at the deadline."""
        with self._changed:
            if not self._ended:
                self._changed.wait(max(0.0, min(0.5, deadline - time.monotonic())))

    def join(self) -> None:
        """Waits for the last line."""
        self._reader.join(PATIENCE)


class Program:
    """A running program in a session of its own; `with` ends it and what it started."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        self.command = list(command)
        self._process = subprocess.Popen(
            self.command,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.stdout = Output(self._process.stdout)
        self.stderr = Output(self._process.stderr)

    @property
    def pid(self) -> int:
        """Of the process, which leads its group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def wait_for(
        self, pattern: str, *, on: str = "stdout", patience: float = PATIENCE
    ) -> re.Match[str]:
        """The first match in what it has written or will write."""
        output: Output = getattr(self, on)
        deadline = time.monotonic() + patience
        while True:
            ended = output.ended
            match = re.search(pattern, output.text, re.MULTILINE)
            if match is not None:
                return match
            assert not ended, f"ended without {pattern!r}:\n{self.report()}"
            assert time.monotonic() < deadline, f"no {pattern!r}:\n{self.report()}"
            output.wait(deadline)

    def write(self, data: bytes) -> None:
        """All of its standard input, for one that was started with a pipe."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin as pipe:
            pipe.write(data)

    def send(self, number: signal.Signals) -> None:
        """A signal to the process alone."""
        self._process.send_signal(number)

    def terminate(self) -> None:
        """SIGTERM to the process alone, as a supervisor sends it."""
        self.send(signal.SIGTERM)

    def interrupt(self) -> None:
        """Ctrl-C: a terminal sends it to the whole group."""
        os.killpg(self.pid, signal.SIGINT)

    def wait(self, patience: float = PATIENCE) -> int:
        """Its exit code."""
        try:
            code = self._process.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not end within {patience:g} s:\n{self.report()}") from None
        self.stdout.join()
        self.stderr.join()
        return code

    def stop(self, number: signal.Signals = signal.SIGTERM, patience: float = PATIENCE) -> int:
        """Asks it to end; its exit code."""
        self.send(number)
        return self.wait(patience)

    def kill(self) -> None:
        """Ends it alone and at once, as a crash does."""
        self._process.kill()
        self._process.wait()

    def report(self) -> str:
        """Everything known, for the message of a failure."""
        return (
            f"{' '.join(self.command)}\nexit code {self._process.poll()}\n"
            f"--- stdout\n{self.stdout.text}\n--- stderr\n{self.stderr.text}"
        )

    def close(self) -> None:
        """Ends it and its group at once, unless it has ended."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Ran:
    """What a program that has ended left behind."""

    def __init__(self, program: Program, code: int) -> None:
        self.code = code
        self.out = program.stdout.text
        self.err = program.stderr.text

    def __repr__(self) -> str:
        return f"exit code {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def run_codeq(
    *words: str,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Ran:
    """Runs `codeq` to its end; `stdin` is all of its standard input."""
    given = subprocess.DEVNULL if stdin is None else subprocess.PIPE
    with Program([CODEQ, *words], stdin=given, env=env, cwd=cwd) as program:
        if stdin is not None:
            program.write(stdin)
        return Ran(program, program.wait())
