"""What servers tell each other of the workers connected to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq_grpc.store import scripts
from codeq_grpc.store.keys import live_key

if TYPE_CHECKING:
    from codeq_grpc.store.connection import Connection


class PresenceStore:
    """One report a server and tenant; forgotten 15 s after it was told last."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def tell(self, tenant: str, server: str, report: bytes) -> None:
        """Replaces the server's report; empty takes it back."""
        await self._connection.run(scripts.PRESENT, [live_key(tenant)], (server, report))

    async def read(self, tenant: str) -> dict[str, bytes]:
        """Server -> its report."""
        it = iter((await self._connection.run(scripts.PRESENCE, [live_key(tenant)], ()))[1:])
        return {server.decode(): report for server, report in zip(it, it, strict=True)}
