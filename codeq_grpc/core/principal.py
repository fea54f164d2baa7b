"""Who calls, and what that caller may do."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

TENANT_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""Tenants stand in key names and log lines, hence the narrow alphabet."""


class Scope(enum.StrEnum):
    """A right. RPCs ask for one each (`codeq_grpc.auth.permissions`)."""

    TASKS_ENQUEUE = "tasks.enqueue"
    TASKS_READ = "tasks.read"
    TASKS_CANCEL = "tasks.cancel"
    LEASES_CLAIM = "leases.claim"
    QUEUES_READ = "queues.read"
    QUEUES_ADMIN = "queues.admin"


ROLES: Final[dict[str, frozenset[Scope]]] = {
    "producer": frozenset({Scope.TASKS_ENQUEUE, Scope.TASKS_READ, Scope.TASKS_CANCEL}),
    "worker": frozenset({Scope.LEASES_CLAIM, Scope.TASKS_READ}),
    "viewer": frozenset({Scope.TASKS_READ, Scope.QUEUES_READ}),
    "admin": frozenset(Scope),
}
"""Role -> scopes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A verified caller. Tenant and scopes come from the credential, never from headers."""

    subject: str
    tenant: str
    scopes: frozenset[Scope]
