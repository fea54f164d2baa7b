"""Who may call one server: verifies credentials, looks after calls, and keeps the audit trail."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from codeq_grpc.auth import api_keys
from codeq_grpc.auth.authenticator import Authenticator
from codeq_grpc.auth.certificates import Certificates
from codeq_grpc.auth.outside import Outside
from codeq_grpc.auth.tokens import Tokens
from codeq_grpc.broker.api_keys import ApiKeys
from codeq_grpc.broker.trail import Trail
from codeq_grpc.core import limits
from codeq_grpc.core.errors import CodeQError
from codeq_grpc.rpc.audit import Auditor
from codeq_grpc.rpc.interceptors import AuthInterceptor
from codeq_grpc.rpc.sessions import Sessions
from codeq_grpc.rpc.tenancy import Tenancy
from codeq_grpc.store.api_keys import ApiKeyStore
from codeq_grpc.store.trail import TrailStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from codeq_grpc.broker.background import Background
    from codeq_grpc.core.quotas import Tenants
    from codeq_grpc.settings import Settings
    from codeq_grpc.store.connection import Connection
    from codeq_grpc.store.registry import Registry


class Callers:
    """All that the settings say of them."""

    def __init__(
        self,
        settings: Settings,
        connection: Connection,
        registry: Registry,
        background: Background,
        tenants: Tenants,
    ) -> None:
        retention_ms = int(settings.audit_retention_days * limits.DAY)
        self.trail = Trail(TrailStore(connection, retention_ms=max(1, retention_ms)), registry)
        self.auditor = Auditor(self.trail, background, everything=settings.audit == "all")
        keys = ApiKeyStore(connection)
        self.api_keys = ApiKeys(keys)
        self._outside = Outside(settings.known_issuers(), settings.lookup())
        # In the order in which they are asked.
        ways = (api_keys.ApiKeys(keys.find, self.api_keys.used), *self._outside.ways)
        authenticator = Authenticator(Tokens(settings.principals()), ways)
        certificates = Certificates.of(settings.certified())
        self.gate = AuthInterceptor(authenticator, Tenancy(tenants), certificates)
        self.sessions = Sessions(authenticator.verify)

    def work(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        """What has to go on while the server runs."""
        return self.api_keys.run, self.sessions.run, self._outside.run, self.trail.run

    async def leave(self) -> None:
        """Writes what is yet to be written."""
        await self.trail.flush()
        with contextlib.suppress(CodeQError):
            await self.api_keys.note()
