"""Tenants and what they may have, as people write it in settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from codeq_grpc.core.quotas import Quotas
from codeq_grpc.identity_settings import Entry, check_tenant

if TYPE_CHECKING:
    from collections.abc import Mapping


class QuotasEntry(Entry):
    """What one tenant may have; what is not set has no limit of its own."""

    queues: int | None = Field(default=None, ge=1)
    backlog: int | None = Field(default=None, ge=1)
    payload_bytes: int | None = Field(default=None, ge=1)
    streams: int | None = Field(default=None, ge=1)
    watches: int | None = Field(default=None, ge=1)
    calls_per_second: int | None = Field(default=None, ge=1, le=1_000_000)
    schedules: int | None = Field(default=None, ge=1)
    schedules_per_creator: int | None = Field(default=None, ge=1)

    def quotas(self) -> Quotas:
        """The same for the server."""
        return Quotas(**self.model_dump())


def read_tenants(value: Any) -> Any:
    """A name with nothing behind it, as YAML allows, is a tenant without quotas."""
    if not isinstance(value, dict):
        return value
    return {name: {} if entry is None else entry for name, entry in value.items()}


def check_tenants(
    tenants: Mapping[str, QuotasEntry], others: QuotasEntry, *, strict: bool, payload_bytes: int
) -> None:
    """Raises ValueError that names what is wrong."""
    for name in tenants:
        try:
            check_tenant(name)
        except ValueError as error:
            message = f"tenants: {name!r} {error}"
            raise ValueError(message) from None
    entries = {f"tenants.{name}": entry for name, entry in tenants.items()}
    for place, entry in {**entries, "tenant_defaults": others}.items():
        if (entry.payload_bytes or 0) > payload_bytes:
            message = f"{place}.payload_bytes: at most max_payload_bytes, which is {payload_bytes}"
            raise ValueError(message)
    if strict and not tenants:
        raise ValueError("strict_tenants: needs tenants, or nobody may call")
