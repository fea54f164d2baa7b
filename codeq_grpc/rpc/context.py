"""What the interceptors tell the servicers about the call being served."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import grpc

    from codeq_grpc.core.principal import Principal

PRINCIPAL: Final[ContextVar[Principal]] = ContextVar("codeq_principal")

_BEFORE_DEADLINE: Final = 0.25
"""Seconds before the client's deadline at which waiting ends, so that the answer still arrives."""


def tenant() -> str:
    """The caller's tenant."""
    return PRINCIPAL.get().tenant


def time_remaining(context: grpc.aio.ServicerContext[Any, Any]) -> float | None:
    """Seconds to the client's deadline, None without one (the stubs say there always is)."""
    remaining: float | None = context.time_remaining()
    return remaining


def wait_seconds(asked_ms: int, context: grpc.aio.ServicerContext[Any, Any]) -> float:
    """How long to wait: as asked, but not up to the client's deadline."""
    asked = asked_ms / 1000
    remaining = time_remaining(context)
    return asked if remaining is None else max(0.0, min(asked, remaining - _BEFORE_DEADLINE))
