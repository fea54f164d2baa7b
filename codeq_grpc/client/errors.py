"""What a caller catches: the errors of the API, and three of the way to it.

Refused calls raise the classes of `codeq_grpc.core.errors`, the ones the server raised. The
classes here are for calls that no codeQ server answered.
"""

from __future__ import annotations

from typing import Final

import grpc

from codeq_grpc.core.errors import CodeQError
from codeq_grpc.wire import errors as wire_errors


class ServerUnavailable(CodeQError):
    """The server cannot be reached now; whether it saw the call is unknown."""

    reason = "SERVER_UNAVAILABLE"


class DeadlineExceeded(CodeQError):
    """The call did not end in time; whether it took effect is unknown."""

    reason = "DEADLINE_EXCEEDED"


class CallFailed(CodeQError):
    """The call failed for a reason that codeQ does not know; `code` is the gRPC status."""

    reason = "CALL_FAILED"

    def __init__(
        self, message: str = "", *, code: grpc.StatusCode, metadata: dict[str, str] | None = None
    ) -> None:
        super().__init__(message, metadata=metadata)
        self.code = code


_OWN_CODES: Final[dict[type[CodeQError], grpc.StatusCode]] = {
    ServerUnavailable: grpc.StatusCode.UNAVAILABLE,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
}


def code_of(error: CodeQError) -> grpc.StatusCode:
    """The gRPC status code behind an error of the SDK; INTERNAL for one it does not know."""
    if isinstance(error, CallFailed):
        return error.code
    kind = type(error)
    return _OWN_CODES.get(kind) or wire_errors.CODES.get(kind, grpc.StatusCode.INTERNAL)


def from_call(error: grpc.aio.AioRpcError) -> CodeQError:
    """The exception that stands for a failed call."""
    code, message = error.code(), error.details() or ""
    known = wire_errors.from_status(message, error.trailing_metadata() or ())
    if known is not None and (type(known) is not CodeQError or code is grpc.StatusCode.INTERNAL):
        return known
    if known is not None:
        # A newer server's reason, which this SDK has no class for: the code still tells enough.
        return CallFailed(message, code=code, metadata=known.metadata)
    if code is grpc.StatusCode.UNAVAILABLE:
        return ServerUnavailable(message)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(message)
    return CallFailed(message, code=code)
