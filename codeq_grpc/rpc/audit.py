"""Every change by an operator and every denial gets one event in its tenant's audit trail.

The handlers of audited methods are wrapped, and no others: what came of a call is written when it
is done and before it is answered. What other calls end with goes through `Auditor.ended`, which
whoever answers an error calls: denials, and audited calls that did not come to their handler or
were interrupted there. So no method that is not audited is slower for it.

All this is within the interceptor that waits for durability: its wait is for the event too.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import grpc

from codeq_grpc.core.audit import Event, Stream
from codeq_grpc.core.errors import (
    CodeQError,
    CommandForbidden,
    CredentialExpired,
    StoreUnavailable,
    TenantUnknown,
)
from codeq_grpc.logs import REQUEST_ID
from codeq_grpc.rpc.audited import AUDITED, Audited, When
from codeq_grpc.rpc.context import PRINCIPAL
from codeq_grpc.wire.errors import CODES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from codeq_grpc.broker.background import Background
    from codeq_grpc.broker.trail import Trail
    from codeq_grpc.core.principal import Principal

    Context = grpc.aio.ServicerContext[Any, Any]

_log = logging.getLogger(__name__)
T = TypeVar("T")
_DENIALS: Final = frozenset({grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED})
_NOTHING: Final = Audited(When.DENIALS)


class _About:
    """An audited call that has come to its handler."""

    __slots__ = ("request", "written")

    def __init__(self, request: Any) -> None:
        self.request = request
        self.written = False


_ABOUT: Final[ContextVar[_About]] = ContextVar("codeq_about")


class Auditor:
    """Makes events of calls. `everything` are calls of producers and workers too."""

    def __init__(self, trail: Trail, background: Background, *, everything: bool) -> None:
        self._trail = trail
        self._background = background
        self._when = {When.ALWAYS, *([When.DATA] if everything else ())}

    def audits(self, method: str) -> bool:
        """Whether every call of a method has an event."""
        return AUDITED.get(method, _NOTHING).when in self._when

    def ended(self, method: str, request_id: str, peer: str, error: CodeQError | None) -> None:
        """A call is about to be answered with an error, or its caller left: None."""
        about = _ABOUT.get(None)
        who = PRINCIPAL.get(None)
        if who is None and isinstance(error, CredentialExpired):
            who = error.who
        # Without a tenant that is served it is for the log; one that is written has its event.
        if who is None or isinstance(error, TenantUnknown) or (about and about.written):
            return
        if error is not None and _is_denial(error):
            self.denied(who, method, request_id, peer, error)
        elif about is not None:
            # The change may be made all the same.
            event = _event(who, method, request_id, peer, error, _told(method, about, None))
            self._write_soon(who, method, event)
        elif error is not None and self.audits(method):
            self._trail.deny(who.tenant, _event(who, method, request_id, peer, error, ""))

    def denied(
        self, who: Principal, method: str, request_id: str, peer: str, error: CodeQError
    ) -> None:
        """Somebody was denied something, be it a part of a call."""
        event = _event(who, method, request_id, peer, error, _forbidden(error))
        self._trail.deny(who.tenant, event)

    async def done(
        self,
        method: str,
        request_id: str,
        peer: str,
        about: _About,
        outcome: CodeQError | object,
    ) -> None:
        """A call has done its work; returns when its event is written, or cannot be."""
        who = PRINCIPAL.get()
        error = outcome if isinstance(outcome, CodeQError) else None
        told = _told(method, about, None if error else outcome)
        event = _event(who, method, request_id, peer, error, told)
        if error is None:
            event = event._replace(outcome="OK", reason=_reason(about.request))
        about.written, about.request = True, None  # it may be large, and is done with
        writing = self._write_soon(who, method, event)
        # An answer that comes late enough is not to wait for the same store once more.
        if not isinstance(error, StoreUnavailable):
            # Whoever leaves now leaves the event behind.
            await asyncio.shield(writing)

    def _write_soon(self, who: Principal, method: str, event: Event) -> asyncio.Task[None]:
        always = AUDITED[method].when is When.ALWAYS
        stream = Stream.CHANGES if always else Stream.CALLS
        return self._background.spawn(self._trail.write(who.tenant, stream, [event]))


def _is_denial(error: CodeQError) -> bool:
    return CODES[type(error)] in _DENIALS


def _forbidden(error: CodeQError) -> str:
    return error.metadata.get("command", "") if isinstance(error, CommandForbidden) else ""


def _told(method: str, about: _About, response: Any) -> str:
    try:
        return AUDITED[method].tell(about.request, response)
    except Exception:  # noqa: BLE001 - logged in full; an event says less then
        _log.exception("an audited call could not be told of", extra={"method": method})
        return ""


def _reason(request: Any) -> str:
    return str(getattr(request, "reason", ""))


def _event(
    who: Principal,
    method: str,
    request_id: str,
    peer: str,
    error: CodeQError | None,
    told: str,
) -> Event:
    return Event(
        subject=who.subject,
        action=method.removeprefix("/").removeprefix("codeq.v1."),
        object=told,
        outcome=CODES[type(error)].name if error is not None else "CANCELLED",
        request_id=request_id,
        reason=error.reason if error is not None else "",
        credential=who.credential,
        peer=peer,
    )


def audited(servicer: T, service: str, auditor: Auditor) -> T:
    """The servicer with its audited methods wrapped, once and for all: an interceptor would be
    asked about every call of the others, too.
    """
    return cast("T", _AuditedServicer(servicer, service, auditor))


class _AuditedServicer:
    def __init__(self, servicer: Any, service: str, auditor: Auditor) -> None:
        self._servicer = servicer
        self._service = service
        self._auditor = auditor

    def __getattr__(self, name: str) -> Any:
        behaviour = getattr(self._servicer, name)
        method = f"/{self._service}/{name}"
        return self._wrap(method, behaviour) if self._auditor.audits(method) else behaviour

    def _wrap(self, method: str, behaviour: Any) -> Callable[[Any, Context], Awaitable[Any]]:
        auditor = self._auditor

        async def serve(request: Any, context: Context) -> Any:
            about = _About(request)
            _ABOUT.set(about)
            request_id, peer = REQUEST_ID.get(), context.peer()
            try:
                response = await behaviour(request, context)
            except CodeQError as error:
                if not _is_denial(error):
                    await auditor.done(method, request_id, peer, about, error)
                raise
            await auditor.done(method, request_id, peer, about, response)
            return response

        return serve
