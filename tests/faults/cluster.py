"""What is attacked: one store, two servers on it, and a proxy on every way between them.

clients ── gate ──► server ── link ──► store
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from codeq_grpc.store.keys import Queue
from tests.acceptance.programs import wait_until
from tests.acceptance.servers import Serve, is_ready
from tests.faults.proxy import Proxy
from tests.support.admin import Admin
from tests.support.consistency import inconsistencies
from tests.support.snapshot import take_snapshot
from tests.support.stores import StoreProcess

if TYPE_CHECKING:
    from types import TracebackType

    from tests.support.stores import Engine

TOKEN: Final = "faults.admin.token"
RIVAL: Final = "faults.rival.token"
_TENANTS: Final = {TOKEN: "acme", RIVAL: "rival"}
_SERVERS: Final = 2
_HOST: Final = "127.0.0.1"
_ROOT: Final = Path(__file__).parents[2]
_INJECTED: Final = Path(__file__).parent / "injected"
"""What servers import at their start, so that a test can block their event loop."""


def tokens() -> str:
    """Credentials of an admin of each tenant, as CODEQ_TOKENS takes them."""
    entries = [
        {
            "sha256": hashlib.sha256(token.encode()).hexdigest(),
            "subject": "faults",
            "tenant": tenant,
            "roles": ["admin"],
        }
        for token, tenant in _TENANTS.items()
    ]
    return json.dumps(entries)


class Cluster:
    """Runs while the `async with` block does."""

    def __init__(self, engine: Engine, *, seed: int = 0) -> None:
        self.store = StoreProcess(engine, aof=True)
        self._folder = Path(tempfile.mkdtemp(prefix="codeq-"))
        ways = [str(self._folder / f"l{i}") for i in range(_SERVERS)]
        self.links = [Proxy(way, self.store.socket_path, seed + i) for i, way in enumerate(ways)]
        paths = (_INJECTED, _ROOT, _ROOT / "generated")
        self.servers = [
            Serve(
                {
                    "CODEQ_REDIS_URL": f"unix://{way}",
                    "CODEQ_TOKENS": tokens(),
                    "CODEQ_GRPC_ENGINE": engine.grpc,
                    "CODEQ_STORE_TIMEOUT_SECONDS": "2",
                    "CODEQ_DRAIN_SECONDS": "5",
                    "PYTHONPATH": os.pathsep.join(map(str, paths)),
                }
            )
            for way in ways
        ]
        self.gates = [
            Proxy((_HOST, 0), (_HOST, server.grpc_port), seed + 10 + i)
            for i, server in enumerate(self.servers)
        ]

    @property
    def addresses(self) -> list[str]:
        """Of the gates, once it runs."""
        return [gate.address for gate in self.gates]

    async def heal(self) -> None:
        """All runs and nothing stands between: whatever was done is undone."""
        for proxy in (*self.links, *self.gates):
            proxy.clear()
        with contextlib.suppress(ProcessLookupError, AssertionError):
            self.store.resume()
        await self.ensure_store()
        for server in self.servers:
            await self.ensure(server)

    async def ensure_store(self) -> None:
        """It runs."""
        if not self.store.running:
            await asyncio.to_thread(self.store.restart)

    async def ensure(self, server: Serve) -> None:
        """This server runs and is ready."""
        if not server.programs or not server.program.running:
            await asyncio.to_thread(server.start)
        else:
            what = f"readiness of {server.address}"
            await asyncio.to_thread(wait_until, lambda: is_ready(server.http_port), what)

    def admin(self) -> Admin:
        """A connection to the store that no proxy sees."""
        return Admin(self.store.socket_path)

    def inconsistencies(self, command: str) -> list[str]:
        """What is wrong with a queue in the store."""
        queue = Queue("acme", command)
        with self.admin() as admin:
            seconds, micros = admin.call("TIME")
            now_ms = int(seconds) * 1000 + int(micros) // 1000
            return inconsistencies(take_snapshot(admin, queue), now_ms)

    async def __aenter__(self) -> Self:
        try:
            await asyncio.to_thread(self.store.start)
            for proxy in (*self.links, *self.gates):
                await proxy.start()
            async with asyncio.TaskGroup() as group:
                for server in self.servers:
                    group.create_task(asyncio.to_thread(server.start))
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        for server in self.servers:
            await asyncio.to_thread(server.close)
        for proxy in (*self.links, *self.gates):
            await proxy.close()
        await asyncio.to_thread(self.store.close)
        shutil.rmtree(self._folder)
