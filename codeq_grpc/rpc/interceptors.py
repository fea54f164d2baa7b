"""Errors outermost, then authentication. Only the error interceptor aborts calls."""

from __future__ import annotations

import functools
import inspect
import logging
import re
import secrets
from typing import TYPE_CHECKING, Any, Final

import grpc

from codeq_grpc.auth.authenticator import needed_by
from codeq_grpc.auth.credentials import shows_credential
from codeq_grpc.auth.permissions import PERMISSIONS, Access
from codeq_grpc.core.errors import (
    CodeQError,
    CredentialExpired,
    CredentialInvalid,
    CredentialMissing,
    Draining,
    ScopeMissing,
)
from codeq_grpc.logs import REQUEST_ID
from codeq_grpc.rpc.admission import UNKNOWN_METHOD, admit, admit_certified
from codeq_grpc.rpc.arrivals import Arrivals
from codeq_grpc.rpc.budgets import address_of
from codeq_grpc.rpc.call import MALFORMED, Call, check_parsed
from codeq_grpc.rpc.context import CALL

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Container

    from codeq_grpc.auth.authenticator import Authenticator
    from codeq_grpc.auth.certificates import Certificates
    from codeq_grpc.rpc.call import Concerns
    from codeq_grpc.rpc.tenancy import Tenancy

    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]

_log = logging.getLogger(__name__)
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def _tolerant(parse: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    if parse is None:
        return None

    def deserialize(raw: bytes) -> Any:
        CALL.get().came(len(raw))
        try:
            return parse(raw)
        except Exception:  # noqa: BLE001 - whatever the parser objects to
            return MALFORMED

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

    def __init__(self, concerns: Concerns, *, eager: Container[str] = ()) -> None:
        self._concerns = concerns
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
        request_id = request_id_of(handler_call_details)
        call = Call(method, request_id, self._concerns)
        REQUEST_ID.set(request_id)
        CALL.set(call)
        try:
            handler = await continuation(handler_call_details)
        except CodeQError as error:
            return self._refusing(call, error)
        except Exception:  # noqa: BLE001 - logged in full; grpc would tell the caller its words
            _log.exception("call broke", extra={"method": method})
            return self._refusing(call, CodeQError())
        if handler is None:
            return None
        name = method if handler is not UNKNOWN_METHOD else ""
        known = self._wrapped.get(name)
        if known is None or known[0] is not handler:
            arrivals = None if method in self._eager else self._arrivals
            known = self._wrapped[name] = (handler, _wrapped(handler, arrivals))
        return known[1]

    def _refusing(self, call: Call, error: CodeQError) -> Handler:
        async def refuse(_: Any, context: Context) -> None:
            answer = error
            if isinstance(error, CredentialMissing | CredentialInvalid | CredentialExpired):
                answer = self._concerns.failures.count(address_of(context.peer()), error)
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
            return await CALL.get().serve(work, request, context, single, timed=timed)
        except grpc.aio.AbortError as aborted:
            # gRPC keeps it with the call, in a cycle: with all that was refused, request included.
            aborted.__context__ = None
            raise aborted.with_traceback(None) from None

    async def sending(request: Any, context: Context) -> None:
        if handler.request_streaming:
            share = CALL.get().share
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


async def _well_formed(requests: AsyncIterable[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        check_parsed(request)
        yield request


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
                CALL.get().identify = functools.partial(
                    admit_certified, self._tenancy, self._certificates, method, needed, shown
                )
        handler = await continuation(handler_call_details)
        if handler is None:
            return None if shown else UNKNOWN_METHOD
        if method not in PERMISSIONS:
            raise ScopeMissing(metadata={"method": method})
        return handler
