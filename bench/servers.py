"""A server of one's own for a measurement."""

from __future__ import annotations

import contextlib
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator


_START: Final = 30.0
_STOP: Final = 30.0


@dataclass(frozen=True, slots=True)
class Server:
    """Where it listens, its token, and where its store is."""

    address: str
    token: str
    store_url: str


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _await_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"the server ended with {process.returncode}")
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1):
            return
        time.sleep(0.1)
    raise SystemExit("the server did not become ready")


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Server]:
    """Runs `codeq dev` with its state in `folder`, and ends it."""
    grpc_port, http_port, token = _free_port(), _free_port(), secrets.token_urlsafe(16)
    command = [str(Path(sys.executable).with_name("codeq")), "dev", "--token", token]
    command += ["--grpc-port", str(grpc_port), "--http-port", str(http_port)]
    command += ["--state-dir", str(folder / "state")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _await_ready(f"http://127.0.0.1:{http_port}/readyz", process)
        (store,) = folder.rglob("*.sock")
        yield Server(f"127.0.0.1:{grpc_port}", token, f"unix://{store}")
    finally:
        process.terminate()
        process.wait(_STOP)
