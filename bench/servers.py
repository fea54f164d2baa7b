"""A server of one's own for a measurement."""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import redis

from bench import cpu
from bench.programs import LIMIT, Program

if TYPE_CHECKING:
    from collections.abc import Iterator


ENGINES: Final = ("native", "grpcio")
_CODEQ: Final = str(Path(sys.executable).with_name("codeq"))
_START: Final = 30.0


@dataclass(frozen=True, slots=True)
class Server:
    """Where it listens, its token, where its store is, and the processes of both."""

    address: str
    token: str
    store_url: str
    pid: int = 0
    store_pid: int = 0
    processes: list[int] = field(default_factory=list)
    """Of the server alone: the one that was started, and its children."""

    def store(self) -> redis.Redis:
        """A connection to its store."""
        return redis.Redis.from_url(self.store_url)

    def cpu_seconds(self) -> tuple[float, float]:
        """Of the server and of its store, so far."""
        return cpu.seconds(self.processes), cpu.seconds([self.store_pid])


@functools.cache
def takes_processes() -> bool:
    """Whether `codeq dev` can run several processes."""
    helped = subprocess.run(
        [_CODEQ, "dev", "--help"], capture_output=True, text=True, timeout=30, check=False
    )
    return "--processes" in helped.stdout


def free_port() -> int:
    """A port of the loopback interface nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _await_ready(url: str, program: Program) -> None:
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline:
        program.check()
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1):
            return
        time.sleep(0.05)
    raise SystemExit("the server did not become ready")


def _end_store(pid: int) -> None:
    """The server has ended its store; a server that was killed has not."""
    with contextlib.suppress(OSError):
        if "valkey" in Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(pid, signal.SIGTERM)


@contextlib.contextmanager
def started(
    folder: Path,
    *,
    engine: str = "auto",
    processes: int = 1,
    limit: float = LIMIT,
    **env: str,
) -> Iterator[Server]:
    """Runs `codeq dev` with its state in `folder`, and ends it."""
    grpc_port, http_port, token = free_port(), free_port(), secrets.token_urlsafe(16)
    command = [_CODEQ, "dev", f"--token={token}", "--state-dir", str(folder / "state")]
    command += ["--grpc-port", str(grpc_port), "--http-port", str(http_port)]
    command += ["--processes", str(processes)] if processes > 1 else []
    settings = {"CODEQ_GRPC_ENGINE": engine, **env}
    with Program("codeq dev", command, env=settings, limit=limit, talks=False) as program:
        store_pid = 0
        try:
            _await_ready(f"http://127.0.0.1:{http_port}/readyz", program)
            facts, url = _store(program.pid, folder)
            store_pid = facts["process_id"]
            own = [pid for pid in cpu.children(program.pid) if pid != store_pid]
            yield Server(
                f"127.0.0.1:{grpc_port}", token, url, program.pid, store_pid, [program.pid, *own]
            )
        finally:
            program.end()
            if store_pid:
                _end_store(store_pid)


def _store(pid: int, folder: Path) -> tuple[dict[str, Any], str]:
    """INFO of the embedded store, and its address."""
    paths = list(folder.rglob("*.sock"))
    if len(paths) != 1:
        raise SystemExit(f"the store of process {pid} is not to be found in {folder}")
    url = f"unix://{paths[0]}"
    with redis.Redis.from_url(url) as store:
        return store.info("server"), url
