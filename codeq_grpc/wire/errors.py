"""One table, read both ways: `CodeQError` <-> gRPC status with `google.rpc` details.

The server encodes with `to_status`, the SDK decodes with `from_status`. Every error carries
exactly one `ErrorInfo{domain: "codeq", reason, metadata}` (AIP-193), field errors add
`BadRequest`, limits add `RetryInfo`. The details travel in the trailing metadata key
`grpc-status-details-bin` as a serialised `google.rpc.Status`, as gRPC's richer error model
has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from codeq.v1 import task_pb2
from codeq_grpc.core import errors

if TYPE_CHECKING:
    from collections.abc import Iterable

DOMAIN: Final = "codeq"
DETAILS_KEY: Final = "grpc-status-details-bin"
_MAX_FIELDS: Final = 20
_TEXT_BYTES: Final = 500
"""Clients take 8 KiB of trailers by default. A message stands there three times, once of them with
three characters for each byte outside ASCII."""

CODES: Final[dict[type[errors.CodeQError], grpc.StatusCode]] = {
    errors.InvalidField: grpc.StatusCode.INVALID_ARGUMENT,
    errors.PayloadTooLarge: grpc.StatusCode.INVALID_ARGUMENT,
    errors.PayloadInvalid: grpc.StatusCode.INVALID_ARGUMENT,
    errors.SchemaUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.MalformedMessage: grpc.StatusCode.INVALID_ARGUMENT,
    errors.TaskNotFound: grpc.StatusCode.NOT_FOUND,
    errors.QueueNotFound: grpc.StatusCode.NOT_FOUND,
    errors.KeyNotFound: grpc.StatusCode.NOT_FOUND,
    errors.ScheduleNotFound: grpc.StatusCode.NOT_FOUND,
    errors.VersionNotFound: grpc.StatusCode.NOT_FOUND,
    errors.TaskExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.ScheduleExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.ScheduleChanged: grpc.StatusCode.ABORTED,
    errors.ScheduleProtected: grpc.StatusCode.FAILED_PRECONDITION,
    errors.IdempotencyMismatch: grpc.StatusCode.FAILED_PRECONDITION,
    errors.InvalidState: grpc.StatusCode.FAILED_PRECONDITION,
    errors.LeaseLost: grpc.StatusCode.FAILED_PRECONDITION,
    errors.StoreFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.QueueFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.TooManyKeys: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.QuotaExceeded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.TooManyCalls: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.TooManyStreams: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.TooManyFailures: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.RequestLate: grpc.StatusCode.UNAVAILABLE,
    errors.StoreUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.NotDurable: grpc.StatusCode.UNAVAILABLE,
    errors.Draining: grpc.StatusCode.UNAVAILABLE,
    errors.IdentityUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.CredentialMissing: grpc.StatusCode.UNAUTHENTICATED,
    errors.CredentialInvalid: grpc.StatusCode.UNAUTHENTICATED,
    errors.CredentialExpired: grpc.StatusCode.UNAUTHENTICATED,
    errors.CredentialChanged: grpc.StatusCode.UNAVAILABLE,
    errors.ScopeMissing: grpc.StatusCode.PERMISSION_DENIED,
    errors.TenantUnknown: grpc.StatusCode.PERMISSION_DENIED,
    errors.CommandForbidden: grpc.StatusCode.PERMISSION_DENIED,
    errors.CodeQError: grpc.StatusCode.INTERNAL,
}
_BY_REASON: Final = {cls.reason: cls for cls in CODES}


def code_number(error: errors.CodeQError) -> int:
    """The numeric gRPC status code of an error."""
    number: int = CODES[type(error)].value[0]
    return number


def _clip(text: str) -> str:
    raw = text.encode()
    if len(raw) <= _TEXT_BYTES:
        return text
    return raw[:_TEXT_BYTES].decode(errors="ignore") + "..."


def to_status(error: errors.CodeQError) -> tuple[grpc.StatusCode, str, bytes]:
    """Code, message and the serialised `google.rpc.Status` of an error."""
    message = _clip(error.message)
    status = status_pb2.Status(code=code_number(error), message=message)
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    )
    if error.fields:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=path, description=_clip(problem))
            for path, problem in list(error.fields.items())[:_MAX_FIELDS]
        ]
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=violations))
    if error.retry_after is not None:
        info = error_details_pb2.RetryInfo()
        info.retry_delay.FromMilliseconds(int(error.retry_after * 1000))
        status.details.add().Pack(info)
    return CODES[type(error)], message, status.SerializeToString()


def to_item(index: int, error: errors.CodeQError) -> task_pb2.ItemFailure:
    """The error of one item of a batch."""
    return task_pb2.ItemFailure(
        index=index,
        code=code_number(error),
        reason=error.reason,
        message=_clip(error.message),
        metadata=error.metadata,
    )


def from_item(item: task_pb2.ItemFailure) -> errors.CodeQError:
    """What `to_item` told, as the exception it was."""
    cls = _BY_REASON.get(item.reason, errors.CodeQError)
    return cls(item.message, metadata=dict(item.metadata))


def from_status(
    message: str, trailing: Iterable[tuple[str, str | bytes]]
) -> errors.CodeQError | None:
    """The exception behind a failed call, or None when the error is not codeQ's."""
    raw = next((value for key, value in trailing if key == DETAILS_KEY), None)
    if not isinstance(raw, bytes):
        return None
    info = error_details_pb2.ErrorInfo()
    bad = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    retry_after = None
    try:
        for detail in status_pb2.Status.FromString(raw).details:
            if detail.Unpack(retry):
                retry_after = retry.retry_delay.ToMilliseconds() / 1000
            elif not detail.Unpack(info):
                detail.Unpack(bad)
    except DecodeError:
        return None
    if info.domain != DOMAIN:
        return None
    cls = _BY_REASON.get(info.reason, errors.CodeQError)
    return cls(
        message,
        metadata=dict(info.metadata),
        fields={violation.field: violation.description for violation in bad.field_violations},
        retry_after=retry_after,
    )
