"""P2: unary Enqueue, called by h2load, beside a bare grpcio server called the same way."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.machine import store_version
from bench.numbered import payload
from bench.programs import driver
from bench.servers import ENGINES, Server, free_port, started
from bench.session import NotMeasured, Session, median
from bench.tables import Table
from codeq.v1 import codeq_service_pb2 as pb
from codeq_grpc.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CALLS: Final = 20_000
CONNECTIONS: Final = 4
STREAMS: Final = 50
_LIMIT: Final = 60.0
_ENQUEUE: Final = "/codeq.v1.CodeQService/Enqueue"


@dataclass(frozen=True, slots=True)
class Calls:
    """One run: calls a second, calls that did not succeed by HTTP, tasks missing or too many,
    and CPU microseconds a call of the server and its store.
    """

    rate: float
    failed: int
    lost: int
    extra: int
    server: float
    store: float


def _h2load(address: str, path: str, token: str, body: bytes, calls: int) -> tuple[float, int]:
    """Calls a second, and how many were not answered with 200. What gRPC has to say of a call
    stands in a trailer that h2load does not read.
    """
    program = shutil.which("h2load")
    if program is None:
        raise NotMeasured("h2load is not installed: apt-get install nghttp2-client")
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"\0" + len(body).to_bytes(4, "big") + body)
        file.flush()
        headers = (
            "content-type: application/grpc",
            "te: trailers",
            f"authorization: Bearer {token}",
        )
        command = [program, "-n", str(calls), "-c", str(CONNECTIONS), "-m", str(STREAMS)]
        command += [word for header in headers for word in ("-H", header)]
        command += ["-d", file.name, f"http://{address}{path}"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_LIMIT, check=False
            )
        except subprocess.TimeoutExpired:
            raise NotMeasured(f"h2load was not done after {_LIMIT:.0f} s") from None
    rate = re.search(r"finished in [^,]*, ([\d.]+) req/s", done.stdout)
    good = re.search(r"status codes: (\d+) 2xx", done.stdout)
    if done.returncode or rate is None or good is None:
        raise NotMeasured(f"h2load: {(done.stderr or done.stdout).strip()[-300:]}")
    return float(rate.group(1)), calls - int(good.group(1))


def _body(command: str) -> bytes:
    request = pb.EnqueueRequest(task=Client.spec(command, payload(0)))
    return request.SerializeToString()


async def _made(server: Server, command: str) -> int:
    """Tasks that the server has made in this queue."""
    async with Client(server.address, token=server.token) as client:
        queues = (await client.queues([command])).queues
    return sum(queue.enqueued_total for queue in queues if queue.pending == queue.enqueued_total)


def _on_server(session: Session, server: Server, run: int, calls: int) -> Calls:
    command = f"unary-{run}"
    token = "wrong" if session.fault == "damage" else server.token
    given = calls + {"drop": -1, "double": 1}.get(session.fault, 0)
    before = server.cpu_seconds()
    rate, failed = _h2load(server.address, _ENQUEUE, token, _body(command), given)
    after = server.cpu_seconds()
    made = asyncio.run(_made(server, command))
    return Calls(
        rate * min(1.0, made / calls),
        failed,
        max(0, calls - made),
        max(0, made - calls),
        (after[0] - before[0]) * 1e6 / calls,
        (after[1] - before[1]) * 1e6 / calls,
    )


@contextlib.contextmanager
def served(
    session: Session, engine: str, level: str = "D1"
) -> Iterator[Callable[[int, int], Calls]]:
    """A server of its own; calls it so many times in a run of this number."""
    with (
        tempfile.TemporaryDirectory() as folder,
        started(Path(folder), engine=engine, CODEQ_DURABILITY=level) as server,
    ):
        session.store = session.store or store_version(server.store_url)
        yield lambda run, calls: _on_server(session, server, run, calls)


@contextlib.contextmanager
def _echo() -> Iterator[Callable[[int, int], Calls]]:
    """The yardstick."""
    port, body = free_port(), _body("echo")
    with driver("echo", {"port": port}) as echo:
        echo.hear(30)

        def look() -> tuple[int, float]:
            echo.tell("look")
            told = echo.hear(10)
            return told["calls"], told["cpu"]

        def run(_: int, calls: int) -> Calls:
            before = look()
            rate, failed = _h2load(f"127.0.0.1:{port}", _ENQUEUE, "t", body, calls)
            after = look()
            heard, used = after[0] - before[0], after[1] - before[1]
            missing = max(0, calls - heard)
            return Calls(rate, failed, missing, max(0, heard - calls), used * 1e6 / calls, 0.0)

        yield run


def run(session: Session) -> Iterator[Table]:
    """Both engines, and the yardstick."""
    table = Table(
        f"unary (P2): Enqueue from h2load, {CONNECTIONS} connections x {STREAMS} streams,"
        f" one server process; median of {session.runs}",
        (
            *("server", "calls", "calls/s", "x echo", "not 200", "lost", "dup"),
            *("CPU us/call: server", "store"),
        ),
    )
    calls = session.count(CALLS, 1_000)
    yardstick = 0.0
    for engine in ("", *ENGINES):
        name = f"codeQ, {engine}" if engine else "bare grpcio echo"
        session.say(f"unary: {name}")
        count = calls if engine == "native" else calls // 2
        with served(session, engine) if engine else _echo() as measure:
            measure(-1, max(200, count // 10))
            runs = [measure(at, count) for at in range(session.runs)]
        rate = median(one.rate for one in runs)
        yardstick = yardstick or rate
        lost, extra = sum(one.lost for one in runs), sum(one.extra for one in runs)
        failed = sum(one.failed for one in runs)
        table.add(
            *(name, count, rate, rate / yardstick, failed, lost, extra),
            *(median(one.server for one in runs), median(one.store for one in runs)),
        )
        if lost or extra or failed:
            table.faults.append(
                f"{name}: {failed} calls not answered with 200, {lost} tasks"
                f" missing, {extra} too many"
            )
    table.notes.append(
        "lost and dup: tasks in the queue afterwards against calls made, since h2load sees HTTP"
        " codes and not grpc-status; each call with bearer token and a payload of 100 B"
    )
    yield table
