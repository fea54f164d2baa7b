"""The server under attack: `codeq serve` in front of a store of its own."""

from __future__ import annotations

import contextlib
import hashlib
import json
import resource
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.acceptance.programs import wait_until
from tests.acceptance.servers import Serve
from tests.support.stores import StoreProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.stores import Engine

TOKENS: Final = {"victim": "token.of.victim", "attacker": "token.of.attacker"}
"""By tenant. Both may do everything."""


class Size(NamedTuple):
    """Of a process."""

    rss_mb: float
    peak_mb: float
    fds: int


class Attacked:
    """It runs."""

    def __init__(self, serve: Serve, store: StoreProcess) -> None:
        self.serve = serve
        self.store = store
        self.port = serve.grpc_port
        self.address = serve.address
        self.pid = serve.program.pid

    @property
    def lives(self) -> bool:
        """Whether it has not ended."""
        return self.serve.program.running

    def size(self) -> Size:
        """How much it uses."""
        told = Path(f"/proc/{self.pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in told.splitlines())
        rss, peak = (int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
        return Size(
            round(rss, 1), round(peak, 1), len(list(Path(f"/proc/{self.pid}/fd").iterdir()))
        )

    def forget_peak(self) -> None:
        """The peak begins again at what is used now."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def limit_files(self, most: int) -> None:
        """As `prlimit --nofile`."""
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (most, most))

    def under_way(self) -> dict[str, int]:
        """Calls by kind, as /health/detailed tells; the asking one is a health check itself."""
        page = f"http://127.0.0.1:{self.serve.http_port}/health/detailed"
        with urllib.request.urlopen(page, timeout=10) as response:
            found: dict[str, int] = json.load(response)["under_way"]
        return found

    def is_quiet(self) -> bool:
        """No call is under way but one of the prober, and the one that asks."""
        most = {"calls": 1, "health_checks": 1}
        return all(count <= most.get(kind, 0) for kind, count in self.under_way().items())

    def wait_until_quiet(self, before: Size) -> None:
        """All places are free again, and connections closed."""
        wait_until(self.is_quiet, "the end of all calls")
        # Those who probe and ask open some at times.
        most = before.fds + 16
        wait_until(lambda: self.size().fds <= most, f"no more than {most} open files")


def _entry(tenant: str, token: str) -> dict[str, Any]:
    digest = hashlib.sha256(token.encode()).hexdigest()
    return {"sha256": digest, "subject": tenant, "tenant": tenant, "roles": ["admin"]}


@contextlib.contextmanager
def attacked(engine: Engine, **settings: object) -> Iterator[Attacked]:
    """One while the block runs, with as many files as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    given = {f"CODEQ_{name.upper()}": str(value) for name, value in settings.items()}
    with StoreProcess(engine) as store:
        env = {
            "CODEQ_REDIS_URL": store.url,
            "CODEQ_GRPC_ENGINE": engine.grpc,
            "CODEQ_TOKENS": json.dumps([_entry(*one) for one in TOKENS.items()]),
            "CODEQ_LOG_LEVEL": "warning",
            # Connections to the store stay open: few, or they would hide those that leak.
            "CODEQ_STORE_CONNECTIONS": "8",
            **given,
        }
        with Serve(env) as serve:
            yield Attacked(serve.start(), store)
