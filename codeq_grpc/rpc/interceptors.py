"""Errors outermost, then authentication. Only the error interceptor aborts calls."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import secrets
from collections.abc import AsyncIterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import grpc

from codeq_grpc.auth.permissions import PERMISSIONS
from codeq_grpc.core.clock import monotonic
from codeq_grpc.core.errors import (
    CodeQError,
    Draining,
    MalformedMessage,
    ScopeMissing,
    StoreUnavailable,
)
from codeq_grpc.logs import REQUEST_ID
from codeq_grpc.rpc.context import PRINCIPAL, time_remaining
from codeq_grpc.wire.errors import DETAILS_KEY, to_status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Container

    from codeq_grpc.auth.tokens import Tokens

    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]

_log = logging.getLogger(__name__)
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
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
    """Turns every exception into a status with details, and bounds every unary call in time.

    `eager` are methods of which the engine reads the request before it asks anybody.
    """

    def __init__(self, *, call_timeout: float, eager: Container[str] = ()) -> None:
        self._call_timeout = call_timeout
        self._eager = eager
        self._wrapped: dict[str, tuple[Handler, Handler]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wraps the handler; a refusal by an inner interceptor becomes a handler that aborts."""
        method = handler_call_details.method
        call = _Call(method, request_id_of(handler_call_details), self._call_timeout)
        REQUEST_ID.set(call.request_id)
        _CALL.set(call)
        try:
            handler = await continuation(handler_call_details)
        except CodeQError as error:
            return _refusing(call, error, unary=method in self._eager)
        if handler is None:
            return None
        known = self._wrapped.get(method)
        if known is None or known[0] is not handler:
            known = self._wrapped[method] = (handler, _wrapped(handler))
        return known[1]


def _refusing(call: _Call, error: CodeQError, *, unary: bool) -> Handler:
    # A unary handler would wait for a request message that an attacker never sends, and hold
    # its place till then; a streaming one runs at once. Where the engine has the message before
    # it asks, there is nothing to wait for, and a unary one fits every kind of method.
    async def refuse(_: Any, context: Context) -> None:
        await call.abort(context, error)

    make = grpc.unary_unary_rpc_method_handler if unary else grpc.stream_stream_rpc_method_handler
    return make(refuse)


def _wrapped(handler: Handler) -> Handler:
    parse = _tolerant(handler.request_deserializer)
    serialize = _ready_or(handler.response_serializer)
    behaviour: Any = handler.unary_unary or handler.unary_stream or handler.stream_stream

    async def unary(request: Any, context: Context) -> Any:
        return await _CALL.get().serve(behaviour, request, context, timed=True)

    async def stream(request: Any, context: Context) -> None:
        await _CALL.get().serve(sending, request, context, timed=False)

    async def sending(request: Any, context: Context) -> None:
        if isinstance(request, AsyncIterable):
            request = _well_formed(request)
        if inspect.isasyncgenfunction(behaviour):
            async for message in behaviour(request, context):
                await context.write(message)
        else:
            await behaviour(request, context)

    if not handler.response_streaming:
        return grpc.unary_unary_rpc_method_handler(unary, parse, serialize)
    make = (
        grpc.stream_stream_rpc_method_handler
        if handler.request_streaming
        else grpc.unary_stream_rpc_method_handler
    )
    return make(stream, parse, serialize)


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


class _Call:
    """One call on its way through the server."""

    def __init__(self, method: str, request_id: str, timeout: float) -> None:
        self.method = method
        self.request_id = request_id
        self._timeout = timeout
        self._began = monotonic()

    async def serve(self, behaviour: Any, request: Any, context: Context, *, timed: bool) -> Any:
        """Runs the behaviour; whatever it raises becomes a status."""
        context.set_trailing_metadata((("x-request-id", self.request_id),))
        try:
            _check_parsed(request)
            async with asyncio.timeout(self._limit(context) if timed else None):
                result = await behaviour(request, context)
        except CodeQError as error:
            await self.abort(context, error)
        except TimeoutError:
            await self.abort(context, StoreUnavailable("the store did not answer in time"))
        except grpc.aio.AbortError:
            raise
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                self._log(logging.DEBUG, "CANCELLED")
                raise
            # Not the peer: something inside was cancelled. grpc would send no status at all.
            await self.abort(context, StoreUnavailable("the call was interrupted; repeat it"))
        except Exception:  # noqa: BLE001 - logged in full, told as INTERNAL
            _log.exception("call broke", extra={"method": self.method})
            await self.abort(context, CodeQError(f"internal error, request id {self.request_id}"))
        else:
            self._log(logging.DEBUG, "OK")
            return result

    def _limit(self, context: Context) -> float:
        remaining = time_remaining(context)
        if remaining is None:
            return self._timeout
        if remaining <= 0:
            raise StoreUnavailable("the deadline has passed; nothing was done")
        return min(self._timeout, max(remaining - _ANSWER_TIME, remaining * 0.8))

    async def abort(self, context: Context, error: CodeQError) -> None:
        """Ends the call with the error's status and details."""
        if type(error) is CodeQError:
            _log.error("internal error: %s", error.message, extra={"method": self.method})
            error = CodeQError(f"internal error, request id {self.request_id}")
        code, message, details = to_status(error)
        self._log(logging.INFO, code.name, reason=error.reason, detail=message)
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
    """Makes the credential a principal and checks the scope before a request is even read."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._closed = False

    def close(self) -> None:
        """Refuses every call from now on: the server is about to stop."""
        self._closed = True

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Raises Draining, CredentialMissing, CredentialInvalid or ScopeMissing."""
        if self._closed:
            raise Draining
        principal = self._tokens.authorize(
            handler_call_details.method, handler_call_details.invocation_metadata or ()
        )
        if principal is not None:
            PRINCIPAL.set(principal)
        handler = await continuation(handler_call_details)
        if handler is not None and handler_call_details.method not in PERMISSIONS:
            raise ScopeMissing(metadata={"method": handler_call_details.method})
        return handler
