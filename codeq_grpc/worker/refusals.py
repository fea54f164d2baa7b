"""Errors of calls that no repeat helps against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import grpc

from codeq_grpc.client.errors import CallFailed, code_of
from codeq_grpc.core.errors import InvalidField

if TYPE_CHECKING:
    from codeq_grpc.core.errors import CodeQError

FATAL: Final = frozenset({grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED})
"""On any call of a worker: it is not wanted."""


def refuses(error: CodeQError) -> bool:
    """The server will not take this however often it is sent."""
    if isinstance(error, CallFailed):
        # Without codeQ's own reason, "exhausted" is the transport's: the message is too large.
        too_large = error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        return too_large or error.code is grpc.StatusCode.INVALID_ARGUMENT
    return isinstance(error, InvalidField) or code_of(error) is grpc.StatusCode.INVALID_ARGUMENT
