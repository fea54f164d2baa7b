"""What a refused call told, read from the wire and not by the code under test."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from tests.integration.calling import answer, ask, start_raw

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from google.protobuf.message import Message

    from codeq.v1.task_pb2 import ItemFailure
    from tests.support.server import Caller


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Code, reason and details; empty where there were none."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    fields: tuple[str, ...] = ()
    retry_after: float | None = None
    request_id: str = ""

    @property
    def kind(self) -> tuple[str, str]:
        """Name of the code, and reason."""
        return self.code.name, self.reason


def read_refusal(error: grpc.aio.AioRpcError) -> Refusal:
    """Fails when the details and the status disagree, or when there are several of a kind."""
    trailing = dict(error.trailing_metadata() or ())
    request_id = str(trailing.get("x-request-id", ""))
    message = error.details() or ""
    raw: Any = trailing.get("grpc-status-details-bin")
    if raw is None:
        return Refusal(code=error.code(), message=message, request_id=request_id)
    status = status_pb2.Status.FromString(raw)
    assert (status.code, status.message) == (error.code().value[0], message)
    found: dict[str, Any] = {}
    for kind in (
        error_details_pb2.ErrorInfo,
        error_details_pb2.BadRequest,
        error_details_pb2.RetryInfo,
    ):
        name = kind.DESCRIPTOR.full_name
        of_kind = [detail for detail in status.details if detail.TypeName() == name]
        assert len(of_kind) <= 1
        found[kind.DESCRIPTOR.name] = kind()
        for detail in of_kind:
            detail.Unpack(found[kind.DESCRIPTOR.name])
    info, retry = found["ErrorInfo"], found["RetryInfo"]
    assert info.domain == "codeq"
    return Refusal(
        code=error.code(),
        message=message,
        reason=info.reason,
        metadata=dict(info.metadata),
        fields=tuple(one.field for one in found["BadRequest"].field_violations),
        retry_after=retry.retry_delay.ToMilliseconds() / 1000 if retry.ByteSize() else None,
        request_id=request_id,
    )


async def refused(call: Awaitable[object]) -> Refusal:
    """The refusal of a call that must be refused."""
    try:
        response = await call
    except grpc.aio.AioRpcError as error:
        return read_refusal(error)
    raise AssertionError(f"was not refused: {str(response)[:200]!r}")


def item_kind(item: ItemFailure) -> tuple[int, str, str]:
    """Index, name of the code, and reason of a refused item."""
    names = {code.value[0]: code.name for code in grpc.StatusCode}
    return item.index, names[item.code], item.reason


async def told(caller: Caller, rpc: str, request: Message) -> tuple[str, str, str]:
    """Code, reason and field of the whole call or of the first refused item; OK otherwise."""
    try:
        response = await ask(caller, rpc, request)
    except grpc.aio.AioRpcError as error:
        refusal = read_refusal(error)
        assert refusal.fields == ((refusal.metadata["field"],) if refusal.fields else ())
        assert refusal.request_id
        return refusal.code.name, refusal.reason, refusal.metadata.get("field", "")
    for failure in getattr(response, "failures", ()):
        return (*item_kind(failure)[1:], failure.metadata.get("field", ""))
    return "OK", "", ""


async def told_raw(caller: Caller, rpc: str, raw: bytes) -> tuple[str, str]:
    """Code and reason of a call whose request is these bytes."""
    call = start_raw(caller, rpc, raw)
    try:
        await answer(rpc, call)
    except grpc.aio.AioRpcError as error:
        return read_refusal(error).kind
    finally:
        call.cancel()
    return "OK", ""
