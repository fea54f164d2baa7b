"""Which workers are connected, here and to other servers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from codeq_grpc.core.clock import monotonic, now
from codeq_grpc.core.errors import CodeQError
from codeq_grpc.core.principal import Reach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from codeq_grpc.store.presence import PresenceStore

_log = logging.getLogger(__name__)
_EVERY: Final = 2.0
"""Seconds between reports to the other servers, if there is something new."""
_AGAIN: Final = 5.0
"""Seconds after which a report is repeated, so that it is not forgotten."""
_RECENT: Final = 60.0
"""Seconds for which a worker that called Claim counts as live."""
_CLAIMER_BYTES: Final = 2 << 20
"""Of claimers remembered, all tenants together; the oldest go first. Names may be so long that
10,000 claimers would be 57 MB, which each server packs every few seconds."""
_OVERHEAD: Final = 128
"""Bytes of a claimer besides its names."""


@dataclass(slots=True, kw_only=True)
class Worker:
    """One worker; `connected_ms` by this server's clock, in Unix ms."""

    tenant: str
    worker_id: str
    commands: Sequence[str]
    peer: str
    connected_ms: int
    in_progress: int = 0
    max_outstanding: int = 0
    idle: int = 0
    seen_at: float = 0.0
    server_id: str = ""


class Stream(Protocol):
    """An open stream."""

    def worker(self) -> Worker:
        """Who reads it, and what that one holds now."""


def now_ms() -> int:
    """For people; nothing is decided by it."""
    return int(now().timestamp() * 1000)


class Presence:
    """Workers of this server, told to the others every few seconds."""

    def __init__(
        self, store: PresenceStore, server: str, streams: Callable[[], Iterable[Stream]]
    ) -> None:
        self._store = store
        self._server = server
        self._streams = streams
        self._claimers: dict[tuple[str, str], Worker] = {}
        self._claimer_bytes = 0
        self._told: dict[str, tuple[bytes, float]] = {}

    @contextlib.contextmanager
    def claiming(
        self, tenant: str, worker_id: str, commands: Sequence[str], peer: str, idle: int
    ) -> Iterator[None]:
        """A worker calls Claim, and could take `idle` tasks meanwhile."""
        key = tenant, worker_id
        worker = self._forget(key) or Worker(
            tenant=tenant,
            worker_id=worker_id,
            commands=commands,
            peer=peer,
            connected_ms=now_ms(),
        )
        worker.commands, worker.peer = commands, peer
        self._claimers[key] = worker
        self._claimer_bytes += _size(worker)
        while self._claimer_bytes > _CLAIMER_BYTES:
            self._forget(next(iter(self._claimers)))
        worker.idle += idle
        try:
            yield
        finally:
            worker.idle -= idle
            worker.seen_at = monotonic()

    def _forget(self, key: tuple[str, str]) -> Worker | None:
        worker = self._claimers.pop(key, None)
        if worker is not None:
            self._claimer_bytes -= _size(worker)
        return worker

    async def run(self) -> None:
        """Tells the other servers, for ever."""
        while True:
            try:
                await self.tick()
            except CodeQError as error:
                _log.warning("cannot tell of workers: %s", error)
            await asyncio.sleep(_EVERY)

    async def tick(self) -> None:
        """Tells what is new, or was told long ago."""
        reports = {tenant: _pack(workers) for tenant, workers in self._by_tenant().items()}
        for tenant in self._told.keys() | reports.keys():
            report = reports.get(tenant, b"")
            told, at = self._told.get(tenant, (b"", 0.0))
            if report != told or (report and monotonic() - at > _AGAIN):
                await self._store.tell(tenant, self._server, report)
                self._told[tenant] = report, monotonic()
            if not report:
                self._told.pop(tenant, None)

    async def leave(self) -> None:
        """Takes back what was told."""
        for tenant in list(self._told):
            await self._store.tell(tenant, self._server, b"")

    def _by_tenant(self) -> dict[str, list[Worker]]:
        before = monotonic() - _RECENT
        for key in [k for k, w in self._claimers.items() if w.seen_at < before and not w.idle]:
            self._forget(key)
        found: dict[str, list[Worker]] = {}
        streaming = [stream.worker() for stream in self._streams()]
        for worker in [*streaming, *self._claimers.values()]:
            found.setdefault(worker.tenant, []).append(worker)
        return found

    async def workers(self, reach: Reach, command: str) -> list[Worker]:
        """Live workers that serve a queue, or any within reach, without their others; by name."""
        tenant = reach.tenant
        reports = await self._store.read(tenant)
        found = [
            worker
            for server, report in reports.items()
            if server != self._server
            for worker in _unpack(tenant, server, report)
        ]
        for worker in self._by_tenant().get(tenant, ()):
            worker.server_id = self._server
            found.append(worker)
        if command:
            found = [worker for worker in found if command in worker.commands]
        if reach.patterns:
            seen = [(worker, [c for c in worker.commands if reach.has(c)]) for worker in found]
            found = [replace(worker, commands=commands) for worker, commands in seen if commands]
        return sorted(found, key=lambda worker: (worker.worker_id, worker.connected_ms))

    async def idle_credit(self, tenant: str) -> dict[str, int]:
        """Command -> tasks that waiting workers could take."""
        credit: dict[str, int] = {}
        for worker in await self.workers(Reach(tenant), ""):
            for command in worker.commands:
                credit[command] = credit.get(command, 0) + worker.idle
        return credit


def _size(worker: Worker) -> int:
    return _OVERHEAD + len(worker.worker_id.encode()) + sum(map(len, worker.commands))


_FIELDS: Final = (
    *("worker_id", "commands", "peer", "connected_ms"),
    *("in_progress", "max_outstanding", "idle"),
)


def _pack(workers: Iterable[Worker]) -> bytes:
    rows = [[getattr(worker, name) for name in _FIELDS] for worker in workers]
    return json.dumps(rows, separators=(",", ":"), ensure_ascii=False).encode()


def _unpack(tenant: str, server: str, report: bytes) -> list[Worker]:
    rows: list[list[Any]] = json.loads(report)
    return [
        Worker(tenant=tenant, server_id=server, **dict(zip(_FIELDS, row, strict=True)))
        for row in rows
    ]
