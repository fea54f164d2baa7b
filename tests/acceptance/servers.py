"""Servers as users start them: `codeq dev` and `codeq serve`."""

from __future__ import annotations

import re
import shutil
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from codeq_grpc.store.embedded import _socket_path
from tests.acceptance.programs import CODEQ, Program, free_port, kill, wait_until
from tests.support.admin import Admin

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

ENTRY = ("--subject", "acceptance", "--tenant", "acme", "--role", "admin")
"""Of `codeq token`, for a server of our own."""


def is_ready(http_port: int) -> bool:
    """Whether the server there says that it can do its work."""
    return _is_ok(http_port, "readyz")


def is_live(http_port: int) -> bool:
    """Whether a server answers there."""
    return _is_ok(http_port, "livez")


def _is_ok(port: int, page: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


class Dev:
    """`codeq dev` on one state directory: started, killed, started again on the same ports."""

    def __init__(
        self,
        state_dir: Path,
        *options: str,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.state_dir = state_dir
        self.grpc_port = free_port()
        self.http_port = free_port()
        self.address = f"127.0.0.1:{self.grpc_port}"
        self._options = options
        self._cwd = cwd
        self._env = env
        self._program: Program | None = None
        self.token = self.export = self.enqueue = self.work = self.queues = ""

    @property
    def program(self) -> Program:
        """The running one, or the last."""
        assert self._program is not None, "not started"
        return self._program

    @property
    def socket(self) -> Path:
        """Where its store listens."""
        return Path(_socket_path(self.state_dir.absolute()))

    def start(self) -> Self:
        """Returns when it has printed how to use it."""
        ports = ("--grpc-port", str(self.grpc_port), "--http-port", str(self.http_port))
        return self.start_as("dev", "--state-dir", str(self.state_dir), *ports, *self._options)

    def start_as(self, *words: str) -> Self:
        """As `start`, by another command line."""
        self._program = Program([CODEQ, *words], cwd=self._cwd, env=self._env)
        self._program.wait_for(r"^Then look with .*\n")
        printed = self._program.stdout.text
        pasted = re.findall(r"^  (export .*|\S+ (?:enqueue|work) .*)$", printed, re.MULTILINE)
        self.export, self.enqueue, self.work = pasted
        self.queues = re.findall(r"^Then look with (.*)$", printed, re.MULTILINE)[0]
        token = re.search(r"CODEQ_TOKEN=(\S+)", self.export)
        assert token is not None, printed
        self.token = token.group(1)
        return self

    def store_pid(self) -> int | None:
        """Of the embedded store; None when none answers."""
        if not self.socket.exists():
            return None
        with suppress(OSError), Admin(str(self.socket)) as admin:
            found = re.search(rb"process_id:(\d+)", admin.call("INFO", "server"))
            assert found is not None
            return int(found.group(1))
        return None

    def running_store(self) -> int:
        """Its process id."""
        pid = self.store_pid()
        assert pid is not None, "the embedded store does not answer"
        return pid

    def client_env(self) -> dict[str, str]:
        """For commands that talk to it."""
        return {"CODEQ_TOKEN": self.token, "CODEQ_ADDRESS": self.address}

    def close(self) -> None:
        """Ends it and its store, however it was left."""
        if self._program is not None:
            self._program.close()
        pid = self.store_pid()
        if pid is not None:
            kill(pid)
        if self.socket.parent != self.state_dir.absolute():
            shutil.rmtree(self.socket.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Serve:
    """`codeq serve` with settings of its own, on ports that outlast a restart."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.grpc_port = free_port()
        self.http_port = free_port()
        self.address = f"127.0.0.1:{self.grpc_port}"
        self._env = {
            "CODEQ_DURABILITY": "D0",
            **env,
            "CODEQ_GRPC_PORT": str(self.grpc_port),
            "CODEQ_HTTP_PORT": str(self.http_port),
        }
        self.programs: list[Program] = []

    @property
    def program(self) -> Program:
        """The running one, or the last."""
        return self.programs[-1]

    def start(self) -> Self:
        """Returns when it is ready."""
        self._start()
        wait_until(lambda: self._says(is_ready), f"readiness of {self.address}")
        return self

    def start_unready(self) -> Self:
        """Returns when it answers, ready or not."""
        self._start()
        wait_until(lambda: self._says(is_live), f"life of {self.address}")
        return self

    def _start(self) -> None:
        self.programs.append(Program([CODEQ, "serve"], env=self._env))

    def _says(self, page: Callable[[int], bool]) -> bool:
        assert self.program.running, self.program.report()
        return page(self.http_port)

    def close(self) -> None:
        """Ends every one that still runs."""
        for program in self.programs:
            program.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
