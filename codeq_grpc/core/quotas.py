"""What tenants may have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from codeq_grpc.core.errors import TenantUnknown

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """Of one tenant; None for as much as there is.

    Queues, and tasks that have not ended in all of them; bytes of a payload; open streams, open
    watches and calls a second of each server; schedules, and those that one principal has made.
    """

    queues: int | None = None
    backlog: int | None = None
    payload_bytes: int | None = None
    streams: int | None = None
    watches: int | None = None
    calls_per_second: int | None = None
    schedules: int | None = None
    schedules_per_creator: int | None = None


_ANYTHING: Final = Quotas()


class Tenants:
    """Those that are named have their own quotas, and all `others` the same; if `strict`, there are
    no others.
    """

    def __init__(
        self,
        named: Mapping[str, Quotas] | None = None,
        others: Quotas = _ANYTHING,
        *,
        strict: bool = False,
    ) -> None:
        self._named = dict(named or {})
        self._others = others
        self._strict = strict

    def of(self, tenant: str) -> Quotas:
        """What a tenant may have."""
        return self._named.get(tenant, self._others)

    def check(self, tenant: str) -> None:
        """Raises TenantUnknown."""
        if self._strict and tenant not in self._named:
            raise TenantUnknown(metadata={"tenant": tenant})


EVERYBODY: Final = Tenants()
"""Any tenant, and as much as it likes."""
