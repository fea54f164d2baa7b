"""Requests up to the door of the broker: parsed and checked by the real servicers."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from codeq_grpc.core.errors import CodeQError, InvalidField
from codeq_grpc.core.limits import PAYLOAD_BYTES, SCHEDULE_BYTES
from codeq_grpc.core.principal import ROLES, Principal
from codeq_grpc.core.retry import RetryPolicy
from codeq_grpc.rpc.admin_service import AdminServicer
from codeq_grpc.rpc.brokers import Brokers
from codeq_grpc.rpc.codeq_service import CodeQServicer
from codeq_grpc.rpc.context import PRINCIPAL
from codeq_grpc.rpc.schedule_service import ScheduleServicer
from codeq_grpc.wire.errors import CODES, to_item, to_status
from codeq_grpc.wire.firings import Bodies
from codeq_grpc.wire.schedules import ScheduleChecker
from codeq_grpc.wire.specs import SpecChecker
from tests.integration.calling import METHODS
from tests.support.fields import names_a_field

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

TRAILER_BYTES: Final = 8_000
"""What most clients take of metadata by default, a little less."""
RPCS: Final = sorted(METHODS)
"""In the order in which the first byte of an input names them."""


class _ReachedError(Exception):
    """The request has passed its checks."""


class _Door:
    """In place of a broker: whatever it is asked, the request has passed."""

    def __getattr__(self, name: str) -> Any:
        def reached(*args: object, **options: object) -> None:
            raise _ReachedError

        return reached


class _Context:
    def time_remaining(self) -> float:
        return 1.0

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"


def _servicers() -> dict[str, Any]:
    door: Any = _Door()
    brokers = Brokers(**dict.fromkeys(Brokers.__dataclass_fields__, door))
    bodies = Bodies(SpecChecker(payload_bytes=SCHEDULE_BYTES))
    return {
        "CodeQService": CodeQServicer(SpecChecker(payload_bytes=PAYLOAD_BYTES), brokers),
        "AdminService": AdminServicer(
            brokers, retry=RetryPolicy(), lease_ms=1_000, retention_ms=1_000, roles=ROLES
        ),
        "ScheduleService": ScheduleServicer(ScheduleChecker(bodies.check), brokers),
    }


_SERVICERS: Final = _servicers()
_WHO: Final = Principal(subject="s", tenant="t", scopes=ROLES["admin"])


def check_error(error: CodeQError, request: Descriptor) -> None:
    """An error is a documented one, names a field of the request, and fits into a trailer."""
    assert type(error) in CODES
    assert type(error) is not CodeQError
    code, message, details = to_status(error)
    # gRPC writes text outside ASCII as three characters a byte, and bytes in base64.
    room = sum(1 if 32 <= byte < 127 else 3 for byte in message.encode()) + len(details) * 4 // 3
    assert room <= TRAILER_BYTES, f"{code.name} of {room} bytes"
    item = to_item(0, error)
    assert item.reason == error.reason
    assert item.ByteSize() <= TRAILER_BYTES
    if isinstance(error, InvalidField):
        assert set(error.fields) == {error.metadata["field"]}
        for path in error.fields:
            assert names_a_field(request, path), path


def ask(rpc: str, raw: bytes) -> str:
    """What becomes of a request: its reason, OK for one that passes."""
    method = METHODS[rpc]
    try:
        request = GetMessageClass(method.input_type).FromString(raw)
    except DecodeError:
        return "MALFORMED_MESSAGE"
    servicer = _SERVICERS[method.containing_service.name]
    PRINCIPAL.set(_WHO)
    call = getattr(servicer, rpc)(request, _Context())
    try:
        with contextlib.closing(call):
            call.send(None)
    except _ReachedError:
        return "OK"
    except CodeQError as error:
        check_error(error, method.input_type)
        return error.reason
    raise AssertionError(f"{rpc} answered without its broker")


def requests(raw: bytes) -> None:
    """The first byte chooses the RPC, the others are its request."""
    ask(RPCS[raw[0] % len(RPCS)] if raw else RPCS[0], raw[1:])
