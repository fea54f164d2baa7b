"""Whether a verified caller's tenant is served here, and how many calls a second it may make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from codeq_grpc.core.clock import monotonic
from codeq_grpc.core.errors import QuotaExceeded

if TYPE_CHECKING:
    from codeq_grpc.core.quotas import Tenants

_KEPT: Final = 4_096
"""Tenants that are remembered before those whose calls were long ago are forgotten."""
_LITTLE: Final = 1e-6
_LEAST: Final = 0.01
"""Seconds to come again after, at least."""


class Tenancy:
    """Lets calls of tenants in. Of a tenant with so many calls a second, a second's worth at once,
    and then one at a time.
    """

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants
        self._ahead: dict[str, float] = {}
        """When calls at the rate that is allowed would have come, the latest of them."""

    def admit(self, tenant: str) -> None:
        """Raises TenantUnknown or QuotaExceeded."""
        self._tenants.check(tenant)
        rate = self._tenants.of(tenant).calls_per_second
        if rate is None:
            return
        now = monotonic()
        following = max(now, self._ahead.get(tenant, 0.0)) + 1 / rate
        early = following - now - 1.0
        if early > _LITTLE:
            raise QuotaExceeded.of("calls_per_second", rate, retry_after=max(early, _LEAST))
        if len(self._ahead) >= _KEPT:
            self._ahead = {name: at for name, at in self._ahead.items() if at > now}
        self._ahead[tenant] = following
