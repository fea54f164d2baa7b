"""What one tenant notices of another: calls at a modest rate, alone and beside loads, in turns."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.machine import store_version
from bench.numbered import payload
from bench.programs import Program, driver
from bench.servers import ENGINES, started
from bench.session import NotMeasured, median, quantile
from bench.tables import Table
from codeq.v1 import codeq_service_pb2 as pb
from codeq_grpc.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.servers import Server
    from bench.session import Session

RATE: Final = 25.0
"""Cycles a second of the one whose calls are measured."""
NOISE: Final = 10
SECONDS: Final = 5.0
TURNS: Final = {"": "turns", "1000000": "no turns"}
"""Value of CODEQ_MAX_WORKING -> what that is."""
_BATCH: Final = 1_000
_SETTLED: Final = 1.0
"""Seconds after a load, for the server to be through with what is left of it."""


@dataclass(slots=True)
class _Heard:
    """What the one heard in all phases of a kind: seconds by phase."""

    calls: list[list[float]] = field(default_factory=list)
    cycles: list[list[float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    other: list[float] = field(default_factory=list)
    """Calls a second of the other."""

    def ms(self, what: list[list[float]], share: float) -> float:
        """The median of the phases' quantiles."""
        return median(quantile(one, share) for one in what) * 1_000


class _Tenants:
    """A server, a driver of one tenant and one of another that makes noise."""

    def __init__(
        self, server: Server, tokens: dict[str, str], one: Program, other: Program
    ) -> None:
        self._server = server
        self._tokens = tokens
        self._one, self._other = one, other

    def alone(self, seconds: float) -> tuple[dict[str, Any], float]:
        """Only the one."""
        self._one.tell(f"{RATE} {seconds}")
        return self._one.hear(seconds + 30), 0.0

    def noise(self, seconds: float) -> tuple[dict[str, Any], float]:
        """The same cycles, ten times as many."""
        self._other.tell(f"{RATE * NOISE} {seconds}")
        heard, _ = self.alone(seconds)
        told = self._other.hear(60)
        return heard, len(told["calls"]) / seconds

    def flood(self, seconds: float) -> tuple[dict[str, Any], float]:
        """Enqueue as fast as it goes, 1000 calls in flight."""
        request = pb.EnqueueRequest(task=Client.spec("flood", payload(0)))
        return self._beside("Enqueue", request.SerializeToString(), 20, 50, seconds)

    def batches(self, seconds: float) -> tuple[dict[str, Any], float]:
        """BatchEnqueue of 1000 tasks, 16 calls in flight."""
        tasks = [Client.spec("flood", payload(number)) for number in range(_BATCH)]
        request = pb.BatchEnqueueRequest(tasks=tasks)
        return self._beside("BatchEnqueue", request.SerializeToString(), 4, 4, seconds)

    def _beside(
        self, method: str, body: bytes, connections: int, streams: int, seconds: float
    ) -> tuple[dict[str, Any], float]:
        program = shutil.which("h2load")
        if program is None:
            raise NotMeasured("h2load is not installed: apt-get install nghttp2-client")
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"\0" + len(body).to_bytes(4, "big") + body)
            file.flush()
            headers = (
                "content-type: application/grpc",
                "te: trailers",
                f"authorization: Bearer {self._tokens['other']}",
            )
            command = [program, "-D", str(int(seconds + 1)), "-c", str(connections)]
            command += ["-m", str(streams), "-d", file.name]
            command += [word for header in headers for word in ("-H", header)]
            command.append(f"http://{self._server.address}/codeq.v1.CodeQService/{method}")
            with Program("h2load", command) as flooding:
                heard, _ = self.alone(seconds)
                said = flooding.rest(60)
        found = re.search(r"finished in [^,]*, ([\d.]+) req/s", said)
        if found is None:
            raise NotMeasured(f"h2load: {said.strip()[-300:]}")
        return heard, float(found.group(1))


LOADS: Final[dict[str, Callable[[_Tenants, float], tuple[dict[str, Any], float]]]] = {
    "alone": _Tenants.alone,
    f"{NOISE} x": _Tenants.noise,
    "flood of calls": _Tenants.flood,
    "flood of batches": _Tenants.batches,
}


@contextlib.contextmanager
def _tenants(session: Session, engine: str, working: str) -> Iterator[_Tenants]:
    tokens = {name: secrets.token_urlsafe(16) for name in ("one", "other")}
    entries = [
        {
            "sha256": hashlib.sha256(token.encode()).hexdigest(),
            "subject": "bench",
            "tenant": name,
            "roles": ["admin"],
        }
        for name, token in tokens.items()
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tokens.json").write_text(json.dumps(entries))
        file = str(folder / "tokens.json")
        with (
            started(
                folder, engine=engine, CODEQ_TOKENS_FILE=file, CODEQ_MAX_WORKING=working
            ) as server,
            _cycling(server, tokens["one"], first=True) as one,
            _cycling(server, tokens["other"], first=False) as other,
        ):
            session.store = session.store or store_version(server.store_url)
            one.hear(30)
            other.hear(30)
            yield _Tenants(server, tokens, one, other)


def _cycling(server: Server, token: str, *, first: bool) -> Program:
    job: dict[str, object] = {"address": server.address, "token": token, "command": "cycle"}
    job |= {"connections": 2 if first else 8, "first": first}
    return driver("cycle", job)


def _measure(session: Session, tenants: _Tenants) -> dict[str, _Heard]:
    """Each load beside the one, a phase alone before each."""
    heard = {name: _Heard() for name in LOADS}
    seconds = max(1.0, SECONDS * min(1.0, session.scale))
    names = [name for load in list(LOADS)[1:] for name in ("alone", load)]
    for _ in range(session.runs):
        for name in names:
            told, rate = LOADS[name](tenants, seconds)
            heard[name].calls.append(told["calls"])
            heard[name].cycles.append(told["cycles"])
            heard[name].failures += told["failures"]
            heard[name].other.append(rate)
            tenants.alone(_SETTLED)
    return heard


def run(session: Session) -> Iterator[Table]:
    """Both engines, with and without turns."""
    table = Table(
        f"fairness: a tenant's Enqueue, Claim and Complete, {RATE:g} of each a second, beside"
        f" another's load, ms; median of {session.runs}, in turns with phases alone",
        (
            *("server", "the other", "calls/s", "calls", "p50", "p99", "x alone"),
            *("cycle p50", "p99", "x alone", "failed"),
        ),
    )
    for engine in ENGINES:
        for working, name in TURNS.items():
            session.say(f"fairness: {engine}, {name}")
            with _tenants(session, engine, working) as tenants:
                found = _measure(session, tenants)
            for load, heard in found.items():
                _row(table, f"{engine}, {name}", load, heard, found["alone"])
    table.notes.append(
        "calls/s of the other; a cycle counts from when it was due; x alone: of the p99 alone,"
        f" in the same run; 10 x: the same cycles, flood: Enqueue, 1000 in flight, and BatchEnqueue"
        f" of {_BATCH} tasks, 16 in flight"
    )
    yield table


def _row(table: Table, server: str, load: str, heard: _Heard, alone: _Heard) -> None:
    calls, cycles = heard.ms(heard.calls, 0.99), heard.ms(heard.cycles, 0.99)
    table.add(
        *(server, load, median(heard.other) or None, sum(map(len, heard.calls))),
        *(heard.ms(heard.calls, 0.5), calls, calls / alone.ms(alone.calls, 0.99)),
        *(heard.ms(heard.cycles, 0.5), cycles, cycles / alone.ms(alone.cycles, 0.99)),
        len(heard.failures),
    )
    if heard.failures:
        table.faults.append(f"{server}, {load}: {sorted(set(heard.failures))}")
