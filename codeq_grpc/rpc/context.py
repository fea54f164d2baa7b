"""What the interceptors tell the servicers about the call being served."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from codeq_grpc.core.errors import CommandForbidden

if TYPE_CHECKING:
    import grpc

    from codeq_grpc.auth.credentials import Credential
    from codeq_grpc.core.principal import Principal, Reach

PRINCIPAL: Final[ContextVar[Principal]] = ContextVar("codeq_principal")
CREDENTIAL: Final[ContextVar[Credential]] = ContextVar("codeq_credential")
"""What the caller showed, if it may end before the server does."""

FORBIDDEN: Final[ContextVar[CommandForbidden]] = ContextVar("codeq_forbidden")
"""What the caller was denied of a call that is OK otherwise."""

CALL: Final[ContextVar[Any]] = ContextVar("codeq_call")
"""The call itself, as the interceptors have it."""

_BEFORE_DEADLINE: Final = 0.25
"""Seconds before the client's deadline at which waiting ends, so that the answer still arrives."""


def tenant() -> str:
    """The caller's tenant."""
    return PRINCIPAL.get().tenant


def reach() -> Reach:
    """What the caller sees."""
    return PRINCIPAL.get().reach


def permit(*commands: str) -> None:
    """Raises CommandForbidden for the first command that is beyond the caller's reach."""
    allowed = PRINCIPAL.get().reach
    if allowed.patterns:
        for command in commands:
            if not allowed.has(command):
                raise CommandForbidden.of(command)


def rest() -> None:
    """The call is about to wait for something: others may work meanwhile."""
    call = CALL.get(None)
    if call is not None:
        call.rest()


def time_remaining(context: grpc.aio.ServicerContext[Any, Any]) -> float | None:
    """Seconds to the client's deadline, None without one (the stubs say there always is)."""
    remaining: float | None = context.time_remaining()
    return remaining


def wait_seconds(asked_ms: int, context: grpc.aio.ServicerContext[Any, Any]) -> float:
    """How long to wait: as asked, but not up to the client's deadline."""
    asked = asked_ms / 1000
    remaining = time_remaining(context)
    return asked if remaining is None else max(0.0, min(asked, remaining - _BEFORE_DEADLINE))
