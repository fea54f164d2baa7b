"""The processes of one measurement: each in a session of its own, all ended at the end."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import IO, TYPE_CHECKING, Final, Self

from bench.peers.parts import ROOT
from bench.peers.results import NotMeasured

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LIMIT: Final = 60.0
_GRACE: Final = 1.0


def free_port() -> int:
    """A port of the loopback interface nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Processes:
    """Starts processes, and ends them and their children when it is left, however that happens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.deadline = time.monotonic() + LIMIT
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Workers go first, the store last: else they would fill their logs about its absence.
        for process in reversed(self._running.values()):
            _signal(process, signal.SIGTERM)
        until = time.monotonic() + _GRACE
        while time.monotonic() < until and not all(map(_ended, self._running.values())):
            time.sleep(0.02)
        for process in self._running.values():
            _signal(process, signal.SIGKILL)  # also children whose parent has ended already
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    pipe.close()

    def start(
        self,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str],
        *,
        talks: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Starts one; what it says goes to a log, unless it talks to us."""
        if not shutil.which(command[0]):
            raise NotMeasured(f"failed: {command[0]} was not found")
        if timeout := shutil.which("timeout"):
            # Ends it even if we are killed ourselves.
            command = [timeout, "--kill-after=1", f"{LIMIT + 10:.0f}", *command]
        pipe = subprocess.PIPE if talks else None
        with (self.folder / f"log.{name}").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), **env},
                stdin=pipe or subprocess.DEVNULL,
                stdout=pipe or log,
                stderr=log,
                start_new_session=True,
            )
        self._running[name] = process
        return process

    def check(self) -> None:
        """Raises if one has ended, or the time is over."""
        for name, process in self._running.items():
            if _ended(process):
                raise NotMeasured(f"failed: {name} ended: {self.said(name)}")
        if time.monotonic() > self.deadline:
            raise NotMeasured(f"failed: not done after {LIMIT:.0f} s: {self._heard()}")

    def said(self, name: str) -> str:
        """The last line of a log."""
        text = (self.folder / f"log.{name}").read_text(errors="replace")
        return (text.strip().splitlines() or [""])[-1][:200]

    def _heard(self) -> str:
        """What was said by those who said anything."""
        said = {name: self.said(name) for name in self._running if name != "store"}
        return "; ".join(f"{name}: {line}" for name, line in said.items() if line) or "nothing said"


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has ended, without reaping it: until the very end its pid stays ours to signal."""
    if sys.platform == "darwin":  # which has no waitid
        return process.poll() is not None
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    """To the group, which outlives its leader: started in a new session, its id is the pid."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


class Producer:
    """A producer; `drivers/produce.py` says how it talks."""

    def __init__(
        self, processes: Processes, command: Sequence[str], env: Mapping[str, str]
    ) -> None:
        self._processes = processes
        process = processes.start("producer", command, env, talks=True)
        if process.stdin is None or process.stdout is None:
            raise AssertionError("it talks")
        self._stdin: IO[bytes] = process.stdin
        self._stdout: IO[bytes] = process.stdout
        self.version = self.hear().removeprefix("ready").strip()

    def say(self, line: str) -> None:
        """Tells it what to do."""
        self._stdin.write(f"{line}\n".encode())
        self._stdin.flush()

    def has_said(self) -> bool:
        """Whether a line waits."""
        return bool(select.select([self._stdout], [], [], 0)[0])

    def hear(self) -> str:
        """Its next line."""
        while not select.select([self._stdout], [], [], 0.05)[0]:
            self._processes.check()
        line = self._stdout.readline()
        if not line:
            raise NotMeasured(f"failed: the producer ended: {self._processes.said('producer')}")
        return line.decode().strip()
