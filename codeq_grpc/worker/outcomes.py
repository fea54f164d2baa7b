"""How attempts end: from what a handler returned or raised to the report about it."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Final

from codeq.v1.codeq_service_pb2 import Outcome
from codeq.v1.task_pb2 import TaskError
from codeq_grpc.client.payloads import encode
from codeq_grpc.client.specs import Span, duration
from codeq_grpc.core import limits
from codeq_grpc.core.errors import PayloadTooLarge

if TYPE_CHECKING:
    from types import TracebackType

    from codeq.v1.task_pb2 import LeaseRef

_ELLIPSIS: Final = "..."
_CANCELLED: Final = "cancelled"
"""The type of the error that an attempt of a cancelled task ends with."""


class Retry(Exception):
    """Raised by a handler: this attempt failed, try again, after `delay` if given.

    Counts as an attempt. `kind` is the stable type of the error, by default the class of the
    exception that it was raised from; `detail` is long text for people, by default the stack.
    """

    def __init__(
        self,
        message: str = "",
        *,
        delay: Span | None = None,
        kind: str | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(message)
        self.delay = delay
        self.kind = kind
        self.detail = detail


class Reject(Exception):
    """Raised by a handler: the task can never succeed, fail it now. The rest is as in `Retry`."""

    def __init__(
        self, message: str = "", *, kind: str | None = None, detail: str | None = None
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.detail = detail


class Told(Exception):
    """A handler failed in another process, which has told how: `error` is reported as it is."""

    def __init__(self, error: TaskError) -> None:
        super().__init__(error.message)
        self.error = error


class Cancelled(Exception):
    """Raised by `CancelToken.raise_if_cancelled`: the attempt ends because the task is to."""


def completed(lease: LeaseRef, result: object) -> Outcome:
    """The good end; `result` is what `codeq_grpc.client.encode` takes, None meaning no result.

    A result that the server would refuse fails the task for good: the next attempt would make
    the same one.

    Raises:
        TypeError, ValueError: The result has no JSON form.
    """
    outcome = Outcome()
    outcome.complete.lease.CopyFrom(lease)
    if result is None:
        return outcome
    payload = encode(result)
    if len(payload.data) > limits.PAYLOAD_BYTES:
        return refused(
            lease,
            PayloadTooLarge.reason,
            f"the result has {len(payload.data)} bytes, at most {limits.PAYLOAD_BYTES} are kept;"
            " store it elsewhere and return where",
        )
    outcome.complete.result.CopyFrom(payload)
    return outcome


def failed(lease: LeaseRef, error: BaseException) -> Outcome:
    """The bad end, as `error` tells it."""
    outcome = Outcome()
    outcome.fail.lease.CopyFrom(lease)
    outcome.fail.error.CopyFrom(describe(error))
    return outcome


def cancelled(lease: LeaseRef, reason: str) -> Outcome:
    """The end that the server was asked for; it makes the task CANCELLED."""
    return failed(lease, Cancelled(reason))


def refused(lease: LeaseRef, kind: str, message: str) -> Outcome:
    """The bad end for good, for an end that the server does not take."""
    error = TaskError(
        type=head(kind, limits.ERROR_TYPE_CHARS),
        message=head(message, limits.ERROR_MESSAGE_CHARS),
        non_retryable=True,
    )
    outcome = Outcome()
    outcome.fail.lease.CopyFrom(lease)
    outcome.fail.error.CopyFrom(error)
    return outcome


def abandoned(lease: LeaseRef) -> Outcome:
    """No end: the attempt does not count."""
    outcome = Outcome()
    outcome.abandon.lease.CopyFrom(lease)
    return outcome


def describe(error: BaseException) -> TaskError:
    """An exception as the API has it, cut to its limits."""
    if isinstance(error, Told):
        return error.error
    told, kind, detail = error, None, None
    if isinstance(error, Retry | Reject):
        told, kind, detail = error.__cause__ or error, error.kind, error.detail
    elif isinstance(error, Cancelled):
        kind, detail = _CANCELLED, ""
    if detail is None:
        detail = "".join(traceback.format_exception(type(error), error, _below(error)))
    message = TaskError(
        type=head(kind or type(told).__name__, limits.ERROR_TYPE_CHARS),
        message=head(_text(error) or _text(told), limits.ERROR_MESSAGE_CHARS),
        detail=tail(detail, limits.ERROR_DETAIL_CHARS),
        non_retryable=isinstance(error, Reject),
    )
    if isinstance(error, Retry) and error.delay is not None:
        message.retry_delay.CopyFrom(duration(error.delay))
    return message


def head(text: str, size: int) -> str:
    """The first `size` characters, as text that protobuf takes."""
    text = _clean(text)
    return text if len(text) <= size else text[: size - len(_ELLIPSIS)] + _ELLIPSIS


def tail(text: str, size: int) -> str:
    """The last `size` characters: the end of a stack trace is what matters."""
    text = _clean(text)
    return text if len(text) <= size else _ELLIPSIS + text[len(_ELLIPSIS) - size :]


def _clean(text: str) -> str:
    """Lone surrogates, e.g. from odd file names, are no UTF-8 and would break the report."""
    return text.encode("utf-8", "backslashreplace").decode()


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an exception that cannot be printed still gets reported
        return "(the exception cannot be printed)"


def _below(error: BaseException) -> TracebackType | None:
    """The traceback without the worker's own frame."""
    trace = error.__traceback__
    return trace.tb_next if trace is not None and trace.tb_next is not None else trace
