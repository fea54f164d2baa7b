"""Errors outermost, then authentication. Only the error interceptor aborts calls."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import re
import secrets
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import grpc

from codeq_grpc.auth.authenticator import needed_by
from codeq_grpc.auth.credentials import shows_credential
from codeq_grpc.auth.permissions import PERMISSIONS, Access
from codeq_grpc.core import limits
from codeq_grpc.core.clock import monotonic
from codeq_grpc.core.errors import (
    CodeQError,
    CredentialExpired,
    CredentialInvalid,
    CredentialMissing,
    Draining,
    MalformedMessage,
    ScopeMissing,
    StoreUnavailable,
    TooManyFailures,
)
from codeq_grpc.logs import REQUEST_ID
from codeq_grpc.rpc.admission import UNKNOWN_METHOD, admit, admit_certified
from codeq_grpc.rpc.arrivals import Arrivals
from codeq_grpc.rpc.budgets import address_of
from codeq_grpc.rpc.context import CREDENTIAL, FORBIDDEN, PRINCIPAL, time_remaining
from codeq_grpc.wire.errors import DETAILS_KEY, to_status

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Container

    from codeq_grpc.auth.authenticator import Authenticator
    from codeq_grpc.auth.certificates import Certificates
    from codeq_grpc.rpc.audit import Auditor
    from codeq_grpc.rpc.budgets import Budget, Budgets, Failures
    from codeq_grpc.rpc.room import Share
    from codeq_grpc.rpc.sessions import Ending, Sessions
    from codeq_grpc.rpc.tenancy import Tenancy

    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]

_log = logging.getLogger(__name__)
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_CALL_TIME: Final = limits.WAIT_MAX_MS / 1000 + 15
"""Seconds after which a unary call ends, whatever the client's deadline."""
_ANSWER_TIME: Final = 0.1
"""Seconds kept of the client's deadline, a fifth of it at most, to answer that the store did
not."""


class _Malformed:
    """Stands for a request that could not be parsed: grpc would answer UNKNOWN by itself."""


_MALFORMED: Final = _Malformed()


def _tolerant(parse: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    if parse is None:
        return None

    def deserialize(raw: bytes) -> Any:
        _CALL.get().came(len(raw))
        try:
            return parse(raw)
        except Exception:  # noqa: BLE001 - whatever the parser objects to
            return _MALFORMED

    return deserialize


def request_id_of(details: grpc.HandlerCallDetails) -> str:
    """The caller's request id if it is a harmless text, or a new one."""
    for key, value in details.invocation_metadata or ():
        if key == "x-request-id" and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
            return value
    return secrets.token_hex(8)


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Turns every exception into a status with details, and bounds calls: how many are under way,
    how long a request may take to come and a unary call in all.

    `eager` are methods of which the engine reads the request before it asks anybody.
    """

    def __init__(
        self,
        budgets: Budgets,
        failures: Failures,
        sessions: Sessions,
        auditor: Auditor,
        *,
        eager: Container[str] = (),
    ) -> None:
        self._budgets = budgets
        self._sessions = sessions
        self._auditor = auditor
        self._failures = failures
        self._arrivals = Arrivals()
        self._eager = eager
        self._wrapped: dict[str, tuple[Handler, Handler]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wraps the handler; a refusal by an inner interceptor becomes a handler that aborts."""
        method = handler_call_details.method
        budget, request_id = self._budgets.of(method), request_id_of(handler_call_details)
        call = _Call(method, request_id, budget, self._sessions, self._failures, self._auditor)
        REQUEST_ID.set(request_id)
        _CALL.set(call)
        try:
            handler = await continuation(handler_call_details)
        except CodeQError as error:
            return self._refusing(call, error)
        if handler is None:
            return None
        name = method if handler is not UNKNOWN_METHOD else ""
        known = self._wrapped.get(name)
        if known is None or known[0] is not handler:
            arrivals = None if method in self._eager else self._arrivals
            known = self._wrapped[name] = (handler, _wrapped(handler, arrivals))
        return known[1]

    def _refusing(self, call: _Call, error: CodeQError) -> Handler:
        async def refuse(_: Any, context: Context) -> None:
            answer = error
            if isinstance(error, CredentialMissing | CredentialInvalid | CredentialExpired):
                answer = self._failures.count(address_of(context.peer()), error)
            await call.abort(context, answer, told=error)

        # Without waiting for a request, which an attacker never sends. Where the engine has read
        # it already, a unary handler fits every kind of method.
        streaming = call.method not in self._eager
        return _HANDLERS[streaming, streaming](refuse)


_HANDLERS: Final[dict[tuple[bool, bool], Callable[..., Handler]]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
"""By whether there are streams of requests and of responses."""


def _wrapped(handler: Handler, arrivals: Arrivals | None) -> Handler:
    """With `arrivals`, the handler is called when the headers are there: grpcio would else wait for
    the single request first, as long as the caller likes, and ask nobody.
    """
    behaviour: Any = handler.unary_unary or handler.unary_stream or handler.stream_stream
    timed = not handler.response_streaming
    single = None if handler.request_streaming else arrivals

    async def serve(request: Any, context: Context) -> Any:
        work = behaviour if timed else sending
        try:
            return await _CALL.get().serve(work, request, context, single, timed=timed)
        except grpc.aio.AbortError as aborted:
            # gRPC keeps it with the call, in a cycle: with all that was refused, request included.
            aborted.__context__ = None
            raise aborted.with_traceback(None) from None

    async def sending(request: Any, context: Context) -> None:
        if handler.request_streaming:
            share = _CALL.get().share
            coming = arrivals.read_all(context, share) if arrivals and share else request
            request = _well_formed(coming)
        if inspect.isasyncgenfunction(behaviour):
            async for message in behaviour(request, context):
                await context.write(message)
        else:
            await behaviour(request, context)

    streaming = handler.request_streaming or arrivals is not None
    make = _HANDLERS[streaming, handler.response_streaming]
    parse = _tolerant(handler.request_deserializer)
    return make(serve, parse, _ready_or(handler.response_serializer))


def _ready_or(serialize: Callable[[Any], bytes] | None) -> Callable[[Any], bytes] | None:
    """Responses of the hot path come as bytes already."""
    if serialize is None:
        return None
    return lambda message: message if type(message) is bytes else serialize(message)


def _check_parsed(request: Any) -> None:
    if request is _MALFORMED:
        raise MalformedMessage


async def _well_formed(requests: AsyncIterable[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        _check_parsed(request)
        yield request


def _is_cancelled() -> bool:
    """Whether it is this task that shall end. Not in line: a frame that knows its own task would
    keep all that the call had, its request above all, until Python looks for cycles.
    """
    task = asyncio.current_task()
    return task is not None and bool(task.cancelling())


class _Call:
    """One call on its way through the server."""

    def __init__(
        self,
        method: str,
        request_id: str,
        budget: Budget,
        sessions: Sessions,
        failures: Failures,
        auditor: Auditor,
    ) -> None:
        self.method = method
        self.request_id = request_id
        self.share: Share | None = None
        self.identify: Callable[[Context], None] | None = None
        """What is left of the authentication, where that needs the connection."""
        self._budget = budget
        self._sessions = sessions
        self._auditor = auditor
        self._failures = failures
        self._began = monotonic()
        self._ending: Ending | None = None

    def came(self, size: int) -> None:
        """Its request is there, of so many bytes."""
        if self.share is not None:
            self.share.came(size)

    async def serve(
        self,
        behaviour: Any,
        request: Any,
        context: Context,
        arrivals: Arrivals | None,
        *,
        timed: bool,
    ) -> Any:
        """Runs the behaviour; whatever it raises becomes a status. With `arrivals` the request is
        still to come.
        """
        context.set_trailing_metadata((("x-request-id", self.request_id),))
        try:
            share = self._enter(context)
            if arrivals is not None:
                request = await arrivals.read(context, share)
            _check_parsed(request)
            async with asyncio.timeout(self._limit(context) if timed else None) as limit:
                credential = CREDENTIAL.get(None)
                if credential is None:
                    result = await behaviour(request, context)
                else:
                    with self._sessions.during(credential, PRINCIPAL.get(), limit) as self._ending:
                        result = await behaviour(request, context)
        except CodeQError as error:
            await self.abort(context, error)
        except TimeoutError:
            late = StoreUnavailable("the store did not answer in time")
            await self.abort(context, (self._ending and self._ending.error) or late)
        except grpc.aio.AbortError:
            raise
        except asyncio.CancelledError:
            if _is_cancelled():
                self._log(logging.DEBUG, "CANCELLED")
                self._auditor.ended(self.method, self.request_id, context.peer(), None)
                raise
            # Not the peer: something inside was cancelled. grpc would send no status at all.
            await self.abort(context, StoreUnavailable("the call was interrupted; repeat it"))
        except Exception:  # noqa: BLE001 - logged in full, told as INTERNAL
            _log.exception("call broke", extra={"method": self.method})
            await self.abort(context, CodeQError(f"internal error, request id {self.request_id}"))
        else:
            self._done(context)
            return result
        finally:
            self._leave()

    def _enter(self, context: Context) -> Share:
        """Takes a place, for whoever calls; what the call has of the room, nothing yet."""
        address = address_of(context.peer())
        if self.identify is not None:
            try:
                self.identify(context)
            except (CredentialMissing, CredentialInvalid, CredentialExpired) as error:
                raise self._failures.count(address, error) from None
        principal = PRINCIPAL.get(None)
        share = self.share = self._budget.share(principal, address)
        leave: Any = self._budget.take(principal, address)
        context.add_done_callback(leave)
        return share

    def _leave(self) -> None:
        if self.share is not None:
            self.share.end()

    def _done(self, context: Context) -> None:
        self._log(logging.DEBUG, "OK")
        if (denied := FORBIDDEN.get(None)) is not None:
            who = PRINCIPAL.get()
            self._auditor.denied(who, self.method, self.request_id, context.peer(), denied)

    def _limit(self, context: Context) -> float:
        remaining = time_remaining(context)
        if remaining is None:
            return _CALL_TIME
        if remaining <= 0:
            raise StoreUnavailable("the deadline has passed; nothing was done")
        return min(_CALL_TIME, max(remaining - _ANSWER_TIME, remaining * 0.8))

    async def abort(
        self, context: Context, error: CodeQError, *, told: CodeQError | None = None
    ) -> None:
        """Ends the call with the error's status and details; `told` is what the audit trail is
        told instead.
        """
        self._auditor.ended(self.method, self.request_id, context.peer(), told or error)
        if type(error) is CodeQError:
            _log.error("internal error: %s", error.message, extra={"method": self.method})
            error = CodeQError(f"internal error, request id {self.request_id}")
        code, message, details = to_status(error)
        level = logging.DEBUG if type(error) is TooManyFailures else logging.INFO
        self._log(level, code.name, reason=error.reason, detail=message)
        await context.abort(
            code, message, ((DETAILS_KEY, details), ("x-request-id", self.request_id))
        )

    def _log(self, level: int, code: str, **more: str) -> None:
        if not _log.isEnabledFor(level):
            return
        principal = PRINCIPAL.get(None)
        who = {"subject": principal.subject, "tenant": principal.tenant} if principal else {}
        took = round((monotonic() - self._began) * 1000, 1)
        _log.log(
            level,
            "call",
            extra={"method": self.method, "code": code, "took_ms": took, **who, **more},
        )


_CALL: Final[ContextVar[_Call]] = ContextVar("codeq_call")


class AuthInterceptor(grpc.aio.ServerInterceptor):
    """Makes the credential a principal and checks the scope before a request is even read.

    Where there are `certificates`, it has to wait for the handler to see that of the connection.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        tenancy: Tenancy,
        certificates: Certificates | None = None,
    ) -> None:
        self._authenticator = authenticator
        self._tenancy = tenancy
        self._certificates = certificates
        self._closed = False

    def close(self) -> None:
        """Refuses every call from now on: the server is about to stop."""
        self._closed = True

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Raises Draining, ScopeMissing, TenantUnknown, QuotaExceeded and what verifying the
        credential raises.
        """
        if self._closed:
            raise Draining
        method = handler_call_details.method
        needed = needed_by(method)
        shown = True
        if needed is not Access.OPEN:
            metadata = handler_call_details.invocation_metadata or ()
            shown = self._certificates is None or shows_credential(metadata)
            if shown:
                found = await self._authenticator.authenticate(metadata)
                admit(self._tenancy, method, needed, *found)
            if self._certificates is not None:
                _CALL.get().identify = functools.partial(
                    admit_certified, self._tenancy, self._certificates, method, needed, shown
                )
        handler = await continuation(handler_call_details)
        if handler is None:
            return None if shown else UNKNOWN_METHOD
        if method not in PERMISSIONS:
            raise ScopeMissing(metadata={"method": method})
        return handler
